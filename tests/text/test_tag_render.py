"""TagRenderer: every unit of a text is scored once, with its class, and nothing is silent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taggers import LABELS, TAGS, renderer_of, tagged
from tenon.data.example import Example, content_id
from tenon.data.gold import Span
from tenon.text.tag_render import TagRenderer, tags_for, words_of
from tenon.text.tally import told
from tenon.text.tokens import Tokens, collect

ARCHITECTURES = ("bert", "roberta", "llama", "qwen3", "gpt2")


def example(text: str, *spans: tuple[int, int, str], words: bool = False) -> Example:
    places = tuple(words_of(text)) if words else None
    return Example(content_id(text), "t:1", text, None, tuple(Span(*s) for s in spans), places)


def units(tokens: Tokens) -> list[tuple[int, int, int, int]]:
    """Give of every unit its text, first and last character, and class."""
    found = []
    for row, text in enumerate(tokens.column("example")):
        starts, ends = tokens.places(row)
        classes = tokens.targets(row).astype(int)
        assert len(starts) == len(ends) == len(classes) == tokens.lengths_R[row]
        assert (classes[starts < 0] == -1).all()
        found += [
            (text, int(start), int(end), int(number))
            for start, end, number in zip(starts, ends, classes, strict=True)
            if start >= 0
        ]
    return found


@pytest.mark.parametrize("kind", ["words", "tokens"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
@settings(max_examples=settings.default.max_examples // 4)
@given(seed=st.integers(0, 500), limit=st.integers(5, 20))
def test_in_windows_every_unit_is_there_once_and_in_order(arch, kind, folder_of, seed, limit):
    examples = tagged(4, seed, most=40)
    whole = collect(examples, renderer_of(folder_of(arch), 4_000, kind))
    cut = collect(examples, renderer_of(folder_of(arch), limit, kind))
    assert len(whole) == len(examples) == cut.texts
    assert units(cut) == units(whole)
    assert cut.lengths_R.max() <= limit
    assert cut.windowed == (whole.lengths_R > limit).sum()
    assert cut.rows_cut == 0
    assert cut.tally == whole.tally


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_word_has_the_tag_of_its_place_in_its_span(arch, folder_of):
    tokens = collect(tagged(20, 3), renderer_of(folder_of(arch)))
    found = {(text, start): TAGS[number] for text, start, _, number in units(tokens)}
    for place, each in enumerate(tagged(20, 3)):
        for start, _ in each.words:
            span = next((s for s in each.gold if s.start <= start < s.end), None)
            letter = "B" if span and span.start == start else "I"
            assert found[place, start] == (f"{letter}-{span.label}" if span else "O")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_word_speaks_once_by_its_first_token(arch, folder_of):
    text = "the parcelday wasgood by river"
    tokens = collect([example(text, words=True)], renderer_of(folder_of(arch)))
    assert [(start, end) for _, start, end, _ in units(tokens)] == words_of(text)
    assert tokens.lengths_R[0] > len(words_of(text))


def test_without_gold_no_unit_has_a_class(folder_of):
    blind = [replace(each, gold=None) for each in tagged(4)]
    for kind in ("words", "tokens"):
        tokens = collect(blind, renderer_of(folder_of("bert"), units=kind))
        assert {number for *_, number in units(tokens)} == {-1}
    none = [replace(each, gold=()) for each in tagged(4)]
    assert {n for *_, n in units(collect(none, renderer_of(folder_of("bert"))))} == {0}


def test_a_label_that_is_unknown_has_no_class(folder_of):
    tokens = collect([example("the old dog", (4, 11, "DOG"))], renderer_of(folder_of("bert")))
    assert [number for *_, number in units(tokens)] == [0, -1, -1]


def test_each_unit_of_a_single_tag_begins(folder_of):
    tags = tags_for(LABELS, single=True)
    assert tags == ("O", "B-LOC", "B-PER")
    assert tags_for(LABELS, single=False) == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    renderer = renderer_of(folder_of("bert"), tags=tags)
    tokens = collect([example("the old dog", (4, 11, "PER"), words=True)], renderer)
    assert [tags[number] for *_, number in units(tokens)] == ["O", "B-PER", "B-PER"]


def test_what_decides_tokens_decides_the_digest(folder_of):
    base = renderer_of(folder_of("bert"))
    others = [
        replace(base, limit=47), replace(base, units="tokens"), replace(base, tags=TAGS[:3]),
    ]  # fmt: skip
    assert len({each.digest for each in [base, *others]}) == 4


class TestTally:
    def tally(self, folder, *examples, **more) -> dict[str, int]:
        return collect(examples, renderer_of(folder, **more)).tally

    def test_nothing_to_tell(self, folder_of):
        assert self.tally(folder_of("bert"), *tagged(8)) == {}

    def test_a_border_within_a_token(self, folder_of):
        text = "the old dog"
        spans = [(0, 2, "PER"), (4, 7, "LOC")]
        assert self.tally(folder_of("bert"), example(text, *spans), units="tokens") == {
            "inexact": 1
        }

    def test_two_spans_in_one_token(self, folder_of):
        found = example("the old dog", (4, 6, "PER"), (6, 7, "LOC"))
        assert self.tally(folder_of("bert"), found, units="tokens") == {"inexact": 1, "lost": 1}

    def test_what_is_unknown(self, folder_of):
        assert self.tally(folder_of("bert"), example("the 狗 dog", words=True)) == {"unknown": 1}

    def test_characters_and_words_that_a_tokenizer_drops(self, folder_of):
        found = self.tally(folder_of("qwen2"), example("the 狗狗 dog", words=True))
        assert found == {"unread": 2, "unspoken": 2}

    def test_words_of_one_token_are_one_unit(self, folder_of):
        """Here the words are the letters; the base knows "the" and "dog" as tokens."""
        text, places = "thedog", tuple((n, n + 1) for n in range(6))
        for gold, units_found, inexact in (
            ((0, 3, "PER"), [(0, 0, 3, 3), (0, 3, 4, 0), (0, 4, 5, 0), (0, 5, 6, 0)], {}),
            (
                (1, 4, "PER"),
                [(0, 0, 3, 3), (0, 3, 4, 4), (0, 4, 5, 0), (0, 5, 6, 0)],
                {"inexact": 1},
            ),
        ):
            spans = (Span(*gold),)
            row = Example(content_id(text), "t:1", text, None, spans, places)
            tokens = collect([row], renderer_of(folder_of("bert")))
            assert units(tokens) == units_found
            assert tokens.tally == {"joined": 2, **inexact}

    def test_a_text_in_windows_tells_once(self, folder_of):
        text = " ".join(["the old 狗 dog"] * 9)
        tokens = collect([example(text, words=True)], renderer_of(folder_of("bert"), 12))
        assert len(tokens) > 3
        assert tokens.tally == {"unknown": 9}

    def test_in_words(self):
        assert told({}) == []
        assert told({"lost": 1, "inexact": 1200}) == [
            "1,200 spans begin or end within a token, all of which is tagged",
            "1 span has no token of its own, and is not found",
        ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's Smith-Jones's U.S. 3.5 %.", ["It's", "Smith-Jones's", "U.S", ".", "3.5", "%", "."]),
        ("我爱Beijing", ["我", "爱", "Beijing"]),
        ("mail@me.com (ok)", ["mail", "@", "me.com", "(", "ok", ")"]),
        ("", []),
        (" \t", []),
    ],
)
def test_words_of_a_text_whose_words_are_not_given(text, words):
    assert [text[start:end] for start, end in words_of(text)] == words


@given(st.text(max_size=40))
def test_every_character_but_blanks_is_in_a_word_once(text):
    covered = np.zeros(len(text), int)
    for start, end in words_of(text):
        covered[start:end] += 1
    for number, character in zip(covered, text, strict=True):
        assert number == 1 or (character.isspace() and number <= 1)


def test_the_renderer_is_frozen(folder_of):
    renderer = renderer_of(folder_of("bert"))
    assert isinstance(renderer, TagRenderer)
    with pytest.raises(AttributeError):
        renderer.limit = 3  # type: ignore[misc]
