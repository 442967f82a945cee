"""The page at / in a real browser: in two languages, at two widths, light and dark, by keyboard."""

from __future__ import annotations

import hashlib

import pytest

import loopback
from pages import CHROMIUM, CONTRAST, browser
from tenon.serve.http.keys import Key, Keys
from tenon.serve.http.page import page

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
DONE = "#stop"


@pytest.fixture(scope="module")
def opened():
    with browser() as one:
        yield one


def sheet_of(opened, url, told, width=1_400, scheme="light", locale="en-US"):
    """Open the page; what its console says, and whom it asks, goes to `told`."""
    sheet = opened.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, locale=locale
    )
    sheet.on("console", lambda each: told.append(each.text))
    sheet.on("pageerror", lambda each: told.append(str(each)))
    sheet.on(
        "request",
        lambda each: None if each.url.startswith((url, "data:")) else told.append(each.url),
    )
    sheet.goto(f"{url}/")
    return sheet


def answered(sheet):
    sheet.wait_for_selector(".reply")
    sheet.wait_for_selector(DONE, state="hidden")


@pytest.mark.parametrize(
    ("width", "scheme", "locale"),
    [(400, "light", "zh-CN"), (400, "dark", "en-US"), (1_400, "light", "en-US"),
     (1_400, "dark", "zh-CN")],
)  # fmt: skip
def test_answers_side_by_side(opened, reader, width, scheme, locale):
    told = []
    sheet = sheet_of(opened, reader.url, told, width, scheme, locale)
    sheet.wait_for_selector("#adapters .chips input")
    sheet.fill("#first", f"{loopback.TEXT} 😀")
    sheet.press("#first", "Control+Enter")
    answered(sheet)
    names = sheet.eval_on_selector_all(".reply h2 span", "all => all.map(e => e.textContent)")
    assert names == ["mood", "names", "tone"]
    assert sheet.locator(".reply .bars").count() >= 2
    seen, low = sheet.evaluate(CONTRAST)
    assert seen > 25 and not low
    assert sheet.evaluate("document.documentElement.scrollWidth") <= width
    assert sheet.evaluate("document.documentElement.lang") == locale.replace("en-US", "en")
    assert told == []
    sheet.close()


def test_the_numbers_are_those_of_the_route(opened, reader):
    sheet = sheet_of(opened, reader.url, [])
    sheet.fill("#first", loopback.TEXT)
    sheet.click("#go")
    answered(sheet)
    with reader.client() as client:
        asked = {"model": "mood", "input": loopback.TEXT}
        answer = client.post("/v1/classify", json=asked).json()["results"][0]["answers"][0]
    shown = sheet.locator(".reply").first.inner_text()
    assert answer["label"] in shown
    assert f"{100 * answer['probability']:.1f} %" in shown
    sheet.close()


def test_by_the_keyboard_alone(opened, reader):
    sheet = sheet_of(opened, reader.url, [])
    sheet.wait_for_selector("#adapters .chips input")
    sheet.focus("#sorts input:checked")
    sheet.keyboard.press("ArrowRight")
    sheet.keyboard.press("ArrowRight")
    assert sheet.evaluate("document.activeElement.value") == "question"
    sheet.keyboard.press("Tab")
    sheet.keyboard.press("Tab")
    sheet.keyboard.type("was it sad?")
    sheet.keyboard.press("Tab")
    sheet.keyboard.type("the old dog was sad")
    sheet.keyboard.press("Tab")
    sheet.keyboard.press("Enter")
    answered(sheet)
    assert sheet.locator(".reply mark").count() == 1
    sheet.focus(".reply .foot button")
    sheet.keyboard.press("Enter")
    sheet.wait_for_selector("dialog pre")
    assert "# finder" in sheet.locator("dialog pre").inner_text()
    sheet.keyboard.press("Escape")
    assert not sheet.evaluate("document.querySelector('dialog').open")
    sheet.close()


def test_a_report_runs_nothing(opened, reader):
    told = []
    sheet = sheet_of(opened, reader.url, told)
    sheet.fill("#first", "sad")
    sheet.click("#go")
    answered(sheet)
    sheet.locator(".reply", has_text="mood").locator(".foot button").nth(1).click()
    frame = sheet.wait_for_selector("dialog iframe").content_frame()
    assert "92 %" in frame.locator("p").inner_text()
    assert frame.title() == "mood"
    assert any("Blocked script" in each for each in told)
    sheet.close()


def test_a_language_is_kept(opened, reader):
    sheet = sheet_of(opened, reader.url, [])
    sheet.wait_for_selector("#adapters .chips input")
    sheet.check("input[value=zh]", force=True)
    assert sheet.locator("#go").inner_text() == "提问"
    sheet.reload()
    sheet.wait_for_selector("#adapters .chips input")
    assert sheet.locator("#go").inner_text() == "提问"
    sheet.close()


def test_both_languages_have_every_word(opened, reader):
    sheet = sheet_of(opened, reader.url, [])
    words = sheet.evaluate("Object.values(WORDS).map(w => Object.keys(w).sort())")
    used = sheet.evaluate("[...document.querySelectorAll('[data-say]')].map(e => e.dataset.say)")
    assert words[0] == words[1]
    assert {*used} <= {*words[0]}
    sheet.close()


def test_a_key_opens_the_page(opened, reading):
    key = Key("web", hashlib.sha256(b"secret").hexdigest(), frozenset({"mood"}))
    with loopback.serving(reading, keys=Keys((key,))) as answering:
        sheet = sheet_of(opened, answering.url, [])
        sheet.fill("#key", "wrong")
        sheet.keyboard.press("Enter")
        sheet.wait_for_selector("#keyfault:not(:empty)")
        sheet.fill("#key", "secret")
        sheet.keyboard.press("Enter")
        sheet.fill("#first", loopback.TEXT)
        sheet.click("#go")
        answered(sheet)
        assert sheet.locator(".reply h2 span").all_inner_texts() == ["mood"]
        sheet.close()


def test_texts_are_written_while_one_watches(opened, writer):
    told = []
    sheet = sheet_of(opened, writer.url, told)
    sheet.wait_for_selector("#adapters .chips input")
    sheet.fill("#first", "the old dog")
    sheet.click("#go")
    answered(sheet)
    texts = sheet.locator(".reply .text").all_inner_texts()
    assert len(texts) == 3 and all(texts)
    assert told == []
    sheet.close()


def test_nothing_is_asked_of_others():
    text = page().body.decode()
    assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text
    assert "unsafe-eval" not in page().headers["content-security-policy"]
    assert "script-src 'sha256-" in page().headers["content-security-policy"]
