"""Several systems on the same rows: who leads, and how rarely that is said of noise."""

from __future__ import annotations

import json
import re

import pytest

from answers import drawn
from pages import SYSTEMS
from tenon.evaluate import kept
from tenon.evaluate.comparison import compare
from tenon.evaluate.comparison_page import html
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.language import LANGUAGES, language
from tenon.evaluate.rows import write_entries
from tenon.evaluate.settings import BY_TASK
from tenon.evaluate.standing import standing


def compared(tmp_path, task, systems):
    held = []
    for name, answers in systems.items():
        folder = tmp_path / name
        folder.mkdir()
        write_entries(folder / "predictions.jsonl", EXAMS.get(task).entries(answers))
        kept.write(folder / kept.NAME, answers, BY_TASK[task].scorers)
        held.append(kept.read(folder))
    return compare(
        [(name, f"{name} on base", f"runs/{name}") for name in systems],
        [each for each, _, _ in held],
        [entries for _, _, entries in held],
        held[0][1],
        task=task,
        part="test",
        level=0.95,
        resamples=200,
        seed=0,
    )


def classifiers(*accuracies, rows=200):
    return {f"s{n}": drawn(rows, 4, share, seed=n) for n, share in enumerate(accuracies)}


def test_the_best_leads_where_it_is_more_than_noise(tmp_path):
    found = compared(tmp_path, "text-classification", classifiers(0.5, 0.95, 0.6))
    assert found.outcome == "leads"
    assert found.systems[0].name == "s1"
    assert found.rivals == ()
    said = standing(found, language("en"))
    assert said.startswith("Accuracy on test is best with s1, ")
    assert "after Holm for 3 pairs" in said
    assert "better than the other 1 as well" in said


def test_of_equals_none_leads(tmp_path):
    found = compared(tmp_path, "text-classification", classifiers(0.8, 0.8))
    assert found.outcome == "no_difference"
    assert "within noise" in standing(found, language("en"))
    assert "Holm" not in standing(found, language("en"))


def test_a_shared_lead_names_who_shares_it_and_who_does_not(tmp_path):
    found = compared(tmp_path, "text-classification", classifiers(0.9, 0.91, 0.4))
    assert found.outcome == "shared"
    assert len(found.rivals) == 1
    assert "shown to be better than s2" in standing(found, language("en"))


def test_few_rows_prove_nothing(tmp_path):
    found = compared(tmp_path, "text-classification", classifiers(0.9, 0.1, rows=8))
    assert found.outcome == "unproved"
    assert found.duels == ()
    assert "8 rows are too few" in standing(found, language("en"))


def test_corrected_p_is_never_below_its_own(tmp_path):
    found = compared(tmp_path, "text-classification", classifiers(0.7, 0.75, 0.8, 0.9))
    names = list(found.systems[0].metrics)
    assert len(found.duels) == 6 * len(names)
    assert all(duel.holm >= duel.paired.raw_p for duel in found.duels)


def test_both_languages_say_the_same_numbers(tmp_path):
    for place, shares in enumerate([(0.5, 0.95, 0.6), (0.8, 0.8), (0.9, 0.91, 0.4)]):
        folder = tmp_path / str(place)
        folder.mkdir()
        found = compared(folder, "text-classification", classifiers(*shares))
        numbers = [
            sorted(re.findall(r"\d[\d.,]*\d|\d", standing(found, language(code))))
            for code in LANGUAGES
        ]
        assert numbers[0] == numbers[1]


@pytest.mark.parametrize("task", SYSTEMS)
def test_rows_that_differ_are_shown_for_every_task(task, tmp_path):
    mine, rival, _ = SYSTEMS[task]()
    found = compared(tmp_path, task, {"one": mine, "two": rival})
    assert found.differing["count"] > 0
    assert len(found.differing["rows"]) <= 50
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["format"] == 1
    assert told["leader"] == found.systems[0].name
    won, lost = found.wins[found.systems[0].name, found.systems[1].name]
    assert 0 < won + lost <= found.differing["count"]
    for code in LANGUAGES:
        page = html(found, language(code))
        assert standing(found, language(code)).split("，")[0][:12] in page
        assert found.differing["rows"][0]["origin"] in page


def test_hostile_names_stay_names(tmp_path):
    found = compared(tmp_path, "text-classification", classifiers(0.8, 0.9))
    from dataclasses import replace

    first, *rest = found.systems
    odd = replace(found, systems=(replace(first, title="<script>x</script>"), *rest))
    page = html(odd, language("en"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
