"""Written: scores of texts, each over the rows that have what it needs; marked differences."""

from __future__ import annotations

import numpy as np
import pytest

from tenon.core.errors import DataError
from tenon.evaluate.assessment import assess
from tenon.evaluate.differing import differing
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK, EvaluateSettings
from tenon.evaluate.statistics import intervals, paired
from tenon.evaluate.write_exam import list_texts, notes, refuse_unextractable
from tenon.evaluate.written import Written
from writers import causal_folder, examples, tokens_of

NAMES = BY_TASK["text-generation"].scorers


def written(
    rows: int = 40, answered: int = 20, worse: float = 0.0, extract: str = "strip"
) -> Written:
    random = np.random.default_rng(3)
    gold = [f"the answer is {row}" for row in range(rows)]
    answers = [text if row % 4 else f"it is {row}" for row, text in enumerate(gold)]
    return Written(
        ids=[f"{row:032x}" for row in range(rows)],
        origins=[f"t:{row}" for row in range(rows)],
        texts=[f"what is {row}?" for row in range(rows)],
        gold=[(text,) for text in gold],
        nats_R=random.uniform(1, 9, rows) + worse,
        tokens_R=random.integers(1, 9, rows).astype(float),
        bytes_R=np.array([len(text) for text in gold], float),
        answers=[a if row < answered else None for row, a in enumerate(answers)],
        ended=[row != 3 for row in range(rows)],
        looped=[row == 3 for row in range(rows)],
        cut=0,
        extract=extract,
        tokenizer="13a",
        failed={},
    )


def test_each_score_is_over_the_rows_that_have_what_it_needs():
    known = written()
    scorers = [SCORERS.get(name) for name in NAMES]
    found = intervals(known, scorers, level=0.95, resamples=300, seed=0)
    assert list(found) == list(NAMES)
    assert (found["bits_per_byte"].n, found["exact_match"].n) == (40, 20)
    assert found["exact_match"].value == 15 / 20
    assert found["bits_per_byte"].value == pytest.approx(
        known.nats_R.sum() / np.log(2) / known.bytes_R.sum()
    )
    assert found["perplexity"].value == pytest.approx(
        np.exp(known.nats_R.sum() / known.tokens_R.sum())
    )
    silent = intervals(written(answered=0), scorers, level=0.95, resamples=300, seed=0)
    assert list(silent) == ["bits_per_byte", "perplexity"]


def test_what_only_one_has_is_not_compared():
    mine = written()
    copied = mine.saying(
        [
            text if answer is not None else None
            for text, answer in zip(mine.texts, mine.answers, strict=True)
        ]
    )
    scorers = [SCORERS.get(name) for name in NAMES]
    found = paired(mine, copied, scorers, level=0.95, resamples=300, seed=0)
    assert list(found) == ["exact_match", "rouge_l", "chrf"]
    assert found["exact_match"].n == 20 and found["exact_match"].difference == 0.75


def test_numbers_are_compared_after_extraction():
    assert SCORERS.get("exact_match").score(written(extract="last_number")) == 1.0


def test_a_report_leads_with_the_likelihood_and_lists_texts():
    mine, base = written(), written(worse=3.0)
    base = Written(**{**base.__dict__, "answers": [a and "nothing" for a in base.answers]})
    copied = mine.saying(mine.texts)
    found = assess(
        {"test": mine},
        {"zero_shot": {"test": base}, "copy_source": {"test": copied}},
        EvaluateSettings(scorers=NAMES, resamples=300),
        task="text-generation", cost={}, data={}, curve={}, notes=(),
    )  # fmt: skip
    assert found.outcome == "better"
    assert "the base without the adapter" in found.verdict and "Bits per byte" in found.verdict
    assert "bits_per_byte" not in found.baselines["copy_source"]
    assert found.won["count"] == 20 and found.won["rows"][0]["baseline_answer"] == "nothing"
    from tenon.evaluate.page import html

    page = html(found)
    assert "the answer is" in page and 'class="other"' in page
    assert found.to_json()


def test_what_is_shown_is_escaped():
    nasty = written(rows=12, answered=12)
    nasty = Written(
        **{**nasty.__dict__, "answers": ["<script>alert(1)</script>"] * 12, "texts": ["<u>"] * 12}
    )
    from tenon.evaluate.page import html

    found = assess(
        {"test": nasty}, {}, EvaluateSettings(scorers=NAMES, resamples=300),
        task="text-generation", cost={}, data={}, curve={}, notes=(),
    )  # fmt: skip
    assert "<script>" not in html(found) and "<u>" not in html(found)


def test_the_sample_is_the_same_every_time():
    rows = [entry["id"] for entry in list_texts(written(), None, 0.95)["sample"]["rows"]]
    again = written().take(np.arange(40)[::-1])
    assert rows == [entry["id"] for entry in list_texts(again, None, 0.95)["sample"]["rows"]]


def test_what_is_to_be_known_is_said():
    said = notes(written())
    assert said[0].startswith("a sample of 20 of 40 rows")
    assert said[1].startswith("1 of 20 answers came to no end")
    assert said[2] == "of these, 1 by repeating the same words to the end"
    assert notes(written(answered=0)) == []


def test_rows_in_which_nothing_is_found_are_refused_before_training(tmp_path):
    given = examples([("a", " the day"), ("b", " 12"), ("c", " fox")])
    tokens = tokens_of(causal_folder(tmp_path, "llama"), given)
    refuse_unextractable(tokens, "strip")
    with pytest.raises(DataError, match=r"t.jsonl:1: .*last_number.*\n.*t.jsonl:3: "):
        refuse_unextractable(tokens, "last_number")


@pytest.mark.parametrize(
    ("text", "other", "marked"),
    [
        ("the old fox", "the red fox", 'the <mark class="other">old</mark> fox'),
        ("same", "same", "same"),
        ("", "a", ""),
        ("a<b", "", '<mark class="other">a&lt;b</mark>'),
        ("子路说", "孔子说", '子<mark class="other">路</mark>说'),
        ("a b c", "a c", 'a <mark class="other">b </mark>c'),
    ],
)
def test_words_that_the_other_has_not_are_marked(text, other, marked):
    assert str(differing(text, other)) == marked


@pytest.mark.parametrize("same", [True, False])
def test_a_likelihood_that_rises_alone_is_no_better_answer(same):
    mine, base = written(), written(worse=3.0)
    if not same:
        base = Written(**{**base.__dict__, "answers": [a and "nothing" for a in base.answers]})
    found = assess(
        {"test": mine}, {"zero_shot": {"test": base}},
        EvaluateSettings(scorers=NAMES, resamples=300),
        task="text-generation", cost={}, data={}, curve={}, notes=(),
    )  # fmt: skip
    said = "What it writes is not shown to be better by Exact match, ROUGE-L or chrF."
    assert found.outcome == "better" and (said in found.verdict) is same
