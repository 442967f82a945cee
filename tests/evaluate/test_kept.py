"""What a report keeps of its scores gives the same figures again, for every sort of answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from answers import drawn
from pages import SYSTEMS
from tenon.core.errors import DataError, FileError
from tenon.evaluate import kept
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.prediction import renamed
from tenon.evaluate.rows import write_entries
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK
from tenon.evaluate.statistics import intervals, paired

SAMPLED = {"level": 0.95, "resamples": 200, "seed": 3}


def folder_of(path, task, answers, grouping=None):
    path.mkdir()
    write_entries(path / "predictions.jsonl", EXAMS.get(task).entries(answers))
    kept.write(path / kept.NAME, answers, BY_TASK[task].scorers, grouping)
    return path


@pytest.mark.parametrize("task", SYSTEMS)
def test_scores_intervals_and_pairs_come_out_the_same(task, tmp_path):
    mine, rival, _ = SYSTEMS[task]()
    held = [
        kept.read(folder_of(tmp_path / name, task, each))
        for name, each in (("mine", mine), ("rival", rival))
    ]
    own, names, entries = held[0]
    scorers, again = [SCORERS.get(name) for name in names], kept.scorers_of(names)
    assert len(entries) == len(own) == len(mine)
    assert intervals(own, again, **SAMPLED) == intervals(mine, scorers, **SAMPLED)
    theirs = held[1][0]
    for found, wanted in zip(
        paired(own, theirs, again, **SAMPLED).values(),
        paired(mine, rival, scorers, **SAMPLED).values(),
        strict=True,
    ):
        assert found.p == wanted.p
        assert found.difference == pytest.approx(wanted.difference, abs=1e-12)


def test_clusters_are_kept(tmp_path):
    answers = drawn(40, 3, 0.8, seed=1)
    grouping = Grouping("documents", {o: str(n // 4) for n, o in enumerate(answers.origins)})
    own, _, _ = kept.read(folder_of(tmp_path / "a", "text-classification", answers, grouping))
    assert own.grouping is not None
    found, wanted = own.grouping.clusters(own.origins), grouping.clusters(answers.origins)
    assert found is not None and wanted is not None
    assert own.grouping.noun == "documents"
    assert found.of_R.tolist() == wanted.of_R.tolist()


def test_rows_without_gold_are_not_kept(tmp_path):
    answers = drawn(30, 3, 0.8, seed=1)
    gold_R = answers.gold_R.copy()
    gold_R[::3] = -1
    own, _, _ = kept.read(
        folder_of(tmp_path / "a", "text-classification", replace(answers, gold_R=gold_R))
    )
    assert own.origins == [o for n, o in enumerate(answers.origins) if n % 3]


class TestMatched:
    def kept(self, tmp_path, name, answers):
        return kept.read(folder_of(tmp_path / name, "text-classification", answers))[0]

    def test_other_orders_and_files_are_the_same_rows(self, tmp_path):
        answers = drawn(30, 3, 0.8, seed=1)
        turned = answers.take(np.arange(30)[::-1])
        others = renamed(answers, [f"other/{o}" for o in answers.origins], {})
        held = [
            self.kept(tmp_path, n, a) for n, a in (("a", answers), ("b", turned), ("c", others))
        ]
        found = kept.matched(held, ["a", "b", "c"])
        assert [each.ids for each in found] == [held[0].ids] * 3

    def test_other_rows_are_refused_with_how_many_are_shared(self, tmp_path):
        answers = drawn(30, 3, 0.8, seed=1)
        part = answers.take(np.arange(20))
        held = [self.kept(tmp_path, "a", answers), self.kept(tmp_path, "b", part)]
        with pytest.raises(DataError, match=r"b: was judged on 20 rows, a on 30; 20 of them"):
            kept.matched(held, ["a", "b"])

    def test_other_labels_and_another_gold_are_refused(self, tmp_path):
        answers = drawn(30, 3, 0.8, seed=1)
        named = replace(answers, labels=("label_0", "label_1", "odd"))
        moved = replace(answers, gold_R=(answers.gold_R + 1) % 3)
        held = [self.kept(tmp_path, n, a) for n, a in (("a", answers), ("b", named), ("c", moved))]
        with pytest.raises(DataError) as told:
            kept.matched(held, ["a", "b", "c"])
        assert "b: tells other labels apart than a: label_2, odd" in str(told.value)
        assert "c: was scored against another gold than a on 30 of 30 rows" in str(told.value)


def test_an_older_report_is_told_how_to_be_compared(tmp_path):
    folder = folder_of(tmp_path / "a", "text-classification", drawn(30, 3, 0.8, seed=1))
    (folder / kept.NAME).unlink()
    with pytest.raises(FileError, match="tenon eval RUN --out"):
        kept.read(folder)


@pytest.mark.parametrize("cut", [0, 7, 200])
def test_a_damaged_file_is_refused(cut, tmp_path):
    folder = folder_of(tmp_path / "a", "text-classification", drawn(30, 3, 0.8, seed=1))
    whole = (folder / kept.NAME).read_bytes()
    (folder / kept.NAME).write_bytes(whole[:cut])
    with pytest.raises(FileError, match="damaged"):
        kept.read(folder)


def test_predictions_of_other_rows_are_refused(tmp_path):
    folder = folder_of(tmp_path / "a", "text-classification", drawn(30, 3, 0.8, seed=1))
    path = folder / "predictions.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert json.loads(lines[0])["gold"]
    with pytest.raises(FileError, match="other rows"):
        kept.read(folder)
