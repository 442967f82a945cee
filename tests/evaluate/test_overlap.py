"""Overlap is what sacreBLEU and rouge-score say, for a corpus and for any sample of its rows."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import PlanError
from tenon.evaluate import extractors, overlap
from tenon.evaluate.overlap import COMBINE

ENGLISH = [
    "the", "cat", "sat.", "on,", "a", "mat!", "U.S.", "3.5", "1,000", "don't", "Big", "–", "café",
    "(red)", "house", ",",
]  # fmt: skip
CHINESE = list("的一是在不了有和人这中大为上个国，。abc1 ") + ["GPU 4", "3.5%"]


def total(terms_RK):
    return np.asarray(terms_RK.sum(axis=0)).reshape(1, -1)


def score(name, terms_RK):
    return float(COMBINE[name](total(terms_RK), terms_RK.shape[0])[0])


def corpus(seed, rows, words, joint, references):
    """Rows of references, and answers that share much with one of them; some are empty."""
    generator = random.Random(seed)
    golds, answers = [], []
    for _ in range(rows):
        right = [
            joint.join(generator.choices(words, k=generator.randint(0, 12)))
            for _ in range(references)
        ]
        pieces = right[0].split() if joint else list(right[0])
        kept = [piece for piece in pieces if generator.random() < 0.8]
        if generator.random() < 0.4:
            kept = generator.choices(words, k=generator.randint(0, 12))
        golds.append(right)
        answers.append(joint.join(kept))
    return golds, answers


def streams(golds):
    return [list(column) for column in zip(*golds, strict=True)]


CASES = [
    (1_000, ENGLISH, " ", 1, "13a"),
    (1_000, CHINESE, "", 1, "zh"),
    (50, ENGLISH, " ", 3, "13a"),
]


@pytest.mark.parametrize(("rows", "words", "joint", "references", "tokenizer"), CASES)
def test_bleu_and_chrf_are_sacrebleus(rows, words, joint, references, tokenizer):
    metrics = pytest.importorskip("sacrebleu.metrics")
    golds, answers = corpus(rows, rows, words, joint, references)
    metric = metrics.BLEU(tokenize=tokenizer)
    expected = metric.corpus_score(answers, streams(golds)).score
    assert expected > 5
    assert score("bleu", overlap.bleu_terms(golds, answers, tokenizer)) == expected / 100
    assert overlap.signature("bleu", references, tokenizer) == str(metric.get_signature())
    metric = metrics.CHRF()
    expected = metric.corpus_score(answers, streams(golds)).score
    assert expected > 5
    assert 100 * score("chrf", overlap.chrf_terms(golds, answers)) == pytest.approx(
        expected, abs=1e-10
    )
    assert overlap.signature("chrf", references) == str(metric.get_signature())


@pytest.mark.parametrize("seed", range(40))
def test_small_corpora_are_sacrebleus_too(seed):
    metrics = pytest.importorskip("sacrebleu.metrics")
    golds, answers = corpus(seed, 1 + seed % 3, ENGLISH, " ", 1 + seed % 2)
    expected = metrics.BLEU().corpus_score(answers, streams(golds)).score
    assert score("bleu", overlap.bleu_terms(golds, answers)) == expected / 100
    expected = metrics.CHRF().corpus_score(answers, streams(golds)).score
    assert 100 * score("chrf", overlap.chrf_terms(golds, answers)) == pytest.approx(expected)


def test_rows_may_differ_in_their_number_of_references():
    metrics = pytest.importorskip("sacrebleu.metrics")
    golds = [["the cat sat on the mat", "a cat sat there now"], ["red house on the hill"]]
    answers = ["a cat sat on the mat", "the red house on a hill"]
    columns = [[right[0] for right in golds], [golds[0][1], None]]
    metric = metrics.BLEU()
    expected = metric.corpus_score(answers, columns).score
    assert score("bleu", overlap.bleu_terms(golds, answers)) == expected / 100
    assert overlap.signature("bleu", 0) == str(metric.get_signature())
    assert overlap.signature("chrf", 0).startswith("nrefs:var|")


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("words", [ENGLISH, CHINESE])
def test_rouge_is_rouge_scores(words, references):
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    golds, answers = corpus(7, 500, words, " ", references)
    for segment in (overlap.english, overlap.characters):

        class Parting:
            tokenize = staticmethod(segment)

        scorer = rouge_scorer.RougeScorer(
            ["rouge1", "rouge2", "rougeL"],
            tokenizer=None if segment is overlap.english else Parting,
        )
        expected = [
            [part.fmeasure for part in scorer.score_multi(right, answer).values()]
            for right, answer in zip(golds, answers, strict=True)
        ]
        terms_R3 = overlap.rouge_terms(golds, answers, segment)
        np.testing.assert_allclose(terms_R3.toarray(), expected, atol=1e-12)
        for column, name in enumerate(("rouge_1", "rouge_2", "rouge_l")):
            assert score(name, terms_R3) == pytest.approx(np.mean(expected, axis=0)[column])


def table_of_subsequences(first, second):
    """The length from its recurrence."""
    before = [0] * (len(second) + 1)
    for a in first:
        row = [0]
        for place, b in enumerate(second, 1):
            row.append(before[place - 1] + 1 if a == b else max(row[-1], before[place]))
        before = row
    return before[-1]


tokens = st.lists(st.sampled_from("abcd"), max_size=80)


@given(first=tokens, second=tokens)
def test_the_longest_subsequence_is_the_recurrences(first, second):
    expected = table_of_subsequences(first, second)
    assert overlap.longest_subsequence(first, second) == expected


def test_segments_of_two_scripts():
    assert overlap.english("Don't pay 1,000 €: Über-café!") == [
        "don", "t", "pay", "1", "000", "ber", "caf"
    ]  # fmt: skip
    assert overlap.characters("我用GPU4训练，Über-café。カナ") == [
        "我", "用", "gpu4", "训", "练", "über", "café", "カ", "ナ"
    ]  # fmt: skip


def every_terms(golds, answers):
    return {
        "bleu": overlap.bleu_terms(golds, answers),
        "chrf": overlap.chrf_terms(golds, answers),
        "rouge_1": overlap.rouge_terms(golds, answers),
        "rouge_2": overlap.rouge_terms(golds, answers),
        "rouge_l": overlap.rouge_terms(golds, answers),
        "exact_match": overlap.exact_terms(golds, answers),
    }


@pytest.mark.parametrize("seed", range(5))
def test_samples_are_scored_as_the_rows_they_hold(seed):
    pytest.importorskip("sacrebleu")
    golds, answers = corpus(seed, 9, ENGLISH, " ", 2)
    drawn_SR = np.random.default_rng(seed).integers(0, 9, (3, 9))
    count_SR = np.stack([np.bincount(drawn, minlength=9) for drawn in drawn_SR]).astype(float)
    for name, terms_RK in every_terms(golds, answers).items():
        score_S = COMBINE[name](np.asarray(count_SR @ terms_RK), 9)
        for drawn, value in zip(drawn_SR, score_S, strict=True):
            taken = every_terms([golds[row] for row in drawn], [answers[row] for row in drawn])
            assert value == pytest.approx(score(name, taken[name]))


def test_a_reference_is_a_perfect_answer_and_nothing_is_none():
    pytest.importorskip("sacrebleu")
    golds = [["x", "the cat sat on the mat"], ["a red house on a hill", "y"]]
    for name, terms_RK in every_terms(golds, [golds[0][1], golds[1][0]]).items():
        assert score(name, terms_RK) == pytest.approx(1), name
    for name, terms_RK in every_terms(golds, ["", ""]).items():
        assert score(name, terms_RK) == 0, name
    for name, terms_RK in every_terms([[""]], ["some words"]).items():
        assert score(name, terms_RK) == 0, name


def test_rows_that_cannot_be_scored_are_refused():
    for terms in (
        overlap.bleu_terms, overlap.chrf_terms, overlap.rouge_terms, overlap.exact_terms
    ):  # fmt: skip
        with pytest.raises(ValueError, match="row 1 has no reference"):
            terms([["x"], []], ["x", "y"])
        with pytest.raises(ValueError, match="1 rows of gold and 2 of answers"):
            terms([["x"]], ["x", "y"])
    with pytest.raises(ValueError, match="row 0 has no reference with an answer in it: 'x'"):
        overlap.exact_terms([["x"]], ["4"], extractors.last_number)


@pytest.mark.parametrize(
    ("script", "tokenizer"), [("han", "zh"), ("kana", "char"), ("other", "13a")]
)
def test_a_script_gets_its_tokenizer(script, tokenizer):
    assert overlap.tokenizer_of(script) == tokenizer


@pytest.mark.public_data
def test_gold_answers_of_gsm8k_are_found(shared):
    lines = [
        line
        for path in sorted((shared / "data/gsm8k").glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    assert len(lines) > 100
    for line in lines:
        answer = json.loads(line)["answer"]
        expected = answer.split("####")[1].strip().replace(",", "")
        found = extractors.last_number(answer)
        assert found is not None
        assert float(found) == float(expected)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 42", "42"),
        ("so 3 + 4 = 7\n#### 7\nQuestion: 9 apples", "7"),
        ("#### Step 1: the answer is 5", "5"),
        ("It costs $1,234,567.50.", "1234567.5"),
        ("It costs -$12", "-12"),
        ("a change of -3.0", "-3"),
        ("from 10-5", "5"),
        ("f(x)-5", "5"),
        ("−0.0 degrees", "0"),
        ("007", "7"),
        ("1,2,3", "3"),
        ("1,2345", "2345"),
        ("0.50 of it.", "0.5"),
        ("答案是４２。", "42"),
        ("5²", "5"),
        ("9" * 6_000, "9" * 6_000),
        ("no number", None),
        ("", None),
    ],
)
def test_the_last_number(text, number):
    assert extractors.last_number(text) == number


@given(number=st.integers(-(10**9), 10**9), part=st.integers(0, 99))
def test_a_number_is_found_however_it_is_written(number, part):
    whole = f"{number}.{part:02}"
    expected = float(whole)
    for written in (whole, f"{number:,}.{part:02}", f"{whole}0", f"#### {whole} or so 1"):
        found = extractors.last_number(f"It is {written}")
        assert float(found) == expected
        assert found == extractors.last_number(found)


def test_settings_name_extractors(monkeypatch, tmp_path):
    extractor = extractors.extractor
    assert extractor("strip")("  a b\n") == "a b"
    assert extractor("last_number")("x 4") == "4"
    assert extractor(r"regex:^Answer: *(\w+)")("Answer: no\nAnswer: yes\n") == "yes"
    assert extractor("regex:[A-D]")("A or B?") == "B"
    assert extractor("regex:(x)|y")("y") is None
    assert extractor("regex:[A-D]")("none") is None
    assert extractor("regex:^a")("a" + "b" * extractors.SEARCHED_CHARACTERS) is None
    (tmp_path / "mine.py").write_text("def upper(text):\n    return text.upper() or None\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert extractor("mine:upper")("a") == "A"
    assert extractor("mine:upper")("") is None
    golds, answers = [["Answer: 1"], ["Answer: 2"]], ["I say 1.", "I say 1."]
    terms_R1 = overlap.exact_terms(golds, answers, extractor("last_number"))
    assert terms_R1.toarray().ravel().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lastnumber", "did you mean last_number"),
        ("", "is not an extractor"),
        ("regex:(", "not a regular expression"),
        ("no_such_module_here:f", "no module no_such_module_here"),
        ("json:dumbs", "json has no function dumbs; did you mean dumps"),
        ("json:__all__", "json has no function"),
    ],
)
def test_settings_that_name_none_are_refused(setting, message):
    with pytest.raises(PlanError, match=message):
        extractors.extractor(setting)


def test_a_function_that_gives_no_text_is_told():
    with pytest.raises(PlanError, match="builtins:len gave 3, which is int"):
        extractors.extractor("builtins:len")("abc")
