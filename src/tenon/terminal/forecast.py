"""Forecast page: memory by component and time by stage of a run that has not begun."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.plan.fits import Fit
from tenon.plan.memory import Memory
from tenon.plan.pace import Span
from tenon.plan.seconds import Seconds
from tenon.terminal.number import count, duration, size
from tenon.terminal.sheet import heading, notes, sheet
from tenon.verbs.forecast import Forecast

WIDTH = 24
SAID = {
    "process": "the program, its libraries and the rows",
    "libraries": "workspace of matrix products",
    "base": "frozen",
    "adapter and head": "trained, float32",
    "gradients": "of adapter and head",
    "optimizer": "two moments of AdamW",
    "activations": "kept for gradients, of a micro-batch of {tokens} tokens",
    "scores": "kept by the loss",
    "passing": "gradients of activations, copies",
    "answering": "while rows are answered, in place of the four above",
}
STAGES = {
    "starting": "the program and its libraries",
    "opening": "reading data and base",
    "baselines": "features of the bare base, linear probe",
    "states": "of layers below all adapters, once",
    "compiling": "the base's blocks, by torch, once",
    "training": "{pace} tokens a second",
    "dev": "evaluations while training",
    "answers": "of dev and test, baselines with them",
    "report": "check of the data, intervals, files",
    "preflight": "the proof that it will train",
}
METER = "█"


def forecast_page(forecast: Forecast) -> RenderableType:
    """Lay out memory, time, and what fits where the run does not."""
    memory, found = forecast.memory, forecast.footprint
    if memory is None or found is None:
        told: RenderableType = Group(heading("Memory"), notes([forecast.why]))
    else:
        told = _memory(memory, found.tokens, forecast.device)
    decided = [notes([str(note) for note in forecast.decided])] if forecast.decided else []
    parts = [told, *decided, Text(""), _time(forecast.seconds)]
    if memory is not None and not memory.fits:
        parts += [Text(""), _fits(forecast)]
    return Group(*parts)


def _memory(memory: Memory, largest: int, device: str) -> RenderableType:
    most, tokens = max(memory.parts.values()), count(largest)
    rows = [
        (
            name,
            size(value),
            Text(METER * round(WIDTH * value / most), style="cyan"),
            SAID[name].format(tokens=tokens),
        )
        for name, value in memory.parts.items()
        if value
    ]
    title = heading("Memory", f"on {device}, found on shapes")
    table = sheet("part", "bytes", "", "what", rows=rows, numbers=("bytes",), clip="what")
    return Group(title, table, Text(""), _verdict(memory))


def _verdict(memory: Memory) -> Text:
    peak = f"{size(memory.peak)} at most ({size(memory.low)} to {size(memory.high)})"
    text = Text.assemble("  ", (peak, "bold"), (f", decided by {memory.decided_by}", "dim"))
    if not memory.available:
        return text
    there = f"; {size(memory.available)} {memory.where}: "
    text.append(there)
    text.append("it fits" if memory.fits else "it does not fit", "green" if memory.fits else "red")
    return text


def _time(seconds: Seconds) -> RenderableType:
    pace = count(seconds.tokens_per_second)
    rows = [
        (name, duration(span.seconds), _between(span), STAGES[name].format(pace=pace))
        for name, span in seconds.stages.items()
        if span.seconds
    ]
    total = seconds.total
    rows.append(("total", duration(total.seconds), _between(total), ""))
    how = "some passes were timed here" if seconds.timed else "an estimate: not timed"
    head = ("stage", "time", "between", "what")
    return Group(heading("Time", how), sheet(*head, rows=rows, numbers=head[1:3], clip=head[3]))


def _between(span: Span) -> str:
    return f"{duration(span.low)} – {duration(span.high)}"


def _fits(forecast: Forecast) -> RenderableType:
    title = heading("What fits", "settings to add, those first that change least")
    if not forecast.fits:
        why = "no smaller batch, number format or few bits would: take a smaller base"
        return Group(title, sheet("", rows=[(Text(why),)]))
    return Group(title, sheet(*HEAD, rows=[_offer(fit) for fit in forecast.fits], numbers=HEAD[1:]))


HEAD = ("settings", "memory", "training takes")


def _offer(fit: Fit) -> tuple[RenderableType, ...]:
    return fit.arguments, size(fit.memory.peak), f"{fit.time:.2g} ×"
