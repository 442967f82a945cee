"""Runs compared, pages written in either language, and cards that say what the report says."""

from __future__ import annotations

import json
import shutil

import pytest
from huggingface_hub import ModelCard

import tenon
from runs import project, table
from tenon.core.errors import DataError, FileError, PlanError, RunError
from tenon.verbs.train import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("project")
    made = {}
    for name, rank in (("narrow", 1), ("wide", 4)):
        adapter = {"kind": "lora.v1", "rank": rank, "dropout": 0.1}
        given = project(folder, folder_of("bert"), train__epochs=1, seed=5, adapter=adapter)
        made[name] = train(given, folder / name)
    return made


class TestCompare:
    def test_runs_adapters_and_folders_are_the_same_to_it(self, runs, tmp_path):
        narrow, wide = runs["narrow"], runs["wide"]
        shutil.copytree(wide.out / "report", tmp_path / "copied")
        found = tenon.compare(narrow.out, wide.adapter, out=tmp_path / "out", lang="zh")
        again = tenon.compare(narrow.out, tmp_path / "copied")
        assert {system.name for system in found.systems} == {"narrow", "wide"}
        assert [duel.paired for duel in found.duels] == [duel.paired for duel in again.duels]
        told = json.loads((tmp_path / "out" / "compare.json").read_text())
        assert told["rows"] == 30
        assert told == json.loads(json.dumps(found.to_json()))
        assert 'lang="zh-CN"' in (tmp_path / "out" / "compare.html").read_text()

    def test_the_figures_are_those_of_the_reports(self, runs):
        found = tenon.compare(*(run.out for run in runs.values()))
        for system in found.systems:
            report = runs[system.name].report
            for name, interval in system.metrics.items():
                assert interval.value == report.metrics["test"][name].value

    def test_other_rows_are_refused(self, runs, tmp_path):
        (tmp_path / "rows.csv").write_text(table(30, seed=9))
        tenon.eval(runs["wide"].out, str(tmp_path / "rows.csv"), tmp_path / "other")
        with pytest.raises(DataError, match="other: was judged on 30 rows, narrow on 30; 0 of"):
            tenon.compare(runs["narrow"].out, tmp_path / "other")

    @pytest.mark.parametrize(
        ("targets", "error", "told"),
        [
            (["narrow"], PlanError, "two or more"),
            (["narrow", "narrow"], PlanError, "named twice"),
            (["narrow", "nowhere"], FileError, "nowhere"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, runs, targets, error, told, tmp_path):
        places = [runs[name].out if name in runs else tmp_path / name for name in targets]
        with pytest.raises(error, match=told):
            tenon.compare(*places)

    def test_nothing_else_is_written_over(self, runs, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(RunError, match=r"mine\.txt"):
            tenon.compare(*(run.out for run in runs.values()), out=tmp_path)
        assert (tmp_path / "mine.txt").read_text() == "mine"


class TestPages:
    def test_a_run_is_shown_again_in_the_other_language(self, runs, tmp_path):
        out = tmp_path / "page.html"
        tenon.show(str(runs["wide"].out), html=out, lang="zh")
        assert "得分" in out.read_text()
        english = (runs["wide"].out / "report" / "report.html").read_text()
        assert 'lang="en"' in english
        tenon.show(str(runs["wide"].adapter), html=out)
        assert out.read_text() == english

    def test_a_page_may_quote_no_row(self, runs, tmp_path):
        out = tmp_path / "page.html"
        tenon.show(str(runs["wide"].out), html=out, texts=False)
        page = out.read_text()
        entries = (runs["wide"].out / "report" / "predictions.jsonl").read_text().splitlines()
        assert not [line for line in entries if json.loads(line)["text"] in page]
        assert "The rows are withheld" in page

    def test_training_an_ended_run_again_changes_its_language(self, runs, folder_of):
        run = runs["narrow"]
        adapter = {"kind": "lora.v1", "rank": 1, "dropout": 0.1}
        given = project(run.out.parent, folder_of("bert"), train__epochs=1, seed=5, adapter=adapter)
        assert train(given, run.out, lang="zh").ended_before
        assert 'lang="zh-CN"' in (run.out / "report" / "report.html").read_text()

    def test_what_has_no_effect_is_refused(self, runs, tmp_path):
        with pytest.raises(PlanError, match="no effect"):
            tenon.show("kinds", lang="zh")
        with pytest.raises(FileError, match="no report"):
            tenon.show("kinds", html=tmp_path / "page.html")
        with pytest.raises(PlanError, match="en and zh"):
            tenon.show(str(runs["wide"].out), html=tmp_path / "p.html", lang="fr")


def test_the_card_says_what_the_report_says(runs):
    run = runs["wide"]
    card = ModelCard.load(run.adapter / "README.md")
    found = {(each.dataset_split, each.metric_name): each for each in card.data.eval_results}
    figures = [
        (part, each) for part, group in run.report.metrics.items() for each in group.values()
    ]
    assert len(found) == len(figures)
    for (part, interval), each in zip(figures, found.values(), strict=True):
        assert each.dataset_split == part
        assert each.metric_value == round(interval.value, 6)
        assert each.metric_args["low"] == round(interval.low, 6)
        assert each.metric_args["rows"] == interval.n
        assert each.task_type == "text-classification"
    assert run.report.verdict in card.text
    assert "## Limits" in card.text
    card.data.to_yaml()
