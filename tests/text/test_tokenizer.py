"""Tokenizer: whole rows, cut rows, pairs, types, limits, and what it leaves behind."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bases import ARCHITECTURES
from folders import WORDS, tokenizer
from models import PAIRS, TEXTS
from tenon.core.errors import DataError, FileError, PlanError
from tenon.text.tokenizer import LONGEST, encode, load_tokenizer, refuse_empty, token_limit

SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join)
ENCODERS = ("bert", "roberta", "distilbert", "modernbert")


@pytest.fixture(scope="module")
def loaded(folder_of):
    return {arch: load_tokenizer(folder_of(arch)) for arch in ARCHITECTURES}


def plain(tokenizer, text, pair=None):
    return tokenizer(text, pair)["input_ids"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_rows_that_fit_are_encoded_as_the_tokenizer_does_it(arch, loaded):
    tok = loaded[arch]
    for pairs in (None, list(PAIRS)):
        found = encode(tok, TEXTS, pairs, limit=500, side="right")
        seconds = pairs or [None] * len(TEXTS)
        expected = [plain(tok, *both) for both in zip(TEXTS, seconds, strict=True)]
        assert found.ids == expected
        assert found.cut == [0] * len(TEXTS)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@settings(max_examples=12)
@given(texts=st.lists(SENTENCES, min_size=1, max_size=4), limit=st.integers(3, 20), data=st.data())
def test_a_row_too_long_is_cut_to_the_limit_on_its_side(arch, loaded, texts, limit, data):
    tok, side = loaded[arch], data.draw(st.sampled_from(["right", "left"]))
    found = encode(tok, texts, None, limit=limit, side=side)
    special = set(tok.all_special_ids)
    for text, ids, cut in zip(texts, found.ids, found.cut, strict=True):
        whole = plain(tok, text)
        assert len(ids) == min(limit, len(whole)) and cut == len(whole) - len(ids)
        words = [token for token in whole if token not in special]
        kept = [token for token in ids if token not in special]
        assert [t for t in ids if t in special] == [t for t in whole if t in special]
        count = len(kept)
        assert kept == (words[:count] if side == "right" else words[len(words) - count :])


@pytest.mark.parametrize("arch", [*ENCODERS, "electra", "xlm-roberta"])
@settings(max_examples=12)
@given(text=SENTENCES, pair=SENTENCES, limit=st.integers(6, 24))
@pytest.mark.parametrize("side", ["right", "left"])
def test_of_a_pair_the_longer_text_loses_first(arch, loaded, text, pair, limit, side):
    tok = loaded[arch]
    found = encode(tok, [text], [pair], limit=limit, side=side)
    first, second = (tok(each, add_special_tokens=False)["input_ids"] for each in (text, pair))
    border = 2 + tok.num_special_tokens_to_add(pair=True) - 3
    room = limit - tok.num_special_tokens_to_add(pair=True)
    (ids,) = found.ids
    assert len(ids) == min(limit, limit - room + len(first) + len(second))
    assert found.cut == [max(0, len(first) + len(second) - room)]
    kept = ids[1 : ids.index(tok.sep_token_id)]
    other = ids[1 + len(kept) + border - 1 : -1]
    if not found.cut[0]:
        assert (kept, other) == (first, second)
        return
    assert len(kept) + len(other) == room
    least = min(len(first), len(second))
    assert min(len(kept), len(other)) >= min(least, room // 2)
    for part, all_of_it in ((kept, first), (other, second)):
        count = len(part)
        assert part == (
            all_of_it[:count] if side == "right" else all_of_it[len(all_of_it) - count :]
        )


@pytest.mark.parametrize("limit", [60, 9])
def test_types_mark_the_second_text_cut_or_not(limit, loaded):
    found = encode(loaded["bert"], TEXTS, PAIRS, limit=limit, side="right")
    assert found.types is not None and (max(found.cut) > 0) == (limit == 9)
    sep = loaded["bert"].sep_token_id
    for ids, types in zip(found.ids, found.types, strict=True):
        second = len(ids) - 1 - ids.index(sep)
        assert types == [0] * (len(ids) - second) + [1] * second


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_types_that_are_all_zero_are_left_out(arch, loaded):
    assert encode(loaded[arch], TEXTS, None, limit=9, side="right").types is None
    pairs = encode(loaded[arch], TEXTS, PAIRS, limit=30, side="right")
    assert (pairs.types is not None) == (arch in ("bert", "electra"))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pairs", [None, PAIRS])
@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_the_tokenizer_is_left_as_it_was(arch, pairs, side, loaded):
    """The token cache knows a tokenizer by its state; that must not depend on earlier calls."""
    tok = loaded[arch]
    before = (tok.backend_tokenizer.to_str(), tok.truncation_side, tok.padding_side)
    encode(tok, TEXTS, pairs, limit=8, side=side)
    assert (tok.backend_tokenizer.to_str(), tok.truncation_side, tok.padding_side) == before


def test_what_the_file_says_of_truncation_and_padding_is_not_followed(folder_of, tmp_path):
    """Bases of sentence-transformers carry both in their tokenizer.json."""
    folder = shutil.copytree(folder_of("bert"), tmp_path / "bert")
    rules = json.loads((folder / "tokenizer.json").read_text())
    rules["truncation"] = {
        "direction": "Right",
        "max_length": 5,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    rules["padding"] = {
        "strategy": {"Fixed": 30},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    found, other = load_tokenizer(folder), load_tokenizer(folder_of("bert"))
    assert found.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()
    encoded = [encode(tok, TEXTS, None, limit=50, side="right") for tok in (found, other)]
    assert encoded[0] == encoded[1] and encoded[0].cut == [0] * len(TEXTS)


@pytest.mark.parametrize(("arch", "pairs", "least"), [("bert", None, 3), ("bert", PAIRS, 5)])
def test_a_limit_that_leaves_no_room_for_text_is_refused(arch, pairs, least, loaded):
    for limit in range(1, least):
        with pytest.raises(PlanError, match=rf"text.max_tokens = {limit}: .* at least {least}"):
            encode(loaded[arch], TEXTS, pairs, limit=limit, side="right")
    assert encode(loaded[arch], TEXTS, pairs, limit=least, side="right").cut[0] > 0


@pytest.mark.parametrize("arch", ["bert", "llama", "t5", "qwen3"])
def test_a_long_text_is_no_reason_to_warn(arch, loaded, caplog):
    found = encode(loaded[arch], ["a glad day " * 900], None, limit=70, side="right")
    assert len(found.ids[0]) == 70 and not caplog.records


def test_the_limit_is_the_least_of_what_the_base_and_the_tokenizer_allow():
    tok = tokenizer("bert")
    for stated, base, expected in (
        (64, 512, 64),
        (512, 64, 64),
        (64, 0, 64),
        (10**30, 512, 512),
        (10**30, 0, LONGEST),
        (0, 512, 512),
    ):
        tok.model_max_length = stated
        assert token_limit(tok, base) == expected


def test_rows_without_tokens_are_refused_by_their_origin(loaded):
    refuse_empty([[1], [2]], ["a:1", "a:2"])
    ids = encode(loaded["qwen2"], ["day", "家", "店"], None, limit=9, side="right").ids
    assert ids[1:] == [[], []]
    with pytest.raises(DataError, match=r"^a:2: this text has no tokens .*\(2 such rows\)"):
        refuse_empty(ids, ["a:1", "a:2", "a:3"])


@pytest.mark.parametrize("damage", ["absent", "cut", "empty"])
def test_a_base_without_a_tokenizer_is_refused(damage, folder_of, tmp_path):
    folder = shutil.copytree(folder_of("bert"), tmp_path / "bert")
    if damage == "absent":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
    else:
        path = folder / "tokenizer.json"
        path.write_bytes(path.read_bytes()[: 300 if damage == "cut" else 0])
    with pytest.raises(FileError, match=f"^{folder}: no tokenizer could be loaded"):
        load_tokenizer(folder)
