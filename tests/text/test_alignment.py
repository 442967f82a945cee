"""Alignment: spans to tokens and back, the same wherever the tokens' borders allow it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.data.gold import Span
from tenon.text.alignment import Run, align_spans, align_words, run_of, spans_of, tags_of, trimmed
from tenon.text.tokenizer import load_tokenizer
from tenon.text.windows import encode_windows
from text.families import FAMILIES, family, texts

WORDS = "Anna Lee lives in 北京市 now"


def spans_in(draw, text, borders):
    """Disjoint spans between some of `borders`, without outer blanks."""
    chosen = sorted(draw(st.sets(st.sampled_from(borders), max_size=8))) if borders else []
    found = []
    for start, end in zip(chosen[::2], chosen[1::2], strict=False):
        first, last = trimmed(text, start, end)
        if first < last:
            found.append(Span(first, last, draw(st.sampled_from(["PER", "B-LOC", "x y"]))))
    return found


@pytest.mark.parametrize("kind", FAMILIES)
@given(data=st.data())
def test_spans_to_tags_to_spans_is_the_identity_where_borders_allow(kind, data):
    text = data.draw(texts)
    (read,) = encode_windows(family(kind), [text], limit=999, overlap=0)
    offsets = read.offsets_T
    spans = spans_in(data.draw, text, sorted({place for pair in offsets for place in pair}))
    made = align_spans(text, offsets, spans)
    if not made.inexact and not made.lost:
        assert spans_of(text, offsets, made.tags_T) == spans
    for span in spans:
        starts = any(start == span.start < end for start, end in offsets)
        ends = any(start < end == span.end for start, end in offsets)
        crossed = any(
            start < border < end
            for start, end in offsets
            for border in (span.start, span.end)
            if start < end
        )
        if starts and ends and not crossed:
            assert span not in made.inexact and span not in made.lost


@given(text=texts, data=st.data())
def test_any_span_of_characters_is_placed_told_or_lost(text, data):
    (read,) = encode_windows(family("qwen"), [text], limit=999, overlap=0)
    spans = spans_in(data.draw, text, list(range(len(text) + 1)))
    made = align_spans(text, read.offsets_T, spans)
    back = spans_of(text, read.offsets_T, made.tags_T)
    told = {*made.inexact, *made.lost}
    assert [span for span in back if span in spans] == [span for span in spans if span not in told]
    assert len(made.tags_T) == len(read.offsets_T)
    for (start, end), tag in zip(read.offsets_T, made.tags_T, strict=True):
        assert (tag is None) == (start == end)


def test_outer_blanks_of_a_span_count_for_nothing():
    text, offsets = " Anna  Lee", [(1, 5), (6, 6), (7, 10)]
    made = align_spans(text, offsets, [Span(0, 6, "PER"), Span(6, 10, "PER")])
    assert made.tags_T == ("B-PER", None, "B-PER") and not made.inexact
    assert spans_of(text, offsets, made.tags_T) == [Span(1, 5, "PER"), Span(7, 10, "PER")]
    made = align_spans(text, offsets, [Span(1, 10, "PER")])
    assert made.tags_T == ("B-PER", None, "I-PER")
    assert spans_of(text, offsets, made.tags_T) == [Span(1, 10, "PER")]


def test_a_token_that_straddles_a_border_is_tagged_and_told():
    made = align_spans("北京市", [(0, 3)], [Span(0, 2, "LOC")])
    assert made.tags_T == ("B-LOC",) and made.inexact == (Span(0, 2, "LOC"),)
    made = align_spans("北京市", [(0, 3)], [Span(0, 2, "LOC"), Span(2, 3, "ORG")])
    assert made.tags_T == ("B-LOC",) and made.lost == (Span(2, 3, "ORG"),)
    made = align_spans("ab", [(0, 1)], [Span(0, 2, "x"), Span(1, 2, "y")])
    assert made.inexact == (Span(0, 2, "x"),) and made.lost == (Span(1, 2, "y"),)
    assert align_spans("a b", [(0, 1), (2, 3)], [Span(1, 2, "x")]).lost == (Span(1, 2, "x"),)


@given(tags=st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y", None]), max_size=20))
def test_tags_of_any_kind_give_spans_that_are_their_own_tags(tags):
    text = "ab " * len(tags)
    offsets = [(3 * place, 3 * place + 2) for place in range(len(tags))]
    found = spans_of(text, offsets, tags)
    assert all(first.end <= second.start for first, second in zip(found, found[1:], strict=False))
    again = align_spans(text, offsets, found)
    assert spans_of(text, offsets, again.tags_T) == found and not again.inexact
    begun = sum(tag is not None and tag[0] == "B" for tag in tags)
    assert len(found) >= begun


def test_an_inside_that_continues_nothing_begins_a_span():
    offsets = [(0, 1), (1, 2), (2, 3), (3, 4)]
    found = spans_of("abcd", offsets, ["I-x", "I-x", "I-y", "O"])
    assert found == [Span(0, 2, "x"), Span(2, 3, "y")]


def test_spans_of_tokens_that_share_a_character_do_not_overlap():
    assert spans_of("好a", [(0, 1), (0, 1), (1, 2)], ["B-x", "B-y", "I-y"]) == [
        Span(0, 1, "x"),
        Span(1, 2, "y"),
    ]


def test_the_tag_of_the_highest_score():
    assert tags_of([[0.1, 0.9], [2.0, 2.0], [-1.0, -2.0]], ["O", "B-x"]) == ["B-x", "O", "O"]


def test_a_stretch_as_tokens():
    text, offsets = "the red fox", [(0, 3), (4, 7), (8, 11)]
    assert run_of(text, offsets, 4, 11) == Run(1, 3, exact=True)
    assert run_of(text, offsets, 3, 8) == Run(1, 2, exact=True)
    assert run_of(text, offsets, 4, 9) == Run(1, 3, exact=False)
    assert run_of(text, offsets, 3, 4) is None


@pytest.mark.parametrize("kind", FAMILIES)
@given(text=texts)
def test_every_word_has_a_token_or_is_told(kind, text):
    (read,) = encode_windows(family(kind), [text], limit=999, overlap=0)
    words, place = [], 0
    for word in text.split():
        place = text.index(word, place)
        words.append((place, place + len(word)))
        place += len(word)
    made = align_words(read.offsets_T, words)
    assert len(made.first_W) == len(words) and len(made.word_T) == len(read.offsets_T)
    for number, ((start, end), token) in enumerate(zip(words, made.first_W, strict=True)):
        assert (token < 0) == (number in made.lost)
        if token < 0:
            assert not any(a < end and b > start for a, b in read.offsets_T if a < b)
            continue
        first, last = read.offsets_T[token]
        assert first < end and last > start
        if number not in made.shared:
            assert made.word_T.index(number) == token
    for token, (start, end) in enumerate(read.offsets_T):
        assert start < end or made.word_T[token] == -1


def test_characters_as_words_share_a_token():
    made = align_words([(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)])
    assert made.first_W == (0, 0, 1) and made.shared == (1,) and made.word_T == (0, 2)


@pytest.mark.public_data
@pytest.mark.parametrize("model", ["tenon-small-encoder", "tenon-small-lm"])
def test_real_answers_are_where_their_tokens_say(shared, model):
    path, folder = shared / "data/cmrc2018/cmrc2018_trial.json", shared / "models" / model
    if not path.is_file() or not folder.is_dir():
        pytest.skip(f"no {path.name} or no {model}")
    paragraphs = [
        part for article in json.loads(path.read_text())["data"] for part in article["paragraphs"]
    ]
    contexts = [paragraph["context"] for paragraph in paragraphs[:60]]
    asked = [paragraph["qas"][0] for paragraph in paragraphs[:60]]
    read = encode_windows(
        load_tokenizer(folder),
        contexts,
        limit=128,
        overlap=32,
        questions=[question["question"] for question in asked],
    )
    exact = wrong = 0
    for context, question, found in zip(contexts, asked, read, strict=True):
        answer = question["answers"][0]
        begin, said = answer["answer_start"], answer["text"]
        if context[begin : begin + len(said)] != said:
            wrong += 1
            continue
        run = run_of(context, found.offsets_T, begin, begin + len(said))
        assert run is not None and found.unread == found.unknown == 0 and len(found.windows) > 1
        start, end = found.offsets_T[run.first][0], found.offsets_T[run.last - 1][1]
        assert said.strip() in context[start:end]
        assert (context[start:end] == said.strip()) == run.exact
        exact += run.exact
    assert wrong < 20 and exact > 0.8 * (60 - wrong)
