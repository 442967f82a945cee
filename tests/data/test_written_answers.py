"""Answers, spans and lengths: what is told of single ones, and where it stops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.data.example import Example, content_id
from tenon.data.finder import Seen
from tenon.data.gold import Turn
from tenon.data.lengths import PADDED_ROWS, fitting, length_findings, padding
from tenon.data.normal import normal
from tenon.data.refusals import is_refusal
from tenon.data.spans import parts_character, parts_word
from tenon.data.written_answers import WrittenAnswers, is_loop

LONG = "The first step is to open the box, and the second is to take the lamp out of it"


def codes(answers: list[str], *, ended: bool = True) -> dict[str, tuple[str, ...]]:
    finder = WrittenAnswers(ended=ended)
    for number, answer in enumerate(answers):
        turns = (Turn("user", f"ask {number}"), Turn("assistant", answer, trained=True))
        text = f"ask {number}"
        example = Example(content_id(text), f"t:{number}", text, None, (answer,), turns=turns)
        finder.see(Seen("train", example, (text, answer), normal(text), ""))
    return {finding.code: finding.rows for finding in finder.found({})}


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but as an AI I have no body.",
        "As a large language model I do not know.",
        "I cannot provide medical advice.",
        "I am unable to assist with this.",
        "抱歉，我无法满足这个要求。",
        "作为人工智能助手，我没有感情。",
    ],
)
def test_a_refusal(answer):
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry to hear that! Your refund is on its way.",
        "Paris is the capital of France.",
        "The AI boom began in 2012.",
        "You cannot help being late when it snows.",
        "对不起这个词用来道歉。",
        "很抱歉给您带来不便，我们马上处理。",
        "I'm sorry I am late; the parcel is on its way.",
        "北京是中国的首都。",
    ],
)
def test_an_answer_is_no_refusal(answer):
    assert not is_refusal(answer)


class TestCutAnswers:
    def test_one_among_many_that_end(self):
        assert codes([*[f"{LONG} {n}." for n in range(40)], LONG])["cut-answers"] == ("t:40",)

    def test_none_where_answers_do_not_end_as_sentences(self):
        assert codes([LONG] * 40) == {}

    def test_short_ones_need_no_end(self):
        assert codes([*[f"{LONG} {n}." for n in range(40)], "Paris"]) == {}

    def test_an_open_block_of_code(self):
        whole = f"{LONG}:\n```\nlamp.open()\n```"
        assert codes([*[whole] * 40, whole[:-3]]) == {"cut-answers": ("t:40",)}

    def test_lines_of_a_translation_are_not_judged(self):
        assert codes([*[f"{LONG} {n}." for n in range(40)], LONG], ended=False) == {}


def test_a_loop_and_what_only_repeats_a_little():
    assert is_loop("the lamp is. " * 60)
    assert not is_loop(f"{LONG}. The lamp is green. The box is green. The door is green. " + LONG)


@pytest.mark.parametrize(
    ("text", "at", "within"),
    [
        ("Oslo", 2, True),
        ("Oslo", 0, False),
        ("Oslo", 4, False),
        ("in Oslo", 3, False),
        ("7pm", 1, False),
        ("1999", 2, True),
        ("北京市", 1, False),
        ("John's", 4, False),
    ],
)
def test_a_place_within_a_word(text, at, within):
    assert parts_word(text, at) is within


@pytest.mark.parametrize(
    ("text", "at", "within"),
    [
        ("e\u0301t", 1, True),
        ("e\u0301t", 2, False),
        ("👩\u200d👧", 1, True),
        ("👍🏽", 1, True),
        ("ab", 1, False),
    ],
)
def test_a_place_within_a_character(text, at, within):
    assert parts_character(text, at) is within


class TestLengths:
    @given(st.lists(st.integers(1, 500), min_size=1, max_size=200))
    def test_padding_is_a_share_and_none_for_equal_rows(self, lengths):
        tokens_R = np.array(lengths, np.uint32)
        assert 0 <= padding(tokens_R) < 1
        assert padding(np.full(100, 7, np.uint32)) == 0

    def test_one_long_row_of_each_batch_is_what_padding_costs(self):
        tokens_R = np.array(([1] * (PADDED_ROWS - 1) + [PADDED_ROWS]) * 3, np.uint32)
        real = PADDED_ROWS - 1 + PADDED_ROWS
        assert padding(tokens_R) == pytest.approx(1 - real / PADDED_ROWS**2)

    @given(st.lists(st.integers(1, 500), min_size=1, max_size=300))
    def test_the_fitting_length_holds_99_of_100_rows(self, lengths):
        tokens_R = np.array(lengths, np.uint32)
        enough = fitting(tokens_R)
        assert enough % 8 == 0
        assert (tokens_R > enough).mean() <= 0.01

    def test_the_length_to_choose_is_told_where_the_limit_is_far_above(self):
        tokens_R = np.array([10] * 995 + [400] * 5, np.uint32)
        told = {each.code: each for each in length_findings(tokens_R, 1_000, 512, windowed=False)}
        assert "text.max_tokens = 16" in told["length-to-choose"].remedy
        assert told["length-to-choose"].count == 5
        near = {each.code for each in length_findings(tokens_R, 1_000, 24, windowed=False)}
        assert "length-to-choose" not in near
        assert "cut" in near
