"""AnswerRenderer: windows of a context behind its question, and where the answer lies in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reading import WORDS, example, examples, renderer_of
from tenon.core.errors import PlanError
from tenon.data.example import Example
from tenon.data.gold import AnswerSpan
from tenon.text.answer_render import LEAST_TOKENS, usual_length

ARCHS = ["bert", "roberta", "llama", "qwen3", "gpt2"]


def said(example, row, rendered):
    """Give the text between the targets of a row."""
    first, last, _ = (int(number) for number in rendered.targets[row])
    return example.pair[rendered.starts[row][first] : rendered.ends[row][last]]


@pytest.mark.parametrize("arch", ARCHS)
@settings(max_examples=20)
@given(seed=st.integers(0, 999), limit=st.integers(24, 62))
def test_the_targets_of_a_window_are_the_answer_or_none(arch, folder_of, seed, limit):
    known = examples(6, seed)
    rendered = renderer_of(folder_of(arch), limit, longest=20).rows(known)
    held = [0] * len(known)
    for row, place in enumerate(rendered.example):
        first, last, longest = rendered.targets[row]
        assert longest == 20
        assert len(rendered.ids[row]) <= limit
        assert len(rendered.ids[row]) == len(rendered.starts[row]) == len(rendered.ends[row])
        if (first, last) == (0, 0):
            continue
        held[place] += 1
        assert said(known[place], row, rendered) == known[place].gold[0].text
    first_rows = [rendered.example.index(place) for place in range(len(known))]
    for place, item in enumerate(known):
        unheld = "unheld" in (rendered.tally[first_rows[place]] or "")
        assert bool(held[place]) == (bool(item.gold) and not unheld), item
        # What neighbours share is at least a third of the room that a question leaves.
        assert not unheld or limit < 45


@pytest.mark.parametrize("arch", ARCHS)
def test_every_character_of_the_context_stands_in_a_window(arch, folder_of):
    (known,) = examples(1, seed=5)
    rendered = renderer_of(folder_of(arch), 24).rows([known])
    assert len(rendered.ids) > 1
    seen = {
        place
        for starts, ends in zip(rendered.starts, rendered.ends, strict=True)
        for start, end in zip(starts, ends, strict=True)
        for place in range(start, end)
    }
    assert seen == {place for place, sign in enumerate(known.pair) if sign != " "}


def test_the_question_and_special_tokens_are_no_place_of_an_answer(folder_of):
    known = example("who was glad?", "the old dog", "old")
    rendered = renderer_of(folder_of("bert")).rows([known])
    before = rendered.starts[0].index(0)
    assert before == rendered.ids[0].index(2) + 1  # behind the first separator
    assert set(rendered.starts[0][:before]) == {-1}
    assert rendered.starts[0][-1] == -1
    assert rendered.types is not None
    assert rendered.types[0][before] == 1


@pytest.mark.parametrize("arch", ["qwen3", "gpt2"])
def test_a_tokenizer_without_a_border_gets_an_empty_line(arch, folder_of):
    renderer = renderer_of(folder_of(arch))
    plain = renderer.tokenizer("the old day", add_special_tokens=False)["input_ids"]
    together = renderer.rows([example("the old", "day")]).ids[0]
    assert len(together) > len(plain)


def test_the_commonest_answer_is_learned_the_first_of_equals(folder_of):
    context = "the old dog and the red fox"
    renderer = renderer_of(folder_of("bert"))
    for answers, expected in (
        (("old", "red", "red"), "red"),
        (("old", "red"), "old"),
        (("the old dog and", "red"), "red"),
    ):
        longest = 3 if len(answers[0]) > 5 else 8
        known = example("what?", context, *answers)
        rendered = renderer_of(folder_of("bert"), longest=longest).rows([known])
        assert said(known, 0, rendered) == expected
    assert renderer.digest != renderer_of(folder_of("bert"), longest=3).digest


def test_an_unknown_answer_has_no_place(folder_of):
    rendered = renderer_of(folder_of("bert")).rows([example("who?", "my dog", known=False)])
    assert rendered.targets == [[-1.0, -1.0, 8.0]]


@pytest.mark.parametrize(
    ("answer", "longest"), [("old dog and the red fox", 4), ("the old dog and the red", 5)]
)
def test_an_answer_that_is_too_long_is_counted(answer, longest, folder_of):
    known = example("what?", "the old dog and the red fox", answer)
    rendered = renderer_of(folder_of("bert"), longest=longest).rows([known])
    assert rendered.targets == [[0.0, 0.0, float(longest)]]
    assert rendered.tally == ['{"unheld": 1}']


def test_the_most_tokens_follow_from_the_answers_of_train(folder_of):
    tokenizer = renderer_of(folder_of("bert")).tokenizer
    few = [example("what?", " ".join(WORDS), "dog") for _ in range(5)]
    assert usual_length(tokenizer, few, 90) == LEAST_TOKENS
    context = " ".join(["dog"] * 40)
    long = [example("what?", context, " ".join(["dog"] * size)) for size in range(1, 26)]
    assert usual_length(tokenizer, long, 90) == 25
    assert usual_length(tokenizer, long, 60) == 20
    assert usual_length(tokenizer, [example("what?", context)], 60) == LEAST_TOKENS


def test_an_answer_within_a_token_is_that_token(folder_of):
    known = Example("1", "a:1", "what?", "the parcel", (AnswerSpan("arc", 5),))
    rendered = renderer_of(folder_of("bert")).rows([known])
    assert said(known, 0, rendered) == "parcel"


def test_control_tokens_that_were_typed_stay_text(folder_of):
    known = example("who [SEP]?", "the [SEP] dog", "dog")
    rendered = renderer_of(folder_of("bert")).rows([known])
    assert rendered.ids[0].count(2) == 2
    assert said(known, 0, rendered) == "dog"


def test_a_blank_question_and_odd_contexts_are_read(folder_of):
    known = [example("", "my dog", "dog"), example("who?", " \t the   dog\n", "dog")]
    rendered = renderer_of(folder_of("bert")).rows(known)
    assert [said(item, row, rendered) for row, item in enumerate(known)] == ["dog", "dog"]


def test_a_long_question_is_cut_and_counted_once(folder_of):
    known = example(" ".join(WORDS * 3), " ".join(WORDS * 3), "parcel")
    rendered = renderer_of(folder_of("bert"), 24).rows([known])
    assert len(rendered.ids) > 1
    assert rendered.cut[0] == 36 - 10
    assert set(rendered.cut[1:]) == {0}


def test_a_limit_without_room_is_refused(folder_of):
    with pytest.raises(PlanError, match=r"text\.max_tokens = 4"):
        renderer_of(folder_of("bert"), 4).rows(examples(1))
