"""Pages as a browser shows them: nothing asked for, nothing wider than the window, all readable."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from evaluate.test_comparison import compared
from evaluate.test_swept import REPORT, swept
from pages import CHROMIUM, SYSTEMS, browser, faults, of
from tenon.evaluate import sweep_page
from tenon.evaluate.comparison_page import html as comparison
from tenon.evaluate.language import LANGUAGES, language
from tenon.evaluate.page import SECTIONS, html

REPORTS = {task: of(task) for task in ("text-classification",)}
NAMES = {
    "Tenon", "test", "dev", "train", "Wilson", "McNemar", "Bonett", "Price", "BCa", "Holm", "F1",
    "BLEU", "chrF", "ROUGE", "SQuAD", "MCC", "logits", "tenon", "check", "plan", "report", "json",
    "predictions", "jsonl", "KiB", "MiB", "GiB", "attention", "query", "value", "csv", "label",
    "card", "lost",
}  # fmt: skip
"""Words that stand in Latin letters in Chinese as well, those of a label of the page among them."""
SWEPT = {"fANOVA", "learning", "rate", "kind", "warmup", "lora"}
"""Those of a sweep: the names of settings, and values."""
SETTING = re.compile(r"[a-z_]+(?:\.[a-z_]+)+ = \w+")
"""A setting to paste, which reads alike in every language."""


def report(task):
    if task not in REPORTS:
        REPORTS[task] = of(task)
    return REPORTS[task]


class Visible(HTMLParser):
    """Read what a page says itself: not data, code or drawings' titles."""

    VOID = {"meta", "br", "wbr", "hr"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.words = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            held = dict(attrs)
            data = held.get("translate") == "no" or tag in ("style", "code", "bdi", "title")
            self.open.append(data or bool(self.open and self.open[-1]))

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        if not (self.open and self.open[-1]):
            self.words += re.findall(r"[A-Za-z][A-Za-z0-9]{2,}", SETTING.sub("", data))


@pytest.mark.parametrize("task", SYSTEMS)
def test_every_section_is_on_the_page(task):
    page = html(report(task))
    places = [page.find(f' id="{name}"') for name in SECTIONS]
    shown = [place for place in places if place > 0]
    assert shown == sorted(shown)
    assert len(shown) >= 11


@pytest.mark.parametrize("task", SYSTEMS)
def test_a_chinese_page_has_no_english_of_ours(task):
    reader = Visible()
    reader.feed(html(report(task), "zh"))
    assert set(reader.words) - NAMES - {"gradient"} == set()


def test_an_english_page_has_no_chinese(task="text-classification"):
    assert not re.search(
        r"[\u3400-\u9fff]", re.sub(r"<style>.*?</style>", "", html(report(task)), flags=re.S)
    )


@pytest.fixture(scope="module")
def chromium():
    """One browser for all pages of this module."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    with browser() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("task", SYSTEMS)
def test_reports_are_sound_in_a_browser(task, chromium, tmp_path):
    """Without errors, requests, a horizontal bar or faint text, at two widths, light and dark."""
    for code in LANGUAGES:
        assert faults(html(report(task), code), chromium, tmp_path / "page.html") == []


@pytest.mark.slow
@pytest.mark.parametrize("task", SYSTEMS)
def test_comparisons_are_sound_in_a_browser(task, chromium, tmp_path):
    mine, rival, _ = SYSTEMS[task]()
    third = mine.take(np.arange(len(mine)))
    found = compared(tmp_path, task, {"one": mine, "two": rival, "three": third})
    for code in LANGUAGES:
        page = comparison(found, language(code))
        assert faults(page, chromium, tmp_path / "page.html") == []


@pytest.mark.slow
@pytest.mark.parametrize("code", LANGUAGES)
def test_sweeps_are_sound_in_a_browser(code, chromium, tmp_path):
    page = sweep_page.html(swept(), REPORT, code)
    assert page.count("<svg") == 4
    assert faults(page, chromium, tmp_path / "page.html") == []


@pytest.mark.parametrize("task", SYSTEMS)
def test_a_chinese_comparison_has_no_english_of_ours(task, tmp_path):
    mine, rival, _ = SYSTEMS[task]()
    found = compared(tmp_path, task, {"one": mine, "two": rival})
    reader = Visible()
    reader.feed(comparison(found, language("zh")))
    assert set(reader.words) - NAMES - {"one", "two"} == set()


def test_a_chinese_sweep_has_no_english_of_ours():
    reader = Visible()
    reader.feed(sweep_page.html(swept(), REPORT, "zh"))
    assert set(reader.words) - NAMES - SWEPT == set()
