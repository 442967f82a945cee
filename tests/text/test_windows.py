"""Windows: every token read, each scored once, and every character where its token says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizer

from folders import tokenizer as of_folder
from tenon.core.errors import PlanError
from tenon.text.windows import NOWHERE, encode_windows, frame, windows
from text.families import AROUND, FAMILIES, PAIRED, family, texts
from text.templates import SAMPLE


def test_the_tokenizers_are_the_families_they_stand_for():
    for kind in FAMILIES:
        tok = family(kind)
        assert frame(tok, pair=False).size == AROUND[kind] == tok.num_special_tokens_to_add()
        assert frame(tok, pair=True).size == PAIRED[kind]
        assert PAIRED[kind] == tok.num_special_tokens_to_add(pair=True)


cuts = st.tuples(st.integers(0, 90), st.integers(1, 20), st.integers(0, 19)).filter(
    lambda cut: cut[2] < cut[1]
)


@settings(max_examples=300)
@given(cut=cuts)
def test_every_token_is_read_and_scored_once_where_it_sees_most(cut):
    count, room, overlap = cut
    found = windows(count, room, overlap)
    assert all(0 <= window.last - window.first <= room for window in found)
    assert found[0].first == 0 and found[-1].last == count
    scored = [range(window.scored_first, window.scored_last) for window in found]
    assert [token for part in scored for token in part] == list(range(count))
    for first, second in pairwise(found):
        assert first.last - second.first == overlap and second.last > first.last

    def sight(token, place):
        window = found[place]
        if not window.first <= token < window.last:
            return -1
        return min(token - window.first, window.last - 1 - token)

    for token in range(count):
        sights = [sight(token, place) for place in range(len(found))]
        assert token in scored[sights.index(max(sights))]
    # Fewer windows would leave tokens out: n of them read at most this many.
    fewer = len(found) - 1
    assert fewer == 0 or room + (fewer - 1) * (room - overlap) < count


@pytest.mark.parametrize(("room", "overlap"), [(0, 0), (3, 3), (3, 4), (3, -1)])
def test_an_overlap_that_moves_nowhere_is_refused(room, overlap):
    with pytest.raises(ValueError, match="0 <= overlap < room"):
        windows(9, room, overlap)


@pytest.mark.parametrize("kind", FAMILIES)
@given(text=texts)
def test_one_window_is_what_the_tokenizer_gives(kind, text):
    tok = family(kind)
    (found,) = encode_windows(tok, [text], limit=400, overlap=5)
    (only,) = found.windows
    plain = tok(text)
    assert only.ids == plain["input_ids"] and only.types == plain.get("token_type_ids")
    assert found.question_cut == 0


@pytest.mark.parametrize("kind", FAMILIES)
@given(text=texts, question=texts)
def test_one_window_of_a_pair_is_what_the_tokenizer_gives(kind, text, question):
    tok = family(kind)
    (found,) = encode_windows(tok, [text], limit=900, overlap=5, questions=[question])
    (only,) = found.windows
    plain = tok([question], [text])
    assert only.ids == plain["input_ids"][0]
    assert only.types == plain.get("token_type_ids", [None])[0]
    sides = plain.sequence_ids(0)
    assert only.start == (sides.index(1) if 1 in sides else only.start)
    assert only.spread([1] * len(found.offsets_T), 0) == [int(side == 1) for side in sides]


@pytest.mark.parametrize("kind", FAMILIES)
@given(text=texts)
def test_every_character_is_some_token_s_or_is_counted(kind, text):
    (found,) = encode_windows(family(kind), [text], limit=400, overlap=5)
    read = {place for start, end in found.offsets_T for place in range(start, end)}
    ink = {place for place, letter in enumerate(text) if not letter.isspace()}
    assert found.unread == len(ink - read)
    for start, end in found.offsets_T:
        assert 0 <= start <= end <= len(text)
        assert text[start:end].strip() == text[start:end]
    if kind in ("gpt2", "roberta", "llama3", "qwen"):
        assert found.unread == 0
    if kind in ("t5", "xlmr", "llama2"):
        assert {text[place] for place in ink - read} <= set("▁\u0301")
    if kind == "bert":
        assert {text[place] for place in ink - read} <= set("\u0301\u200b\u200d")


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_first_character_is_the_first_word_s_alone(kind):
    """SentencePiece gives the blank that it puts before a text the first character's place."""
    for text in ("我们好", "我 们", " 我"):
        (found,) = encode_windows(family(kind), [text], limit=40, overlap=5)
        inked = [place for place in found.offsets_T if place[0] < place[1]]
        first = text.index("我")
        assert inked[0] == (first, first + 1)
        if kind in ("t5", "xlmr"):
            assert [text[start:end] for start, end in inked] == [*text.replace(" ", "")]


@pytest.mark.parametrize("kind", FAMILIES)
@given(text=texts, question=st.none() | texts, limit=st.integers(6, 30), overlap=st.integers(0, 9))
def test_windows_hold_the_whole_text_and_the_question(kind, text, question, limit, overlap):
    tok = family(kind)
    asked = None if question is None else [question]
    (found,) = encode_windows(tok, [text], limit=limit, overlap=overlap, questions=asked)
    ids = tok(text, add_special_tokens=False)["input_ids"]
    whole = [] if question is None else tok(question, add_special_tokens=False)["input_ids"]
    room = limit - (AROUND if question is None else PAIRED)[kind]
    kept = whole[: room // 2]
    assert found.question_cut == len(whole) - len(kept) and len(found.offsets_T) == len(ids)
    outputs = []
    for window in found.windows:
        assert len(window.ids) <= limit
        assert window.types is None or len(window.types) == len(window.ids)
        inside = window.spread(ids, None)
        assert all(a in (None, b) for a, b in zip(inside, window.ids, strict=True))
        begin = len(frame(tok, pair=question is not None).before)
        assert window.ids[begin : begin + len(kept)] == kept or question is None
        outputs.append(np.array([[token, 1.0] for token in window.ids], np.float32).reshape(-1, 2))
        assert window.spread(found.offsets_T, NOWHERE).count(NOWHERE) >= limit - room
    assert found.gather(outputs)[:, 0].tolist() == ids


def test_many_texts_are_each_what_they_are_alone():
    tok, many = family("roberta"), ["the fox", "", "天气 " * 9, "a [SEP] <s> </s>"]
    found = encode_windows(tok, many, limit=9, overlap=2, questions=["who"] * 4)
    for text, each in zip(many, found, strict=True):
        assert [each] == encode_windows(tok, [text], limit=9, overlap=2, questions=["who"])
    assert encode_windows(tok, [], limit=9, overlap=2) == []


@pytest.mark.parametrize("kind", FAMILIES)
def test_special_tokens_that_are_typed_stay_text(kind):
    tok = family(kind)
    text = "a [SEP] </s> <s> <pad> b"
    (found,) = encode_windows(tok, [text], limit=90, overlap=2)
    special = set(tok.all_special_ids) - {tok.unk_token_id}
    assert sum(token in special for token in found.windows[0].ids) == AROUND[kind]
    assert found.unread == 0
    assert tok.backend_tokenizer.encode_special_tokens is False


def test_unknown_tokens_are_counted():
    assert encode_windows(family("bert"), ["fox 犬 fox"], limit=9, overlap=0)[0].unknown == 1
    assert encode_windows(family("qwen"), ["fox 犬 fox"], limit=99, overlap=0)[0].unknown == 0


def test_a_limit_without_room_is_refused():
    for questions, least in ((None, 3), (["a"], 5)):
        with pytest.raises(PlanError, match=f"text.max_tokens = {least - 1}: .*at least {least}"):
            encode_windows(family("bert"), ["a"], limit=least - 1, overlap=0, questions=questions)
        (found,) = encode_windows(
            family("bert"), ["the fox the fox"], limit=least, overlap=9, questions=questions
        )
        assert len(found.windows) == 4


class Slow(PreTrainedTokenizer):
    """A tokenizer in Python, without offsets."""

    @property
    def vocab_size(self):
        return 1

    def get_vocab(self):
        return {"a": 0}


def test_a_tokenizer_without_offsets_is_refused():
    with pytest.raises(PlanError, match="Slow, cannot tell which characters"):
        encode_windows(Slow(), ["a"], limit=9, overlap=0)


@pytest.mark.parametrize("arch", ["bert", "roberta", "llama", "t5", "gpt2"])
def test_tokenizers_without_decoder_are_read_too(arch):
    tok = of_folder(arch)
    (found,) = encode_windows(tok, [SAMPLE[0]], limit=999, overlap=0)
    assert found.windows[0].ids == tok(SAMPLE[0])["input_ids"]
    assert min(place for place in found.offsets_T if place[0] < place[1])[0] == 0
    assert found.unread == 0
