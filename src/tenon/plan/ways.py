"""Ways: how the states of a step find room: fewer tokens at once, or layers computed again.

Each way has an estimated time that does not depend on how much memory there is, and the fastest
that fits is taken. So more memory never leads to a slower way, and the same plan on the same device
to the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tenon.model.recompute import Recompute
from tenon.plan.footprint import Footprint
from tenon.plan.memory import Ground, Memory, memory_of
from tenon.plan.plan import Plan
from tenon.text.order import Order, Rows

GIGA, MEGA = 1e9, 1e6
MICRO, RECOMPUTE, COMPILE = "train.micro_batch_tokens", "train.recompute", "model.compile"
LEAST = 256
"""Tokens that no batch is made smaller than."""
PARTS = 8
"""In so many steps from none to all is it tried how many layers are computed again."""
SURE = 0.7
"""Of the states that a way is expected to keep, what it keeps in any case: where that does not fit,
the way is not looked at."""


@dataclass(frozen=True)
class Way:
    """How a step is computed.

    Args:
        tokens: at once.
        layers: that compute their states again.
        recompute: the same as a setting.
        seconds: of all steps, estimated.
    """

    tokens: int
    layers: int
    recompute: Recompute
    seconds: float


@dataclass(frozen=True)
class Note:
    """What was decided of a setting that was left open.

    Args:
        setting: its dotted name.
        value: what it is.
        why: in a clause.
    """

    setting: str
    value: bool | int
    why: str

    def __str__(self) -> str:
        value = f"{self.value:,}" if type(self.value) is int else str(self.value).lower()
        return f"{self.setting} = {value}: {self.why}"


def is_open(plan: Plan, setting: str) -> bool:
    """Whether memory and time decide a setting of a settled plan, as its user did not."""
    origin = plan.origins.get(setting, "default")
    return origin == "measured" or (setting == MICRO and origin == "default")


def at_once(plan: Plan, lengths_R: Rows, device: str) -> int:
    """Give how many tokens are computed at once where there is room: on a GPU a whole step.

    Args:
        plan: settled.
        lengths_R: tokens of each row of train.
        device: "cpu" or "cuda".
    """
    size = plan.train.micro_batch_tokens
    if device != "cuda" or not is_open(plan, MICRO):
        return size
    return max(size, _most(plan, lengths_R))


def _most(plan: Plan, lengths_R: Rows) -> int:
    """Give how many tokens no step has more of: its share, and less than a row besides."""
    budget = Order(lengths_R, plan.seed, plan.train.tokens_per_step).budget
    return budget + int(lengths_R.max())


def ways(
    plan: Plan, lengths_R: Rows, learning: int, seconds: Callable[[Plan], float]
) -> Iterator[Way]:
    """Give the ways that a plan leaves open, the fastest first; the first is the plan as it is.

    Fewer tokens at once are never counted as faster, though they may have less padding: what is
    decided here is what to do where memory is short.

    Args:
        plan: settled, with as many tokens at once as there may be.
        lengths_R: tokens of each row of train.
        learning: layers that compute gradients; 0 where layers cannot compute their states again.
        seconds: estimates what all steps of a plan take.
    """
    found: list[Way] = []
    for layers, recompute in _layers(plan, learning):
        slowest = 0.0
        for tokens in _sizes(plan, lengths_R):
            changed = plan.decided({MICRO: tokens, RECOMPUTE: recompute})
            slowest = max(slowest, seconds(changed))
            found.append(Way(tokens, layers, recompute, slowest))
    yield from sorted(found, key=lambda way: (way.seconds, way.layers, -way.tokens))


def _layers(plan: Plan, learning: int) -> Iterator[tuple[int, Recompute]]:
    given = plan.train.recompute
    if not is_open(plan, RECOMPUTE):
        yield (learning if given is True else int(given) if given != "auto" else 0), given
        return
    yield 0, False
    step = -(-learning // PARTS) or 1
    for layers in range(step, learning, step):
        yield layers, layers
    if learning:
        yield learning, True


def _sizes(plan: Plan, lengths_R: Rows) -> Iterator[int]:
    size = plan.train.micro_batch_tokens
    yield size
    if not is_open(plan, MICRO):
        return
    size = min(size, _most(plan, lengths_R))
    while size // 2 >= max(int(lengths_R.max()), LEAST):
        size //= 2
        yield size


def first_that_fits(
    plan: Plan,
    found: Footprint,
    ground: Ground,
    learning: int,
    tried: Sequence[Way],
    foresee: Callable[[Plan], tuple[Footprint, Memory]],
) -> tuple[Way, Plan, Footprint, Memory] | None:
    """Give the first way that surely fits, with its plan and what it takes; None where none does.

    Args:
        plan: settled.
        found: what it takes as it is, which does not fit.
        ground: where.
        learning: layers that compute gradients.
        tried: other ways, in their order.
        foresee: gives what a plan takes.
    """
    for way in tried:
        if not memory_of(_at_least(found, way, learning), ground).surely:
            continue
        changed = plan.decided({MICRO: way.tokens, RECOMPUTE: way.recompute})
        took, memory = foresee(changed)
        if memory.surely:
            return way, changed, took, memory
    return None


def _at_least(found: Footprint, way: Way, learning: int) -> Footprint:
    """Give what a way takes in any case, from what the plan takes with all states kept."""
    size = SURE * min(1.0, way.tokens / max(1, found.tokens))
    kept = size * (1 - way.layers / max(1, learning))
    return replace(
        found,
        activations=int(found.activations * kept),
        scores=int(found.scores * size),
        passing=0,
    )


def told(way: Way, first: Way, before: Memory, after: Memory, learning: int) -> tuple[Note, ...]:
    """Say what was decided and why, with the memory without and with it.

    Args:
        way: that was taken.
        first: the plan as it would be with room enough.
        before, after: the memory of both.
        learning: layers that compute gradients.
    """
    cost = f"{way.seconds / max(1e-9, first.seconds):.2f} times as long by estimate"
    gain = f"{gained(before, after)}, and a step takes {cost}"
    notes: list[Note] = []
    if way.tokens != first.tokens:
        notes.append(Note(MICRO, way.tokens, gain))
    if way.layers != first.layers:
        share = "all" if way.layers == learning else f"the lowest {way.layers} of"
        which = f"{share} {learning} layers with gradients compute their states again"
        notes.append(Note(RECOMPUTE, way.recompute is True or way.layers, f"{which}: {gain}"))
    return tuple(notes)


def gained(before: Memory, after: Memory) -> str:
    """Say what memory would be needed without a decision, and what with it."""
    short = f"without, {_bytes(before.needed)} would be needed, and there are {_room(before)}"
    return f"{short}; so it is {_bytes(after.needed)}"


def kept_whole(plan: Plan, memory: Memory) -> tuple[Note, ...]:
    """Say that a plan stays as it is, where something was open: it fits, or nothing would."""
    if not is_open(plan, RECOMPUTE):
        return ()
    room = f" of {_room(memory)}" if memory.available else ""
    why = f"all states fit, {_bytes(memory.needed)}{room}"
    if not memory.fits:
        why = (
            f"{_bytes(memory.needed)} do not fit in {_room(memory)}, nor would fewer of the states"
        )
    return (Note(RECOMPUTE, plan.train.recompute is True, why),)


def _bytes(size: int) -> str:
    return f"{size / GIGA:,.1f} GB" if size >= GIGA else f"{size / MEGA:,.1f} MB"


def _room(memory: Memory) -> str:
    return f"{_bytes(memory.available)} {memory.where}"
