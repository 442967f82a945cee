"""Planted faults: rows with one known fault each, by class, for clean rows that have none."""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenon.data.check import check
from tenon.data.findings import Findings
from tenon.data.secrets import is_chinese_id, luhn
from tenon.data.settings import DataSettings

Row = dict[str, Any]
Rows = list[Row]
INSTANCES = 20
LONG = 40
"""Characters of a text in which a typo is a small change."""
LABELS = ("refund", "delivery", "warranty", "invoice", "account")
VERBS = ("sent", "paid", "kept", "lost", "found", "broke", "liked", "asked", "wrote", "moved")
NOUNS = (
    "parcel", "letter", "lamp", "chair", "kettle", "carpet", "camera", "pencil", "bottle", "mirror",
    "jacket", "window", "basket", "guitar", "ladder", "pillow", "hammer", "ticket", "wallet",
    "garden", "candle", "engine", "blanket", "bicycle", "umbrella", "notebook", "curtain", "drawer",
)  # fmt: skip
ADJECTIVES = (
    "green", "broken", "heavy", "narrow", "wooden", "yellow", "silent", "modern", "cheap", "round",
    "bright", "dusty", "clean", "frozen", "golden", "hollow", "rusty", "sharp", "smooth", "warm",
)  # fmt: skip
PEOPLE = ("Anna Berg", "Omar Diaz", "Lena Vogt", "Ravi Nair", "Mia Holm", "Jan Novak")
PLACES = ("Oslo", "Lyon", "Porto", "Genoa", "Bergen", "Krakow")
HAN = tuple(
    "山水花鸟春夏秋冬东南西北红绿蓝白大小多少上下左右前后里外早晚来去看听说读写走跑飞吃喝玩笑"
)


def sentence(rng: random.Random) -> str:
    """Give a sentence that no other is near to."""
    parts = [
        f"the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} was {rng.choice(VERBS)} "
        f"with a {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
        for _ in range(2)
    ]
    return f"This is what I know: {parts[0]}, and {parts[1]}."


def chinese(rng: random.Random) -> str:
    return "".join(rng.choices(HAN, k=44)) + "。"


def clean(task: str, rng: random.Random, count: int, *, han: bool = False) -> Rows:
    """Give rows of a task without a fault."""
    said = chinese if han else sentence
    if task == "text-classification":
        return [{"text": said(rng), "label": rng.choice(LABELS)} for _ in range(count)]
    if task == "token-classification":
        return [tagged(rng) for _ in range(count)]
    return [{"messages": talk(said(rng), said(rng))} for _ in range(count)]


def talk(asked: str, answered: str) -> Rows:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def tagged(rng: random.Random) -> Row:
    person, place = rng.choice(PEOPLE), rng.choice(PLACES)
    text = f"{sentence(rng)} {person} said so in {place} yesterday."
    return {"text": text, "spans": [span(text, person, "PER"), span(text, place, "LOC")]}


def span(text: str, part: str, label: str) -> list[Any]:
    start = text.index(part)
    return [start, start + len(part), label]


@dataclass(frozen=True)
class Fault:
    """A class of faults.

    Args:
        codes: findings of which any tells it.
        plant: chance and clean rows to faulty rows, which are mixed among the clean ones.
        task: whose rows it is about.
        aside: chance and clean rows to rows of test; the faulty ones are then those.
        counted: whether it is about labels, so that a finding counts them instead of rows.
    """

    codes: tuple[str, ...]
    plant: Callable[[random.Random, Rows], Rows]
    task: str = "text-classification"
    aside: bool = False
    counted: bool = False


def changed(
    change: Callable[[random.Random, str], str],
) -> Callable[[random.Random, Rows], Rows]:
    """Make a class of which each row is a new one with another text."""

    def plant(rng: random.Random, rows: Rows) -> Rows:
        donors = rng.sample([row for row in rows if len(row["text"]) >= LONG], INSTANCES)
        return [{**row, "text": change(rng, row["text"])} for row in donors]

    return plant


def repeated(change: Callable[[random.Random, str], str]) -> Callable[[random.Random, Rows], Rows]:
    """Make a class of which each row repeats a clean one, with its text changed."""

    def plant(rng: random.Random, rows: Rows) -> Rows:
        donors = rng.sample([row for row in rows if len(row["text"]) >= LONG], INSTANCES)
        return [{**row, "text": change(rng, row["text"])} for row in donors]

    return plant


def answered(change: Callable[[random.Random, str], str]) -> Callable[[random.Random, Rows], Rows]:
    """Make a class of which each row has an answer that is none."""

    def plant(rng: random.Random, rows: Rows) -> Rows:
        del rows
        asked = [sentence(rng) for _ in range(INSTANCES)]
        return [{"messages": talk(text, change(rng, text))} for text in asked]

    return plant


def _same(rng: random.Random, text: str) -> str:
    del rng
    return text


def _written_otherwise(rng: random.Random, text: str) -> str:
    ways = (text.upper(), text.replace(" ", "  "), text.rstrip("。.") + "!", text.replace(",", ""))
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" < c < "~" else c for c in text)
    return rng.choice([way for way in (*ways, wide) if way != text])


def _typo(rng: random.Random, text: str) -> str:
    """Change, leave out or double one letter."""
    at = rng.choice([at for at, sign in enumerate(text) if sign.isalpha()])
    other = rng.choice([c for c in string.ascii_lowercase if c != text[at].lower()])
    return text[:at] + rng.choice(["", other, text[at] * 2]) + text[at + 1 :]


def _inserted(*marks: str) -> Callable[[random.Random, str], str]:
    def change(rng: random.Random, text: str) -> str:
        at = rng.randrange(1, len(text) - 1)
        return f"{text[:at]}{rng.choice(marks)}{text[at:]}"

    return change


def _with_word(make: Callable[[random.Random], str]) -> Callable[[random.Random, str], str]:
    def change(rng: random.Random, text: str) -> str:
        words = text.split(" ")
        if len(words) < 3:  # Chinese, which has no blanks
            places = [
                at for at in range(1, len(text)) if not re.search(r"[!-~]", text[at - 1 : at + 1])
            ]
            at = rng.choice(places)
            return f"{text[:at]}{make(rng)}{text[at:]}"
        words.insert(rng.randrange(1, len(words)), make(rng))
        return " ".join(words)

    return change


def _misread(rng: random.Random, text: str) -> str:
    word = rng.choice(["café", "señor", "Zürich", "“quoted”", "déjà vu", "naïve", "it’s"])
    return text + " " + word.encode().decode("cp1252", "replace").replace("\ufffd", "")


def email(rng: random.Random) -> str:
    name = "".join(rng.choices(string.ascii_lowercase, k=7))
    return f"{name}.{rng.choice(NOUNS)}@{rng.choice(NOUNS)}.example.{rng.choice(['com', 'org'])}"


def phone(rng: random.Random) -> str:
    digits = "".join(rng.sample(string.digits, 8))
    forms = (
        f"+44 20 {digits[:4]} {digits[4:]}",
        f"(415) {digits[:3]}-{digits[3:7]}",
        f"138{digits}",
        f"010-{digits}",
    )
    return rng.choice(forms)


def card(rng: random.Random) -> str:
    body = rng.choice(["4", "51", "62"]) + "".join(rng.choices(string.digits, k=14))
    body = body[:15]
    number = next(body + digit for digit in string.digits if luhn(body + digit))
    return number if rng.random() < 0.5 else " ".join(number[at : at + 4] for at in (0, 4, 8, 12))


def chinese_id(rng: random.Random) -> str:
    body = f"{rng.randrange(110000, 659000)}{rng.randrange(1950, 2010)}"
    body += f"{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}{rng.randrange(1000):03}"
    return next(body + last for last in "0123456789X" if is_chinese_id(body + last))


def key(rng: random.Random) -> str:
    letters = string.ascii_letters + string.digits
    forms = ("AKIA" + "".join(rng.choices(string.ascii_uppercase, k=16)),
             "ghp_" + "".join(rng.choices(letters, k=36)),
             "sk-" + "".join(rng.choices(letters, k=40)))  # fmt: skip
    return rng.choice(forms)


def _conflicting(rng: random.Random, rows: Rows) -> Rows:
    return [
        {**row, "label": rng.choice([label for label in LABELS if label != row["label"]])}
        for row in rng.sample(rows, INSTANCES)
    ]


def _labelled(rng: random.Random, labels: Sequence[str]) -> Rows:
    return [{"text": sentence(rng), "label": label} for label in labels]


def _alike_names(rng: random.Random, rows: Rows) -> Rows:
    del rows
    names = [f"{a} {b}" for a, b in zip(ADJECTIVES, NOUNS, strict=False)][:INSTANCES]
    return _labelled(rng, [*names, *(name.title().replace(" ", "_") for name in names)])


def _own_names(rng: random.Random, rows: Rows) -> Rows:
    del rows
    return _labelled(rng, [f"{a} {b}" for a, b in zip(ADJECTIVES, NOUNS, strict=False)][:INSTANCES])


def _blanks_around_labels(rng: random.Random, rows: Rows) -> Rows:
    return [{**row, "text": sentence(rng), "label": f"{row['label']} "} for row in rows[:INSTANCES]]


def _spans(change: Callable[[random.Random, Row], list[Any]]) -> Callable[..., Rows]:
    def plant(rng: random.Random, rows: Rows) -> Rows:
        del rows
        made = [tagged(rng) for _ in range(INSTANCES)]
        return [{**row, "spans": change(rng, row)} for row in made]

    return plant


def _inside(rng: random.Random, row: Row) -> list[Any]:
    (start, end, label), *others = row["spans"]
    return [rng.choice([[start + 1, end, label], [start, end - 1, label]]), *others]


def _overlapping(rng: random.Random, row: Row) -> list[Any]:
    del rng
    (start, end, _), *others = row["spans"]
    return [row["spans"][0], [start, end + 5, "LOC"], *others]


def _blanks(rng: random.Random, row: Row) -> list[Any]:
    (start, end, label), *others = row["spans"]
    return [rng.choice([[start - 1, end, label], [start, end + 1, label]]), *others]


def _other_label(rng: random.Random, row: Row) -> list[Any]:
    (start, end, _), *others = row["spans"]
    return [[start, end, rng.choice(["LOC", "ORG"])], *others]


def _forgotten(rng: random.Random, row: Row) -> list[Any]:
    del rng
    return row["spans"][:1]


def _turns(change: Callable[[str], Rows]) -> Callable[[random.Random, Rows], Rows]:
    def plant(rng: random.Random, rows: Rows) -> Rows:
        del rows
        return [{"messages": change(sentence(rng))} for _ in range(INSTANCES)]

    return plant


def _asked_twice(text: str) -> Rows:
    return [{"role": "user", "content": text}, *talk(text, "Yes, it was.")]


def _untrained(text: str) -> Rows:
    asked, said = talk(text, "Yes, it was.")
    return [asked, {**said, "weight": 0}]


REFUSED = (
    "As an AI language model, I cannot help with that.",
    "I'm sorry, but I can't assist with that request.",
    "I cannot provide that information.",
    "很抱歉，我无法回答这个问题。",
    "作为一个人工智能，我不能提供这样的建议。",
)
TALK = "text-generation"
TAGS = "token-classification"
FAULTS: Mapping[str, Fault] = {
    "exact repeats": Fault(("duplicates",), repeated(_same)),
    "repeats but for case, width, blanks, punctuation": Fault(
        ("normalised-duplicates",), repeated(_written_otherwise)
    ),
    "repeats with a typo": Fault(("near-duplicates",), repeated(_typo)),
    "test rows in train": Fault(("leak",), repeated(_same), aside=True),
    "test rows in train, written otherwise": Fault(
        ("normalised-leak",), repeated(_written_otherwise), aside=True
    ),
    "test rows in train with a typo": Fault(("near-leak",), repeated(_typo), aside=True),
    "one text, two labels": Fault(("conflicting-labels",), _conflicting),
    "names of one label": Fault(("similar-labels",), _alike_names, counted=True),
    "labels of test alone": Fault(("unseen-labels",), _own_names, aside=True, counted=True),
    "rare labels": Fault(("rare-labels",), _own_names, counted=True),
    "blanks around labels": Fault(("blanks-around-label",), _blanks_around_labels),
    "mojibake": Fault(("mojibake",), changed(_misread)),
    "HTML": Fault(("html",), changed(_inserted("<br>", "&nbsp;", "<b>", "</p>", "&#8217;"))),
    "control tokens": Fault(
        ("control-tokens",), changed(_inserted("<|im_end|>", "[SEP]", "</s>", "<|endoftext|>"))
    ),
    "marks of direction": Fault(("bidi-marks",), changed(_inserted("\u202e", "\u2066"))),
    "characters without width": Fault(
        ("invisible-characters",), changed(_inserted("\u200b", "\u2060", "\ufeff"))
    ),
    "control characters": Fault(("control-characters",), changed(_inserted("\x07", "\x1b"))),
    "lost characters": Fault(("replacement-characters",), changed(_inserted("\ufffd"))),
    "placeholders": Fault(
        ("placeholders",),
        changed(lambda rng, _: rng.choice(["N/A", "null", "[deleted]", "None", "暂无内容"])),
    ),
    "texts in another script": Fault(("foreign-texts",), changed(lambda rng, _: chinese(rng))),
    "email addresses": Fault(("email-addresses",), changed(_with_word(email))),
    "phone numbers": Fault(("phone-numbers",), changed(_with_word(phone))),
    "card numbers": Fault(("card-numbers",), changed(_with_word(card))),
    "Chinese identity numbers": Fault(("chinese-id-numbers",), changed(_with_word(chinese_id))),
    "access keys": Fault(("access-keys",), changed(_with_word(key))),
    "spans within words": Fault(("spans-inside-words",), _spans(_inside), TAGS),
    "overlapping spans": Fault(("overlapping-spans",), _spans(_overlapping), TAGS),
    "blanks around spans": Fault(("blanks-around-spans",), _spans(_blanks), TAGS),
    "one name, another label": Fault(("inconsistent-spans",), _spans(_other_label), TAGS),
    "one name without a label": Fault(("unlabelled-spans",), _spans(_forgotten), TAGS),
    "refusals": Fault(("refused-answers",), answered(lambda rng, _: rng.choice(REFUSED)), TALK),
    "answers cut by a limit": Fault(
        ("cut-answers",),
        answered(lambda rng, _: sentence(rng)[: rng.randrange(70, 90)].rstrip(" ,.:")),
        TALK,
    ),
    "answers in a loop": Fault(
        ("repeating-answers",), answered(lambda rng, _: f"{rng.choice(NOUNS)} is. " * 60), TALK
    ),
    "echoes": Fault(("echoed-answers",), answered(lambda _, text: text), TALK),
    "empty answers": Fault(("empty-assistant-turn",), answered(lambda _, __: " "), TALK),
    "prompts without answers": Fault(
        ("no-assistant-turn", "unanswered"), _turns(lambda text: talk(text, "")[:1]), TALK
    ),
    "roles out of order": Fault(("role-repeated",), _turns(_asked_twice), TALK),
    "nothing to train": Fault(("no-trained-turn",), _turns(_untrained), TALK),
}


def write(path: Path, rows: Rows) -> str:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    return str(path)


@dataclass(frozen=True)
class Judged:
    """What a check told of planted rows.

    Args:
        planted: how many there are.
        told: how many of them it told.
        findings: all that it found.
    """

    planted: int
    told: int
    findings: Findings


def judged(fault: Fault, rows: Rows, folder: Path, rng: random.Random) -> Judged:
    """Mix faulty rows among clean ones, and count those that a check tells."""
    planted = fault.plant(rng, rows)
    train, test = list(rows), list(planted)
    if not fault.aside:
        # Repeats come after what they repeat, all others anywhere.
        train, test = [*rows, *planted], []
    path = write(folder / "train.jsonl", train)
    other = write(folder / "test.jsonl", test) if test else ""
    findings = check(DataSettings(task=fault.task, train=path, test=other), 0)
    found = [each for code in fault.codes for each in findings.of(code)]
    if fault.counted:
        told = min(sum(each.count for each in found), INSTANCES)
        return Judged(INSTANCES, told, findings)
    first = 1 if fault.aside else len(rows) + 1
    origins = {f"{other or path}:{line}" for line in range(first, first + len(planted))}
    told = len(origins & {row for each in found for row in each.rows})
    return Judged(len(planted), told, findings)


def alarms(findings: Findings) -> set[str]:
    """Give the rows of which a check of clean rows says something."""
    return {row for each in findings.findings for row in each.rows}
