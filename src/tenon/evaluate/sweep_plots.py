"""Sweep plots: small SVG drawings of what a sweep has tried, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from tenon.evaluate.language import Language
from tenon.evaluate.plots import round_values
from tenon.evaluate.quantity import amount, title
from tenon.evaluate.scorers import Scorer
from tenon.evaluate.swept import Open, Tried, best_first, shown
from tenon.evaluate.verdict import mark

MARGIN = 0.06
MOST_TICKS = 5
FAINTEST = 0.18
EDGE = 0.015
CHARACTERS = 16


@dataclass(frozen=True)
class Scale:
    """From the values of a setting, or of the goal, to places in [0, 1].

    Args:
        name: what stands beside it.
        place: of a value.
        ticks: places, and what stands there.
    """

    name: str
    place: Callable[[Any], float]
    ticks: list[tuple[float, str]]


def scale_of(setting: Open) -> Scale:
    """Give the scale of a swept setting; a list has its values evenly apart."""
    name = setting.short
    if setting.choices:
        count = len(setting.choices)
        places = [(place + 0.5) / count for place in range(count)]
        ticks = [(p, shown(v)) for p, v in zip(places, setting.choices, strict=True)]
        return Scale(name, lambda value: places[setting.choices.index(value)], ticks)
    if setting.log:
        low, high = math.log10(setting.low), math.log10(setting.high)
        values = _powers(setting.low, setting.high)
        return _even(name, low, high, [(math.log10(v), shown(v)) for v in values], math.log10)
    values = round_values(setting.low, setting.high, MOST_TICKS)
    return _even(name, setting.low, setting.high, [(v, shown(v)) for v in values], float)


def _powers(low: float, high: float) -> list[float]:
    """Give the powers of ten in a range; where there are not two, its ends."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = [10.0**power for power in range(first, last + 1)]
    return powers if len(powers) > 1 else [low, high]


def _even(
    name: str,
    low: float,
    high: float,
    ticks: Sequence[tuple[float, str]],
    read: Callable[[float], float],
) -> Scale:
    margin = MARGIN * (high - low) or MARGIN * abs(high) or 1.0
    low, high = low - margin, high + margin

    def share(value: float) -> float:
        return (value - low) / (high - low)

    told = [(share(value), text) for value, text in ticks]
    return Scale(name, lambda value: share(read(value)), told)


def goal(trials: Sequence[Tried], scorer: Scorer, words: Language) -> Scale:
    """Give the scale of the values on dev, on which the better is the higher place.

    It follows the trials that came to their ends; others that lie far off are put at its edge.
    """
    known = [trial for trial in trials if trial.value is not None]
    ended = [trial for trial in known if trial.state == "complete"] or known
    values = [trial.value for trial in ended if trial.value is not None]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    ticks = [(value, mark(scorer, value)) for value in round_values(low, high, MOST_TICKS)]
    even = _even(words("on_dev", scorer=title(scorer, words)), low, high, ticks, float)
    if scorer.better == "higher":
        return Scale(even.name, lambda value: _held(even.place(value)), even.ticks)
    turned = [(1 - place, text) for place, text in even.ticks]
    return Scale(even.name, lambda value: _held(1 - even.place(value)), turned)


def _held(place: float) -> float:
    return min(1 - EDGE, max(EDGE, place))


def history(trials: Sequence[Tried], scorer: Scorer, words: Language) -> Markup:
    """Draw the value of each trial in its turn, and the best until then as a line."""
    up = goal(trials, scorer, words)
    known = [trial for trial in trials if trial.value is not None]
    last = max(1, trials[-1].number)
    parts = list(_frame(up))
    x = [52 + 298 * trial.number / last for trial in known]
    ticks = sorted({round(value) for value in round_values(0, last, MOST_TICKS)})
    parts += [_tick_below(52 + 298 * tick / last, f"{tick}") for tick in ticks]
    path, best = "", None
    for at, trial in zip(x, known, strict=True):
        y = _up(up.place(trial.value))
        if trial.state == "complete" and (best is None or y < best):
            path += f"M{at:.1f} {y:.1f}" if best is None else f"H{at:.1f}V{y:.1f}"
            best = y
        parts.append(_dot(at, y, trial, _said(trial, scorer, words), 1.0))
    parts.append(f'<path class="line adapter" d="{path}H350"/>' if path else "")
    name = escape(words("sweep.axis"))
    parts.append(f'<text class="tick" x="201" y="250" text-anchor="middle">{name}</text>')
    return _svg(360, 256, words("sweep.drawn_history"), parts)


def pair(
    trials: Sequence[Tried], across: Open, up: Open | None, scorer: Scorer, words: Language
) -> Markup:
    """Draw the trials by two settings, the stronger the better; by one, against their values.

    Args:
        trials: of the sweep.
        across: the setting that matters most.
        up: the next one; None where there is no other.
        scorer: of the metric.
        words: of the language.
    """
    known = [trial for trial in trials if trial.value is not None]
    wide, high = scale_of(across), scale_of(up) if up else goal(trials, scorer, words)
    parts = list(_frame(high))
    parts += [_tick_below(52 + 298 * place, text) for place, text in wide.ticks]
    strength = strengths(known, scorer)
    for trial in sorted(known, key=lambda trial: strength[trial.number]):
        x = 52 + 298 * wide.place(trial.values[across.key])
        y = _up(high.place(trial.values[up.key] if up else trial.value))
        said = _said(trial, scorer, words)
        parts.append(_dot(x, y, trial, said, strength[trial.number], large=True))
    name = escape(wide.name)
    parts.append(f'<text class="tick" x="201" y="250" text-anchor="middle">{name}</text>')
    return _svg(360, 256, words("sweep.drawn_pair", across=wide.name, up=high.name), parts)


def parallel(
    trials: Sequence[Tried], settings: Sequence[Open], scorer: Scorer, words: Language
) -> Markup:
    """Draw each trial as a line through its values and its score, the stronger the better."""
    known = [trial for trial in trials if trial.value is not None]
    scales = [scale_of(setting) for setting in settings]
    end = goal(trials, scorer, words)
    width = max(720, 150 * (len(scales) + 1))
    places = [90 + (width - 180) * n / len(scales) for n in range(len(scales) + 1)]
    strength = strengths(known, scorer)
    parts: list[str] = []
    for trial in sorted(known, key=lambda trial: strength[trial.number]):
        shares = [s.place(trial.values[o.key]) for s, o in zip(scales, settings, strict=True)]
        shares.append(end.place(trial.value))
        points = " ".join(
            f"{x:.1f},{_up(share):.1f}" for x, share in zip(places, shares, strict=True)
        )
        style = "adapter" if trial.state == "complete" else "majority"
        parts.append(
            f'<polyline class="line {style}" stroke-opacity="{strength[trial.number]:.2f}" '
            f'points="{points}"><title>{_said(trial, scorer, words)}</title></polyline>'
        )
    for x, scale in zip(places, [*scales, end], strict=True):
        parts.append(f'<path class="axis" d="M{x:.1f} 24V224"/>')
        parts.append(
            f'<text class="name" x="{x:.1f}" y="14" text-anchor="middle">{_cut(scale.name)}</text>'
        )
        parts += [
            f'<text class="tick halo" x="{x - 5:.1f}" y="{_up(place) + 4:.1f}" text-anchor="end">'
            f"{_cut(text)}</text>"
            for place, text in scale.ticks
        ]
    return _svg(width, 236, words("sweep.drawn_parallel"), parts)


def bars(shares: Sequence[tuple[str, float]], words: Language) -> Markup:
    """Draw shares in [0, 1] as bars, one a line."""
    parts: list[str] = []
    for place, (name, share) in enumerate(shares):
        y = 6 + 24 * place
        parts.append(
            f'<text class="name" x="132" y="{y + 12}" text-anchor="end">{_cut(name)}</text>'
            f'<rect class="field" x="140" y="{y}" width="160" height="16"/>'
            f'<rect class="hit" x="140" y="{y}" width="{max(1.0, 160 * share):.1f}" height="16"/>'
            f'<text class="value" x="308" y="{y + 12}">{100 * share:.0f} %</text>'
        )
    return _svg(360, 10 + 24 * len(shares), words("sweep.drawn_bars"), parts)


def strengths(trials: Sequence[Tried], scorer: Scorer) -> dict[int, float]:
    """Give how strongly each trial is drawn: by its place among all, the best in full."""
    order = best_first(trials, scorer)
    last = max(1, len(order) - 1)
    return {trial.number: 1 - (1 - FAINTEST) * place / last for place, trial in enumerate(order)}


def _frame(up: Scale) -> Iterable[str]:
    yield '<path class="frame" d="M52 24V224H350"/>'
    yield f'<text class="tick" x="52" y="14">{escape(up.name)}</text>'
    for place, text in up.ticks:
        y = _up(place)
        yield (
            f'<line class="grid" x1="52" x2="350" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="46" y="{y + 4:.1f}" text-anchor="end">{_cut(text, 8)}</text>'
        )


def _up(place: float) -> float:
    return 224 - 200 * place


def _tick_below(x: float, text: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="238" text-anchor="middle">{_cut(text, 10)}</text>'


def _dot(
    x: float, y: float, trial: Tried, said: Markup, strength: float, *, large: bool = False
) -> str:
    style = "adapter" if trial.state == "complete" else "majority"
    return (
        f'<circle class="dot {style}" fill-opacity="{strength:.2f}" cx="{x:.1f}" cy="{y:.1f}" '
        f'r="{6 if large else 3}"><title>{said}</title></circle>'
    )


def _said(trial: Tried, scorer: Scorer, words: Language) -> Markup:
    values = ", ".join(
        f"{key.rpartition('.')[2]} = {shown(value)}" for key, value in trial.values.items()
    )
    score = "" if trial.value is None else f"{amount(scorer, trial.value, words)}; "
    told = {"who": words("sweep.trial", n=trial.number), "score": score, "values": values}
    given_up = trial.state == "pruned"
    return escape(words("sweep.dot_given_up", **told) if given_up else words("sweep.dot", **told))


def _cut(text: str, most: int = CHARACTERS) -> Markup:
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> Markup:
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
    return Markup(f"{head}{''.join(parts)}</svg>")
