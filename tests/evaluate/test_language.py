"""Every word of a page is there in each language, and no page mixes them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentences import VALUE, listed_in, said_by
from tenon.core.errors import PlanError
from tenon.data.findings import said
from tenon.data.oddities import ODDITIES
from tenon.data.secrets import SECRETS
from tenon.data.settings import Columns
from tenon.data.spans import SPANS
from tenon.data.written_answers import ANSWERS
from tenon.evaluate import language as module
from tenon.evaluate.answer_exam import SCRIPTS
from tenon.evaluate.baselines import PROBE
from tenon.evaluate.language import LANGUAGES, filled, language
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK
from tenon.text.tally import TOLD, told

FOLDER = Path(module.__file__).parent
PLACES = re.compile(r"\{(\w+)\}")
EN, ZH = language("en"), language("zh")
OWN = ("noun.", "scorer.", "field.", "value.", "check.")
"""Names that English takes from what they name."""


def texts():
    """Every template and module that a page is made by."""
    return [
        *(FOLDER / "templates").rglob("*.html"),
        *(FOLDER / f"{name}.py" for name in (
            "page", "board", "evidence", "sentence", "standing", "comparison_page", "plots",
            "scatter", "quantity", "language", "winner", "sweep_page", "sweep_plots",
        )),
    ]  # fmt: skip


def used():
    """The keys that pages ask for by name, and the beginnings of those that they make up."""
    keys, starts = set(), set()
    for path in texts():
        text = path.read_text(encoding="utf-8")
        keys |= set(re.findall(r'\b(?:t|words|self)\(\s*"([\w.]+)"', text))
        starts |= {f"{group}." for group in re.findall(r'(?:t|words)\.name\(\s*"(\w+)"', text)}
        starts |= set(re.findall(r'"([\w]+\.)" ~', text))
        starts |= set(re.findall(r'f"([\w.]+[._])\{', text))
        keys |= {f"head.{key}" for key in re.findall(r'm\.heading\("(\w+)"', text)}
        for one, other in re.findall(r'words\("(\w+)" if \w+ else "(\w+)"\)', text):
            keys |= {one, other}
    return {key for key in keys if not key.endswith(".")}, starts


def test_both_languages_have_the_same_keys():
    shared = [{key for key in words.words if not key.startswith(OWN)} for words in (EN, ZH)]
    assert shared[0] == shared[1]


@pytest.mark.parametrize("key", sorted(EN.words))
def test_both_languages_fill_the_same_places(key):
    if key in ZH.words:
        one, _, several = EN.words[key].partition("|")
        assert set(PLACES.findall(ZH.words[key])) <= set(PLACES.findall(one))
        assert set(PLACES.findall(one)) <= set(PLACES.findall(ZH.words[key]))
        assert not several or set(PLACES.findall(several)) == set(PLACES.findall(one))


def test_every_key_that_a_page_asks_for_is_there():
    keys, _ = used()
    assert len(keys) > 90
    assert keys - set(EN.words) == set()


def test_every_key_is_asked_for():
    keys, starts = used()
    starts |= {"head.", "unit.", "standing_outcome."}
    idle = [
        key for key in EN.words if key not in keys and not key.startswith((*OWN, *sorted(starts)))
    ]
    assert idle == []


def test_what_tasks_have_is_named_in_chinese():
    for task, judging in BY_TASK.items():
        assert f"task.{task}" in ZH.words
        for name in (*judging.baselines, *judging.further, PROBE):
            for group in ("rival", "spoken"):
                assert f"{group}.{name}" in EN.words
    for name, scorer in SCORERS:
        assert f"scorer.{name}" in ZH.words, name
        assert f"method.{scorer.interval}" in ZH.words


def test_a_number_of_one_has_its_own_form():
    assert EN("worth_knowing", n=1) == "1 thing worth knowing"
    assert EN("worth_knowing", n=2_000) == "2,000 things worth knowing"


def test_other_letters_stand_apart_from_chinese_ones():
    assert filled("{a}上的{b}为{c}。", {"a": "test", "b": "准确率", "c": "93 %"}) == (
        "test 上的准确率为 93 %。"
    )
    assert filled("{a} 行", {"a": 1_234}) == "1,234 行"


def test_values_in_markup_are_escaped():
    shown = EN("difference_html", difference="<i>", bounds="a & b", p="p < 0.001")
    assert shown == "<b>&lt;i&gt;</b> (a &amp; b), p &lt; 0.001"


@pytest.mark.parametrize("code", ["fr", "", "ZH", "zh-CN"])
def test_a_language_that_is_none_is_refused(code):
    with pytest.raises(PlanError, match="en and zh"):
        language(code)


def test_there_are_two():
    assert LANGUAGES == ("en", "zh")


NUMBERS = st.integers(0, 10**7).map("{:,}".format)
NAMED = st.text("abcxyz-_./09文件", min_size=1, max_size=20)


def instance(form, values):
    """Make an English sentence of a form."""
    text = re.sub(r"\((s|es)\)", lambda found: found[1] if values["several"] else "", form)
    text = re.sub(r"\[([^\]|]*)\|([^\]]*)\]", lambda f: f[2] if values["several"] else f[1], text)
    places = {"share": "1,234 of 5,678 (21.7 %)", "change": "+1.2 points ± 0.3",
              "points": "53.1 % of 1,234, 80.1 % of 2,468",
              "shares": "Latin script 3 of 1,004 (75.0 %), Japanese 1 of 4 (25.0 %)"}  # fmt: skip

    def put(found):
        name = found[1]
        if re.fullmatch(r"n\d*", name):
            return values["number"]
        return places.get(name, values["name"] if name != "note" else "look at them")

    return PLACES.sub(put, text)


CATALOGUE = (FOLDER / "words" / "zh_sentences.toml").read_text(encoding="utf-8")
FORMS = [tuple(pair) for pair in tomllib.loads(CATALOGUE)["said"]]


@pytest.mark.parametrize(("form", "words"), FORMS)
@settings(max_examples=12, deadline=None)
@given(number=NUMBERS, name=NAMED, several=st.booleans())
def test_a_sentence_of_each_form_is_known_and_keeps_its_numbers(form, words, number, name, several):
    english = instance(form, {"number": number, "name": name, "several": several})
    chinese = ZH.known(english)
    assert chinese
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    if re.search(r"\{n\d*\}", words):
        assert number in chinese


@pytest.mark.parametrize(("form", "words"), FORMS)
def test_a_sentence_has_no_place_that_its_form_lacks(form, words):
    assert set(PLACES.findall(words)) <= set(PLACES.findall(form))


def test_the_general_form_comes_last():
    assert FORMS[-1][0] == "{part}: {note}"


def test_a_sentence_that_nobody_knows_stays():
    assert ZH.said("a plugin says this") == "a plugin says this"
    assert ZH.known("a plugin says this") == ZH.known("test: a plugin says this") == ""
    assert EN.known("a plugin says this") == "a plugin says this"


def test_a_sentence_within_a_sentence_is_known():
    told = ZH.said("test: 3 words have no token, and get no answer")
    assert told == "test：3 个词没有词元，得不到答案"


def test_shares_and_languages_are_known():
    told = ZH.said("2 of 184 (1.1 %) texts are in simplified Chinese")
    assert told == "2/184（1.1 %）条文本为简体中文"


def test_sentences_of_the_code_are_known():
    """The sorts of faults that a check tells, by the registers that hold them."""
    for sorts in (ODDITIES, SECRETS, SPANS, ANSWERS):
        for sort in sorts.values():
            for count in (1, 20):
                assert ZH.known(said(count, sort.noun, sort.does)), sort.does
            assert ZH.known(sort.remedy), sort.remedy
    assert all(ZH.known(f"answers are scored by the rules of {each}") for each in SCRIPTS.values())
    for kind in TOLD:
        for count in (1, 20):
            assert all(ZH.known(line) for line in told({kind: count})), kind


SAID = {"passed": (1,), "failed": (1, 2)}
NOTED = {f"{name}.append": (0,) for name in ("notes", "made.notes", "self.notes", "why")}
NOTING = (
    "notes",
    "_notes",
    "_of_rows",
    "_fewer",
    "_flattered",
    "_unused",
    "told",
    "translation_notes",
)
"""Functions that give notes."""
TELLING = {
    "text": ("row_checks",), "train": ("model_checks", "trial_checks", "loop"),
    "data": ("survey", "columnar", "tagging_columns", "turn_columns"),
    "evaluate": ("assessment", "averaged", "write_exam"),
    "verbs": ("sweeping", "outcome", "full", "sitting", "forgetting"),
}  # fmt: skip
"""Modules whose sentences stand on pages."""
SOURCE = FOLDER.parent


@pytest.mark.parametrize("path", [f"{f}/{name}" for f, names in TELLING.items() for name in names])
def test_sentences_that_the_code_can_make_are_known(path):
    """Read from the source, so that a sentence without Chinese is met before any page has it."""
    module = SOURCE / f"{path}.py"
    found = [*said_by(module, {**SAID, **NOTED}), *listed_in(module, NOTING, ("notes", "why"))]
    told = {text: where for where, text in found if " " in text}
    unknown = {text: where for text, where in told.items() if not ZH.known(text)}
    assert told
    # What ends in another sentence, which is not to be seen here, is known where that one is.
    assert {text for text in unknown if not text.endswith(f": {VALUE}")} == set()
    assert {text: left(text) for text in told if left(text)} == {}


def left(text):
    """Give the English words of ours that are left in the Chinese of a sentence."""
    kept = {word for _, words in FORMS for word in re.findall(r"[A-Za-z]{3,}", words)}
    kept |= set(Columns.fields())
    return set(re.findall(r"[A-Za-z]{3,}", ZH.known(text))) - kept


def test_no_module_of_a_page_writes_english_of_its_own():
    """Words stand in the catalogues: no plain sentence is left in the templates."""
    for path in (FOLDER / "templates").rglob("*.html"):
        text = re.sub(r"\{[%{#].*?[%}#]\}", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        text = re.sub(r"<[^>]*>", " ", text)
        words = set(re.findall(r"[A-Za-z]{2,}", text)) - {"doctype", "html"}
        assert not words, (path.name, words)
