"""Outcome: what a run leaves behind, its report and its adapter."""

from __future__ import annotations

import platform
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import tenon
from tenon.adapters import pack
from tenon.adapters.fusion_kind import apart
from tenon.adapters.manifest import Lengths, Manifest, Pooling, layout_for
from tenon.adapters.pack import Adapter
from tenon.adapters.weights import PEFT_NAME, take
from tenon.core import memory
from tenon.core.progress import Progress
from tenon.data.check import check
from tenon.data.findings import counted, said
from tenon.evaluate.assessment import assess
from tenon.evaluate.baselines import Baselines
from tenon.evaluate.card import card
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.probes import probe
from tenon.evaluate.report import Report
from tenon.model.attach import Attached
from tenon.model.head import Head
from tenon.model.model import Model
from tenon.plan.plan import Plan
from tenon.text.renderers import ANSWERS
from tenon.text.tally import told
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokens import Tokens
from tenon.train import steplog
from tenon.verbs.cells import Cells
from tenon.verbs.names import Names, bare
from tenon.verbs.sitting import Sitting, calibration
from tenon.verbs.workspace import Workspace

PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "scikit-learn")


def judge(
    space: Workspace,
    known: Baselines | None,
    attached: Attached,
    sat: Sitting,
    out: Path,
    progress: Progress | None,
    *,
    cells: Cells,
    cost: Mapping[str, Any],
    notes: Sequence[str],
) -> Report:
    """Report on the answers to dev and test against the baselines.

    Args:
        known: the baselines that were fitted.
        sat: the answers, under the names of the report.
        cells: what the rows of the part that leads hold.
        cost: of the training.
        notes: what happened in training and answering.
    """
    plan, exam, names = space.plan, space.exam, Names.of(space.plan)
    if progress:
        progress.start("intervals and report", None)
    report = assess(
        sat.answers,
        sat.rivals,
        plan.evaluate,
        task=plan.data.task,
        cost=cost,
        data=_data(space),
        curve=_curve(out),
        notes=[
            *(names.told(note) for note in space.parts.notes),
            *_notes(space, known, attached),
            *notes,
            *(f"{part}: {note}" for part, held in sat.answers.items() for note in exam.notes(held)),
        ],
        seed=plan.seed,
        seen_in_train=space.parts.shared_ids if plan.data.overlap == "keep" else (),
        findings=_findings(plan, names, progress),
        environment=environment(space),
        title=f"{plan.adapter.name} ({plan.adapter.kind}) on {bare(plan.base, plan.folder)}",
        command=command_of(out),
        grouping=cells.grouping,
        cells=cells.slices,
    )
    return replace(report, temperature=calibration(space.plan, sat))


def write_adapter(space: Workspace, model: Model, report: Report, folder: Path) -> None:
    """Write the adapter directory."""
    plan = space.plan
    head = model.head
    normalize = head is not None and head.normalize
    pooling = Pooling(mode=plan.model.pooling, normalize=normalize)  # type: ignore[arg-type]
    base = space.fingerprint
    labels = space.classes
    manifest = Manifest(
        tenon=tenon.__version__,
        name=plan.adapter.name,
        kind=plan.adapter.kind,
        task=plan.data.task,
        labels=labels,
        base=base,
        pooling=pooling,
        text=lengths_of(space),
        columns=space.parts.columns.model_dump(exclude_defaults=True),
        plan_digest=plan.digest,
        data_digest=space.parts.digest,
        probes=probe(plan.data.task, model, space.renderer),
        report=report.summary(),
        constants=head.constants if head is not None else {},
        temperature=head.temperature if head is not None else 1.0,
        **_own_head(space, model, pooling),
    )
    peft = model.peft
    assert peft is not None  # noqa: S101 - a run always trains an adapter
    adapter = Adapter(
        name=plan.adapter.name,
        kind=plan.adapter.kind,
        settings=apart(plan.adapter),
        config=peft.peft_config[PEFT_NAME],
        weights=take(peft),
        head=_head_tensors(head),
        manifest=manifest,
    )
    pack.write(folder, adapter, card=card(manifest, report))


def lengths_of(space: Workspace) -> Lengths:
    """Give what a manifest says of how texts are written and how long they may be."""
    text = space.plan.text
    return Lengths(
        max_tokens=text.max_tokens,
        cut=text.cut,
        units=space.units,
        answer_tokens=text.answer_tokens,
        **_writing(space),
    )


def _writing(space: Workspace) -> dict[str, Any]:
    """Give what a manifest says of prompts and answers, where the base writes answers."""
    renderer, plan = space.renderer, space.plan
    if not isinstance(renderer, WritingRenderer):
        return {}
    return {
        "template": renderer.form,
        "template_digest": renderer.template_digest,
        "instruction": renderer.instruction,
        "source_language": plan.text.source_language,
        "target_language": plan.text.target_language,
        "max_new_tokens": plan.evaluate.max_new_tokens,
    }


def _own_head(space: Workspace, model: Model, pooling: Pooling) -> dict[str, Any]:
    """Give the manifest's fields that say what reads the hidden states."""
    head, whole = model.head, space.trunk.whole
    if head is not None:
        model_type = space.fingerprint.model_type
        return {"layout": layout_for(model_type, pooling, has_bias=head.has_bias)}
    assert whole is not None  # noqa: S101 - a base without a head of ours has its own
    prefix = "" if whole is space.trunk.model else whole.base_model_prefix
    head_sort = "seq2seq" if space.trunk.seq2seq else "language"
    return {"layout": "transformers", "head": head_sort, "prefix": prefix}


def _head_tensors(head: Head | None) -> dict[str, torch.Tensor]:
    if head is None:
        return {}
    weight_LD = head.linear.weight.detach().cpu()
    bias_L = head.linear.bias.detach().cpu() if head.has_bias else torch.zeros(len(weight_LD))
    return {"weight": weight_LD, "bias": bias_L}


def environment(space: Workspace) -> dict[str, Any]:
    """Give versions, device and digests: what one needs to know to get the same numbers."""
    return {
        "tenon": tenon.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "device": str(space.trunk.device),
        "dtype": space.plan.model.dtype,
        "quantize": space.plan.model.quantize,
        "threads": torch.get_num_threads(),
        "plan": space.plan.digest,
        "data": space.parts.digest,
    }


def command_of(out: Path) -> str:
    """Give the command that makes the run of a folder again, or goes on with it."""
    return shlex.join(["tenon", "train", str(out / "plan.json"), "--out", str(out)])


def cost_of(model: Model, out: Path) -> dict[str, Any]:
    """Give what the training of an adapter took; of memory, all that this process held so far."""
    entries = [entry for entry in steplog.read(out) if "loss" in entry]
    trained = model.trainable()
    return {
        "seconds": sum(entry["seconds"] for entry in entries),
        "steps": len(entries),
        "tokens": sum(entry["tokens"] for entry in entries),
        "peak_bytes": _peak_bytes(model),
        "trainable_parameters": sum(parameter.numel() for parameter in trained.values()),
        "base_parameters": model.trunk.parameters,
    }


def _peak_bytes(model: Model) -> int:
    if model.trunk.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(model.trunk.device))
    return memory.peak_bytes()


def _findings(plan: Plan, names: Names, progress: Progress | None) -> list[dict[str, Any]]:
    """Give what a check finds in the plan's data, under the names of its files."""
    if progress:
        progress.start("checking the data", None)
    found = check(plan.data, plan.seed).shown()
    for each in found:
        each["what"] = names.told(each["what"])
        each["examples"] = [names.told(example) for example in each["examples"]]
    return found


def _data(space: Workspace) -> dict[str, Any]:
    parts = space.parts
    return {
        "rows": dict(parts.counts),
        "labels": len(parts.labels),
        "dropped_from_train": parts.dropped,
        "shared": dict(parts.shared),
        **sizes(space.tokens),
    }


def sizes(tokens: Mapping[str, Tokens]) -> dict[str, dict[str, int]]:
    """Give what a report says of the tokens of each part."""
    return {
        "tokens": {part: rows.total for part, rows in tokens.items()},
        "rows_cut": {part: rows.rows_cut for part, rows in tokens.items()},
        "tokens_cut": {part: rows.tokens_cut for part, rows in tokens.items()},
    }


def token_notes(tokens: Mapping[str, Tokens]) -> list[str]:
    """Say of each part what was cut, read in windows, or could not be done with its texts."""
    windows = [_windows(part, rows) for part, rows in tokens.items() if rows.windowed]
    odd = [f"{part}: {line}" for part, rows in tokens.items() for line in told(rows.tally)]
    return [*_cut_notes(tokens), *windows, *odd]


def _windows(part: str, rows: Tokens) -> str:
    longer = said(rows.windowed, "text", f"are longer than {rows.limit} tokens and read in")
    number = len(rows) - rows.texts + rows.windowed
    return f"{part}: {longer} overlapping windows, {number:,} in all"


def _cut_notes(tokens: Mapping[str, Tokens]) -> list[str]:
    return [
        f"{rows.rows_cut:,} of {counted(len(rows), 'row')} of {part} "
        f"{'was' if rows.rows_cut == 1 else 'were'} cut to {rows.limit} tokens; "
        f"{counted(rows.tokens_cut, 'token')} {'was' if rows.tokens_cut == 1 else 'were'} lost"
        for part, rows in tokens.items()
        if rows.rows_cut
    ]


def _curve(out: Path) -> dict[str, list[tuple[float, float]]]:
    curve: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry in steplog.read(out):
        step = entry["step"] + 1
        if "loss" in entry:
            curve["loss"].append((step, entry["loss"]))
        for name, value in entry.get("dev", {}).items():
            curve[name].append((step, value))
    return dict(curve)


def _notes(space: Workspace, known: Baselines | None, attached: Attached) -> list[str]:
    places = ", ".join(f"{site} ({len(names)})" for site, names in attached.places.items())
    notes = [
        f"adapter sites: {places}",
        f"rows are {'packed' if space.trunk.packed else 'padded'}: {space.trunk.why}",
    ]
    if space.writes:
        notes += _asking(space)
    elif space.units == "rows":
        notes.append(f"pooling is {space.plan.model.pooling}: {space.trained.why}")
    else:
        scored = "place" if space.units == ANSWERS else space.units.removesuffix("s")
        notes.append(f"each {scored} is scored by its own hidden state")
    held = [] if (holding := space.trunk.holding) is None else [str(holding)]
    sampled = [] if known is None else _sampled(space, known)
    return [*held, *notes, *sampled, *token_notes(space.tokens)]


def _asking(space: Workspace) -> list[str]:
    """Say how prompts are written, and which baseline cannot be asked."""
    text = space.plan.text
    form = "in the base's chat template" if text.template == "chat" else "as they are"
    notes = [f"prompts are written {form}"]
    if text.instruction:
        notes.append(f"each text is asked as {text.instruction!r}")
    if "few_shot" in (space.plan.evaluate.against or ()) and not space.shots:
        notes.append("few_shot is not compared: no row of train is one question with its answer")
    return notes


def _sampled(space: Workspace, known: Baselines) -> list[str]:
    """Say how much of train the linear probe saw, if not all."""
    exam, train = EXAMS.get(space.plan.data.task), space.tokens["train"]
    whole, units = len(train), "rows"
    if exam.fit is None:
        whole, units = int(exam.form.known(exam.gold(train)).sum()), space.units
    if known.fitted_rows >= whole:
        return []
    seen = f"{known.fitted_rows:,} of {whole:,} {units} of train"
    return [f"the linear probe saw a sample of {seen}"]
