"""Export: an adapter as files that other tools read, proved before they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tenon.core.errors import AdapterError, DataError, FileError, PlanError
from tenon.core.files import folder_aside
from tenon.core.progress import Progress
from tenon.evaluate.answerer import Answerer, Dtype, open_answerer
from tenon.evaluate.merged import Proof
from tenon.export.case import case_of
from tenon.export.target import TARGETS, Order, Target, Written
from tenon.model.base import stored_dtype
from tenon.text.tokens import Tokens
from tenon.verbs.asked import other_rows, own_rows
from tenon.verbs.folder import adapter_folder
from tenon.verbs.home import refuse_own, run_of

SHARD_SIZE = "5GB"
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        out: the folder.
        to: the form, as in `--to`.
        files: name to bytes.
        proof: how near the scores stayed to the adapter's on its base.
        error: largest difference of the scores, as the written files give them / largest score.
        how: how other tools read it.
        notes: what else was measured or left out, in sentences.
        commands: that read or serve the files, in their order.
    """

    out: Path
    to: str
    files: dict[str, int]
    proof: Proof
    error: float
    how: str
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def export(
    adapter: Path | str,
    out: Path | str,
    *,
    to: str = "merged",
    base: str = "",
    dtype: Dtype = "auto",
    shard_size: str = SHARD_SIZE,
    rank: int = 0,
    data: str = "",
    device: str = "auto",
    progress: Progress | None = None,
) -> Exported:
    """Write an adapter for other tools; what was written is read again and compared first.

    Args:
        adapter: the adapter directory, or a run.
        out: folder to be written, whole or not at all; it must not exist or be empty.
        to: a target of `tenon.export.target.TARGETS`: "merged", "lora", "vllm", "sglang", "gguf",
            "mlx", "onnx" or "peft".
        base: where the base is now, if not under the name it was trained on.
        dtype: number format of a merged model; "auto" is that of the base's own files.
        shard_size: largest file of a merged model's weights.
        rank: that a LoRA is cut to; 0 for the least that leaves nothing out.
        data: `path[#member]` of labelled rows on which is measured what a graph in int8 loses;
            by default the test rows of the adapter's own run, or those of dev.
        device: where scores are computed.

    Raises:
        PlanError: no such target or number format, or a rank without effect.
        AdapterError: the adapter cannot be trusted, or cannot be written in this form.
        FileError: something is not there, or `out` holds files.
        MissingExtra: a package that writes this form is not installed.
    """
    target, folder, place = TARGETS.get(to), adapter_folder(adapter), Path(out)
    if dtype not in DTYPES:
        raise PlanError(f"--dtype {dtype}: is unknown; there are {', '.join(DTYPES)}")
    _refuse_rank(target, rank)
    _refuse_taken(place)
    if progress:
        progress.start("loading", None)
    case = case_of(folder, base)
    if why := target.refuses(case):
        raise AdapterError(f"adapter {case.adapter.name}: {why}")
    target.refuse_without_packages()
    chosen = stored_dtype(case.base) if dtype == "auto" and target.keeps_format else dtype
    answerer = open_answerer(folder, base, device, dtype=chosen)
    if progress:
        progress.start("writing and reading again", None)
    with folder_aside(place) as beside:
        rows = _rows(target, answerer, folder, data)
        order = Order(folder, case.base, answerer, shard_size, rank, rows, place)
        written = target.write(order, beside)
        files = {file.name: file.stat().st_size for file in sorted(beside.iterdir())}
    return _exported(place, to, files, written)


def _exported(place: Path, to: str, files: dict[str, int], written: Written) -> Exported:
    return Exported(
        place,
        to,
        files,
        written.proof,
        written.error,
        written.how,
        written.notes,
        written.commands,
    )


def _rows(target: Target, answerer: Answerer, folder: Path, data: str) -> Tokens | None:
    """Give the labelled rows that a target measures on, if any are at hand.

    Raises:
        DataError: the rows that are named cannot be used.
        PlanError: rows are named that have no effect.
    """
    if data and not target.measures:
        raise PlanError(f"--data {data}: has no effect with --to {target.name}; leave it out")
    if not target.measures:
        return None
    run = run_of(folder, answerer.manifest.plan_digest)
    plan = run[1] if run else None
    if data:
        return other_rows(answerer, plan, data).tokens
    try:
        return own_rows(answerer, plan, folder).tokens
    except (DataError, FileError):
        return None


def _refuse_rank(target: Target, rank: int) -> None:
    if rank < 0:
        raise PlanError(f"--rank {rank}: expected a number of columns, 1 or more")
    if rank and not target.ranked:
        raise PlanError(f"--rank {rank}: has no effect with --to {target.name}; leave it out")


def _refuse_taken(out: Path) -> None:
    """Refuse a place that holds anything, or lies in a run or an adapter."""
    refuse_own(out)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise FileError(f"{out}: is not a folder; choose another --out")
    if out.is_dir() and any(out.iterdir()):
        raise FileError(f"{out}: holds files; choose another --out, or empty it")
