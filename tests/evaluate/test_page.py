"""The page is one safe offline file, whatever the report holds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import drawn, predictions
from tenon.evaluate import page, plots, quantity
from tenon.evaluate.assessment import assess
from tenon.evaluate.language import language
from tenon.evaluate.plots import Bar
from tenon.evaluate.report import Report
from tenon.evaluate.settings import BY_TASK, EvaluateSettings

SCORED = BY_TASK["text-classification"].scorers
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "{{ 7 * 7 }}{% raw %}",
    "</style><script>alert(1)</script>",
    "&lt;b&gt; &amp;",
    "--> <!-- ]]>",
    "\u202eevil\u202c",
]
VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Read a page: its elements, attributes and visible text; refuse what is not balanced."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    @property
    def tags(self):
        return {tag for tag, _ in self.elements}


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def made(adapter, *, rival=None, rival_name="linear_probe", evaluate=None, **around):
    """Make a report of one system, with a rival where one is given."""
    everything = {
        "task": "text-classification",
        "cost": {"seconds": 192.0, "peak_bytes": 5 << 20, "trainable_parameters": 1_234_567},
        "data": {"counts": {"train": 90, "test": 10}, "notes": ["guessed"], "pairs": False},
        "curve": {"loss": [(1, 2.0), (9, 1.0)], "accuracy": [(4, 0.5), (9, 0.75)]},
        "notes": ["3 rows were cut"],
        **around,
    }
    rivals = {rival_name: {"test": rival}} if rival else {}
    return assess(
        {"test": adapter},
        rivals,
        evaluate or EvaluateSettings(scorers=SCORED, resamples=200),
        **everything,
    )


@pytest.fixture(scope="module")
def usual():
    return made(
        drawn(200, 5, 0.9, seed=1),
        rival=drawn(200, 5, 0.6, seed=2),
        title="mood on MiniLM",
        command="tenon train run.toml",
        environment={"torch": "2.13.0"},
    )


def test_the_page_has_everything_a_reader_asks(usual):
    text = re.sub(r"\s+", " ", read(page.html(usual)).text)
    for wanted in (
        usual.verdict,
        "Better than the baseline",
        "mood on MiniLM",
        "Macro-F1",
        "Learning curves",
        "Confusion matrix",
        "Most confused pairs",
        "Calibration",
        "Class by class",
        f"Won: {usual.won['count']}",
        f"Lost: {usual.lost['count']}",
        "Surest errors",
        "3 rows were cut",
        "1,234,567",
        "3 min 12 s",
        "5 MiB",
        "2.13.0",
        "tenon train run.toml",
    ):
        assert wanted in text, wanted


FINDINGS = [
    {
        "code": "leak", "severity": "warning", "count": 2, "what": "2 rows of test <b>leak</b>",
        "remedy": "remove them", "examples": ["test.csv:1 = train.csv:9"],
    },
    {
        "code": "near-duplicates", "severity": "note", "count": 1, "what": "1 row nearly is one",
        "remedy": "", "examples": [],
    },
]  # fmt: skip


def test_what_a_check_found_is_shown():
    shown = made(drawn(60, 3, 0.9, seed=1), findings=FINDINGS)
    text = re.sub(r"\s+", " ", read(page.html(shown)).text)
    for wanted in ("What is in the data", "warning 2 rows of test <b>leak</b> remove them",
                   "= train.csv:9", "1 thing worth knowing", "nearly is one"):  # fmt: skip
        assert wanted in text, wanted
    assert Report.from_json(json.loads(json.dumps(shown.to_json()))).findings == FINDINGS


def test_a_report_without_a_check_has_no_such_section(usual):
    assert "What is in the data" not in page.html(usual)
    older = {name: value for name, value in usual.to_json().items() if name != "findings"}
    assert Report.from_json(older).findings == []


def test_the_verdict_comes_first(usual):
    text = page.html(usual)
    assert text.index(usual.outcome) < text.index("<h2")


def test_the_page_needs_no_network_and_runs_nothing(usual):
    text = page.html(usual)
    reader = read(text)
    assert reader.tags.isdisjoint({"script", "link", "img", "iframe", "object", "form", "base"})
    for _, attributes in reader.elements:
        assert not {"src", "style"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(|https?://", text)


def test_the_page_serves_dark_light_paper_and_narrow(usual):
    text = page.html(usual)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "width=device-width" in text


def test_every_drawing_is_well_formed_and_described(usual):
    drawings = re.findall(r"<svg.*?</svg>", page.html(usual), flags=re.DOTALL)
    assert len(drawings) > 10
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label") or root.get("aria-hidden") == "true"
        numbers = re.findall(r"-?\d+\.?\d*", root.get("viewBox"))
        assert float(numbers[2]) > 0
        assert float(numbers[3]) > 0
        assert "nan" not in drawing
        assert "inf" not in drawing


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_stay_texts(hostile):
    """The same text in every place a user's text can reach; the page's elements do not change."""
    rows = 30

    def page_of(text):
        answers = drawn(rows, 3, 0.5, seed=1)
        names = tuple(f"{text}{index}" for index in range(3))
        texts, origins = [text] * rows, [f"{text}:{row}" for row in range(rows)]
        adapter = replace(answers, labels=names, texts=texts, pairs=texts, origins=origins)
        rival = replace(adapter, log_probs_RL=drawn(rows, 3, 0.5, seed=2).log_probs_RL)
        return read(
            page.html(
                made(
                    adapter,
                    rival=rival,
                    rival_name=text,
                    notes=[text],
                    title=text,
                    command=text,
                    cost={text: text},
                    data={text: {text: [text, {text: 1}]}},
                    environment={text: text},
                    curve={text: [(1, 0.5), (2, 0.6)]},
                )
            )
        )

    found, plain = page_of(hostile), page_of("x" * len(hostile))
    ours, theirs = (
        [(tag, sorted(attributes)) for tag, attributes in reader.elements if tag != "wbr"]
        for reader in (found, plain)
    )
    assert ours == theirs
    assert found.text.count(hostile) > 50


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 30),
    classes=st.integers(1, 20),
    accuracy=st.sampled_from([0.0, 0.5, 1.0]),
    sharpness=st.sampled_from([0.0, 3.0, 60.0]),
    rival=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.5, 1e6])), max_size=4),
)
def test_any_report_makes_a_page(rows, classes, accuracy, sharpness, rival, steps):
    system = drawn(rows, classes, accuracy, seed=rows, sharpness=sharpness)
    other = drawn(rows, classes, 0.5, seed=rows + 1) if rival else None
    text = page.html(made(system, rival=other, curve={"loss": steps, "log_loss": steps}))
    reader = read(text)
    assert "nan" not in reader.text
    for drawing in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(drawing)


def test_a_page_of_a_report_read_back_is_the_same(usual):
    assert page.html(Report.from_json(usual.to_json())) == page.html(usual)


@pytest.mark.parametrize("classes", [77, 1500])
def test_many_classes_and_long_texts_stay_under_2_megabytes(classes):
    rows = 4000
    adapter = replace(
        drawn(rows, classes, 0.3, seed=1),
        texts=["word " * 300] * rows,
        labels=tuple(f"a_rather_long_label_name_{index}" for index in range(classes)),
    )
    rival = replace(adapter, log_probs_RL=drawn(rows, classes, 0.5, seed=2).log_probs_RL)
    text = page.html(made(adapter, rival=rival))
    assert len(text.encode()) < 2_000_000
    if classes > page.MOST_CLASSES:
        assert f"{classes - page.MOST_CLASSES:,} further classes are in report.json" in text


def test_rows_that_are_not_listed_are_counted():
    adapter = drawn(600, 3, 0.9, seed=1)
    found = made(adapter, rival=drawn(600, 3, 0.1, seed=2))
    assert found.won["count"] > 50
    assert f"{found.won['count'] - 50:,} further rows are not listed" in page.html(found)


def test_pairs_are_shown():
    answers = predictions([1], np.log([[0.9, 0.1]]), pairs=["the second text"])
    assert "the second text" in read(page.html(made(answers))).text


def test_what_is_empty_is_left_out():
    text = page.html(
        made(drawn(30, 2, 1.0, seed=1, sharpness=40), curve={}, notes=[], cost={}, data={})
    )
    for missing in ("curves", "errors", "notes", "facts", "changes", "preflight", "seeds"):
        assert f'<h2 id="{missing}"' not in text
    assert "Not compared" in text
    assert "every answer is right" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (192.3, "3 min 12 s"), (7500, "2 h 5 min")],
)
def test_times_are_readable(seconds, text):
    assert quantity.duration(seconds, language("en")) == text


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 B"), (2048, "2 KiB"), (5 << 20, "5 MiB"), (3 << 29, "1.5 GiB")]
)
def test_sizes_are_readable(size, text):
    assert quantity.memory(size) == text


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        (True, "", "yes"),
        (False, "", "no"),
        (None, "", "–"),
        (1234567, "tokens", "1,234,567"),
        (0.031841, "share", "0.03184"),
        (61, "train_seconds", "1 min 1 s"),
        (1024, "peak_bytes", "1 KiB"),
        ("<b>", "", "<b>"),
    ],
)
def test_values_are_readable(value, key, text):
    assert quantity.plain(value, key, language("en")) == text


@settings(max_examples=100, deadline=None)
@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-6, 1e6), most=st.integers(1, 6))
def test_round_values_lie_inside_and_are_few(low, width, most):
    high = low + width
    if not high > low:
        return
    values = plots.round_values(low, high, most)
    assert len(values) <= most + 1
    assert values == sorted(set(values))
    assert all(low - 1e-6 * width <= value <= high + 1e-6 * width for value in values)


def test_a_bar_off_the_scale_becomes_an_arrow():
    bars = [
        Bar("adapter", 0.93, 0.92, 0.94, "adapter"),
        Bar("low", 0.01, 0.0, 0.02, "majority"),
        Bar("high", 9.0, 8.0, 10.0, "majority"),
    ]
    drawing = plots.forest(bars, "{:.2f}".format, "{:.2f}".format, title="scores")
    assert drawing.count('class="off majority"') == 2
    assert drawing.count("<circle") == 1
    assert "0.01" in drawing
    assert "9.00" in drawing


def test_zero_is_in_sight_of_a_difference():
    bar = Bar("difference", 5.0, 4.0, 6.0, "adapter")
    drawing = plots.forest([bar], str, str, title="difference", zero=True)
    x = float(re.search(r'class="zero" x1="([\d.]+)"', drawing)[1])
    assert 100 <= x <= 258
    assert x < float(re.search(r'<circle[^>]*cx="([\d.]+)"', drawing)[1])


@pytest.mark.parametrize(("best", "value"), [("highest", "3"), ("lowest", "1")])
def test_the_best_step_of_a_curve_is_marked(best, value):
    drawing = plots.curve([(1, 2), (2, 3), (3, 1)], str, str, title="curve", best=best)
    assert drawing.count('class="ring"') == 1
    assert re.search(r'class="value adapter"[^>]*>([^<]*)<', drawing)[1] == value


def test_few_classes_are_named_and_counted_many_are_numbered():
    few = {"labels": ["cat", "dog"], "cells": [[0, 0, 3], [0, 1, 2]], "pairs": []}
    drawing = plots.heat(few, title="matrix")
    assert drawing.count(">cat<") == 2
    assert drawing.count('class="hit"') == drawing.count('class="miss"') == 1
    many = {"labels": [f"l{n}" for n in range(77)], "cells": [[5, 5, 3]], "pairs": []}
    numbered = plots.heat(many, title="matrix")
    assert re.findall(r"<text[^>]*>(\d+)</text>", numbered) == [
        str(number) for ten in range(10, 77, 10) for number in (ten, ten)
    ]


def test_of_very_many_cells_the_largest_are_drawn():
    cells = [[gold, answer, 1 + gold] for gold in range(80) for answer in range(80)]
    labels = [f"l{n}" for n in range(80)]
    drawing = plots.heat({"labels": labels, "cells": cells, "pairs": []}, title="matrix")
    assert drawing.count("<title>") == plots.MOST_CELLS
    assert "l79 →" in drawing
    assert "l0 →" not in drawing


@pytest.mark.parametrize("label", ["a_b/c.d", "<i>_x</i>", "plain"])
def test_long_labels_may_break_but_say_the_same(label):
    soft = str(page.soft(label))
    reader = read(soft)
    assert reader.text == label
    assert reader.tags <= {"wbr"}


@pytest.mark.parametrize("name", sorted({n for own in BY_TASK.values() for n in own.baselines}))
def test_every_baseline_is_drawn_in_a_colour(name):
    """An error bar of a class that the style sheet does not know is not seen."""
    mine = made(drawn(90, 3, 0.9, seed=1), rival=drawn(90, 3, 0.6, seed=3), rival_name=name)
    reader = read(page.html(mine))
    drawn_as = {
        tuple(entry["class"].split())
        for tag, entry in reader.elements
        if tag in ("path", "circle")
        and (entry.get("class") or "").startswith(("whisker", "dot", "off"))
    }
    sheet = (Path(page.__file__).parent / "templates" / "parts.css").read_text()
    assert len({style for _, style in drawn_as}) == 2
    for shape, style in drawn_as:
        assert f".{shape}.{style}" in sheet


def test_each_score_is_compared_with_the_strongest_baseline():
    strong, weak = drawn(90, 3, 0.8, seed=3), drawn(90, 3, 0.5, seed=4)
    both = {"few_shot": {"test": weak}, "zero_shot": {"test": strong}}
    how = EvaluateSettings(scorers=("accuracy",), resamples=200)
    mine = {"test": drawn(90, 3, 0.9, seed=1)}
    told = {"cost": {}, "data": {}, "curve": {}, "notes": ()}
    found = assess(mine, both, how, task="text-classification", **told)
    text = read(page.html(found)).text
    assert "Against the base without the adapter:" in text
    assert "Against the base with three examples" not in text
    assert found.won["against"] == found.lost["against"] == "zero_shot"
