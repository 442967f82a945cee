"""Eval: how good an adapter is, on its own test part or on other rows."""

from __future__ import annotations

from pathlib import Path

from tenon.core.errors import DataError
from tenon.core.progress import Progress
from tenon.data.load import load as load_data
from tenon.data.settings import Columns, DataSettings
from tenon.evaluate import baselines as baseline
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.baselines import Baselines
from tenon.evaluate.predict import features
from tenon.evaluate.prediction import Predictions
from tenon.evaluate.report import Report
from tenon.evaluate.report import report as make_report
from tenon.evaluate.settings import EvaluateSettings
from tenon.plan.plan import Plan
from tenon.text.tokens import Tokens, collect
from tenon.verbs.outcome import write_report
from tenon.verbs.predict import adapter_folder, load_adapter

PART = "test"


def evaluate(
    target: Path | str,
    data: str | None = None,
    out: Path | str | None = None,
    *,
    base: str = "",
    progress: Progress | None = None,
) -> Report:
    """Report how good an adapter is, against the baselines of its run where they are at hand.

    Args:
        target: a run or an adapter directory.
        data: `path[#member]` of labelled rows; by default the test part of the run.
        out: folder for the report's files; nothing is written without it.
        base: where the base is now, if not under the name it was trained on.

    Raises:
        AdapterError: the adapter cannot be trusted.
        DataError: the rows cannot be used, or there are none to evaluate on.
    """
    folder = adapter_folder(Path(target))
    run = folder.parent
    plan = Plan.read(run / "plan.json") if (run / "plan.json").is_file() else None
    answerer = load_adapter(folder, base)
    if progress:
        progress.start("reading and answering", None)
    tokens, notes = _rows(answerer, plan, data, folder)
    answers = answerer.answer(tokens)
    known = baseline.load(run) if plan else None
    rivals = _rivals(answerer, known, tokens, answers) if known else {}
    if not known:
        notes.append("no baselines: they lie in the run, which is not beside the adapter")
    report = make_report(
        {PART: answers},
        {name: {PART: rival} for name, rival in rivals.items()},
        plan.evaluate if plan else EvaluateSettings(),
        task=answerer.manifest.task,
        cost={},
        data={"rows": len(tokens), "rows_cut": tokens.rows_cut, "source": data or "the run's test"},
        curve={},
        notes=notes,
        title=f"{answerer.manifest.name} ({answerer.manifest.kind}) on {data or 'its test part'}",
        command=f"tenon eval {target}" + (f" {data}" if data else ""),
    )
    if out is not None:
        write_report(report, answers, Path(out))
    return report


def _rows(
    answerer: Answerer, plan: Plan | None, data: str | None, folder: Path
) -> tuple[Tokens, list[str]]:
    """Give the rows to evaluate on, every label known to the adapter."""
    labels = answerer.manifest.labels
    if data is None:
        if plan is None:
            raise DataError(f"{folder}: lies in no run; name the rows: tenon eval {folder} DATA")
        parts = load_data(plan.data, plan.seed)
        part = next((name for name in (PART, "dev") if name in parts.counts), "")
        if not part:
            raise DataError(f"{folder}: its run has no test or dev part; name the rows to use")
    else:
        named = answerer.manifest.columns
        columns = Columns(**named) if named.get("label") else None
        settings = DataSettings(train=data, dev="", columns=columns, labels=labels)
        parts, part = load_data(settings, 0), "train"
    notes = [note for note in parts.notes if part != "train" or "dev" not in note]
    return collect(parts.examples(part), answerer.renderer), notes


def _rivals(
    answerer: Answerer, known: Baselines, tokens: Tokens, answers: Predictions
) -> dict[str, Predictions]:
    """Let the run's baselines answer the same rows, on the base without the adapter."""
    peft = answerer.model.peft
    assert peft is not None  # noqa: S101 - an answerer always carries an adapter
    with peft.disable_adapter():
        features_RD = features(answerer.model, tokens, batch_tokens=16_384)
    log_probs_RL = known.probe().log_probs(features_RD)
    return known.answering({PART: log_probs_RL}).predictions(PART, answers, tokens)
