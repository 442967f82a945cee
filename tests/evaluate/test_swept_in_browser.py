"""A sweep's page in a browser: silent on its console, no wider than the window, in both lights."""

from __future__ import annotations

import shutil

import pytest

from evaluate.test_swept import REPORT, swept
from tenon.evaluate.sweep_page import html

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("light", ["light", "dark"])
def test_it_is_quiet_and_fits(width, light, browser, tmp_path):
    path = tmp_path / "sweep.html"
    path.write_text(html(swept(), REPORT), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=light)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    assert said == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    drawn = page.evaluate("[...document.querySelectorAll('svg')].map(s => s.clientHeight)")
    assert len(drawn) == 4
    assert min(drawn) > 40
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(21, 23, 26)") == (light == "dark")
    page.close()
