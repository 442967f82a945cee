"""Cell: an adapter of one kind on one tiny base, asked for each law that holds of it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import peft
import torch

import kinds
from attached import shake
from bases import HIDDEN
from grounds import Ground, Model, by_row, model_on, states
from matrix import BROKEN, HELD, NONE, REFUSED, TABLES, Cell
from packed import LABELS, fingerprint_of
from tenon.adapters import pack
from tenon.adapters.bottleneck import uncouple_head
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.weights import take
from tenon.core.errors import TenonError
from tenon.evaluate.generate import generate
from tenon.model.attach import attach, restore
from tenon.model.merge import TOLERANCE, adapted, merge_modules, relative
from tenon.model.rack import Rack
from tenon.model.seq2seq import Seq2Seq
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch, of_ids

STEPS = 3
MOVED = 0.05
ROUNDING = 1e-4
"""Largest difference of states, relative to the largest, that is rounding of float32."""
GRADIENT = 1e-3
"""The same of a gradient."""
SMALL = 3e-3
"""Of the largest gradient: one that is smaller is judged as if it were so large. It may be nothing
but rounding, as that of what scales a bias of 0: 5e-7 of the largest one way, and 2e-6 another."""
LEAST = 1e-4
"""What an adapter that was moved changes at least, relative to the largest state."""
END = 2
PROMPTS = ([5, 6, 7], [8, 9], [10, 11, 12, 13, 14])
OTHER = {"kind": "lora.v1", "sites": ["attention.out"]}
"""The adapter that other rows of a batch have; every base takes it."""
OWNERS = ("a", None, "b", "c")

Verdict = tuple[str, str]
"""What became of a law, and why where it does not hold."""
HOLDS: Verdict = (HELD, "")


@dataclass
class Subject:
    """What the laws of a cell share: one adapter, first fresh, then trained and moved.

    Args:
        cell: which.
        ground: the base under it.
        folder: an empty one.
    """

    cell: Cell
    ground: Ground
    folder: Path
    trunk: Trunk = field(init=False)
    model: Model = field(init=False)
    moved: torch.Tensor = field(init=False)

    @property
    def batch(self) -> Batch:
        return self.ground.batch

    @property
    def size(self) -> float:
        return kinds.SIZES.get(self.cell.kind.name, MOVED)

    @property
    def bare(self) -> torch.Tensor:
        return self.ground.states[self.ground.trunk.packed]


def ask(cell: Cell, ground: Ground, folder: Path) -> dict[str, Verdict]:
    """Ask a cell for each law; nothing more of one that is refused whole."""
    subject = Subject(cell, ground, folder)
    found: dict[str, Verdict] = {}
    for law, question in QUESTIONS.items():
        try:
            found[law] = question(subject)
        except TenonError as error:
            found[law] = (REFUSED, str(error).splitlines()[0].replace(str(folder), ""))
        except AssertionError as error:
            found[law] = (BROKEN, str(error) or "an assertion")
        if found.get("put on") != HOLDS:
            break
    return found


def is_put_on(on: Subject) -> Verdict:
    on.trunk = on.ground.copy()
    held = attach(on.trunk, settle("mood", TABLES[on.cell.row]), seed=3)
    on.model = model_on(on.trunk, held.peft)
    assert of_adapter(on.model), "nothing is trained"
    return HOLDS


def of_adapter(model: Model) -> dict[str, torch.nn.Parameter]:
    """Give what is trained of the adapter, by name."""
    return {name: p for name, p in model.trainable().items() if not name.startswith("head.")}


def starts(on: Subject) -> Verdict:
    kind = on.cell.kind
    for packed, expected in on.ground.states.items():
        found = states(on.model, on.batch, packed=packed)
        error = relative(expected, found)
        if kind.start and not (kind.name == "lora.v1" and on.cell.row not in kinds.MOVES):
            most = kinds.MOVES.get(on.cell.row, kinds.ROUNDED)
            assert error <= most, f"fresh it moves the states by {error:.1e}, packed: {packed}"
        else:
            assert torch.equal(found, expected), f"moved by {error:.1e}, packed: {packed}"
    return HOLDS


def learns(on: Subject) -> Verdict:
    """Train for some steps, then move each tensor further than they do."""
    held = of_adapter(on.model)
    start = {name: p.detach().clone() for name, p in held.items()}
    alive = trained(on.model, held, on.batch, kinds.RATES.get(on.cell.kind.name, 1e-2))
    still = [name for name, p in held.items() if torch.equal(p, start[name])]
    shake(on.model, size=on.size)
    on.moved = states(on.model, on.batch)
    silent = kinds.SILENT.get(on.cell.kind.name)
    dead = [name for name in held if name not in alive and not (silent and silent in name)]
    assert not dead, f"no gradient reaches {len(dead)} of {len(held)} tensors: {dead[0]}"
    assert not set(still) & alive, f"{still[0]} does not move"
    frozen = [p for p in on.model.parameters() if not p.requires_grad]
    assert frozen and all(p.grad is None for p in frozen), "the base has a gradient"
    change = relative(on.bare, on.moved)
    assert change > LEAST, f"once moved it changes the states by {change:.1e}"
    return HOLDS


def trained(
    model: Model, held: Mapping[str, torch.nn.Parameter], batch: Batch, rate: float
) -> set[str]:
    """Take some steps, and give the tensors that a gradient reached."""
    optimizer = torch.optim.AdamW(held.values(), rate)
    alive: set[str] = set()
    model.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        (model.nats(batch) / model.targets(batch)).backward()
        alive |= {n for n, p in held.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    model.eval()
    return alive


def leaves_the_base(on: Subject) -> Verdict:
    """Switched off the adapter is not there, and taken off it leaves every tensor as it was."""
    twin = copy.deepcopy(on.model.peft)
    with on.model.peft.disable_adapter():
        off = states(on.model, on.batch)
    assert torch.equal(off, on.bare), "switched off, it still changes the states"
    assert torch.equal(states(on.model, on.batch), on.moved), "switched on, it is another"
    bare, expected = twin.unload().state_dict(), on.ground.trunk.model.state_dict()
    assert sorted(bare) == sorted(expected), "taken off, the base has other tensors"
    changed = [name for name, tensor in expected.items() if not torch.equal(bare[name], tensor)]
    assert not changed, f"{changed[0]} of the base has changed"
    return HOLDS


def packs(on: Subject) -> Verdict:
    if not on.trunk.packed:
        return NONE, on.trunk.why
    error = relative(states(on.model, on.batch, packed=False), on.moved)
    assert error <= ROUNDING, f"packed differs from padded by {error:.1e}"
    packed, padded = (gradients(on.model, on.batch, packed=way) for way in (True, False))
    assert packed.keys() == padded.keys()
    largest = max(float(gradient.abs().max()) for gradient in padded.values())
    for name, gradient in padded.items():
        size = max(float(gradient.abs().max()), SMALL * largest)
        error = float((packed[name] - gradient).abs().max()) / size
        assert error <= GRADIENT, f"the gradient of {name} differs by {error:.1e}"
    return HOLDS


def gradients(model: Model, batch: Batch, *, packed: bool) -> dict[str, torch.Tensor]:
    before, model.trunk = model.trunk, replace(model.trunk, packed=packed)
    model.zero_grad(set_to_none=True)
    model.nats(batch).backward()
    model.trunk = before
    return {name: p.grad for name, p in of_adapter(model).items() if p.grad is not None}


def is_kept(on: Subject) -> Verdict:
    """Read the adapter's directory onto another copy of the base, and let PEFT read it."""
    saved = saved_of(on)
    ours, theirs = on.ground.copy(), on.ground.copy()
    again = model_on(ours, restore(ours, pack.read(saved)))
    assert torch.equal(states(again, on.batch), on.moved), "read again, it is another"
    plain = model_on(theirs, peft.PeftModel.from_pretrained(theirs.model, saved))
    if theirs.whole is not None:
        # PEFT around the trunk alone knows of no head, which a coupling has to be undone before
        uncouple_head(theirs.whole)
    assert torch.equal(states(plain, on.batch), on.moved), "read by PEFT, it is another"
    return HOLDS


def saved_of(on: Subject) -> Path:
    """Write the directory of the cell's adapter."""
    settings = settle("mood", TABLES[on.cell.row])
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=settings.kind,
        labels=LABELS,
        base=fingerprint_of(on.cell.family),
        pooling=Pooling(mode="mean"),
        text=Lengths(max_tokens=32),
    )
    config, held = on.model.peft.peft_config["default"], take(on.model.peft)
    head = {"weight": torch.ones(len(LABELS), HIDDEN), "bias": torch.zeros(len(LABELS))}
    adapter = pack.Adapter("mood", settings.kind, settings, config, held, head, manifest)
    return pack.write(on.folder / "mood", adapter, card="# mood")


def is_alone(on: Subject) -> Verdict:
    lengths = list(on.batch.lengths)
    targets = on.batch.targets_X.split(lengths if on.ground.writes else 1)
    rows = zip(on.batch.ids_T.split(lengths), targets, by_row(on.model, on.batch), strict=True)
    for row, (ids_T, targets_X, found) in enumerate(rows):
        single = replace(of_ids([ids_T.tolist()]), targets_X=targets_X)
        error = relative(found, states(on.model, single))
        assert error <= ROUNDING, f"row {row} differs by {error:.1e} from the row alone"
    return HOLDS


def has_rows_of_its_own(on: Subject) -> Verdict:
    rack = Rack(on.ground.copy())
    for seed, name in enumerate(("a", "b", "c")):
        table = OTHER if name == "b" else TABLES[on.cell.row]
        held = attach(rack.trunk, settle(name, table), seed=seed).peft
        shake(held.eval(), seed=seed, size=on.size)
        rack.keep(name, table["kind"], held)
    model = model_on(rack.trunk, None)
    with rack.all() as router, router.on(rack.route(OWNERS, on.batch.lengths)):
        # Answers of an encoder-decoder are written from padded rows.
        found = by_row(model, on.batch, packed=False if model.trunk.seq2seq else None)
    answers: dict[str | None, list[torch.Tensor]] = {None: by_row(model, on.batch)}
    for name in ("a", "b", "c"):
        with rack.only(name):
            answers[name] = by_row(model, on.batch)
    for row, owner in enumerate(OWNERS):
        error = relative(answers[owner][row], found[row])
        assert error <= ROUNDING, f"a row of {owner} differs by {error:.1e} from it alone"
    assert relative(answers["a"][0], answers["c"][0]) > LEAST, "two adapters answer alike"
    return HOLDS


def writes(on: Subject) -> Verdict:
    """Ask of each written token whether it is the likeliest where nothing is cached."""
    if not on.ground.writes:
        return NONE, "an encoder writes nothing"
    said = generate(on.model, PROMPTS, stop_ids=(END,), max_new_tokens=4, batch_tokens=99)
    new = [[*each.ids, *([END] if each.ended else [])] for each in said]
    pairs = list(zip(PROMPTS, new, strict=True))
    weights_T = [float(place >= len(prompt)) for prompt, ids in pairs
                 for place in range(len(prompt) + len(ids))]  # fmt: skip
    rows = of_ids([prompt + ids for prompt, ids in pairs])
    asked = replace(rows, targets_X=torch.tensor(weights_T))
    for (prompt, ids), scores_TV in zip(pairs, by_row(on.model, asked), strict=True):
        first = 0 if isinstance(on.model, Seq2Seq) else len(prompt) - 1
        scores_NV = scores_TV[first : first + len(ids)]
        behind_N = scores_NV.max(-1).values - scores_NV[range(len(ids)), ids]
        allowed = ROUNDING * float(scores_NV.abs().max())
        assert ids and float(behind_N.max()) <= allowed, f"{ids} after {prompt} is not likeliest"
    return HOLDS


def merges(on: Subject) -> Verdict:
    if not on.cell.kind.mergeable:
        return REFUSED, on.cell.kind.mergeable_why
    rows = partial(states, on.model, on.batch)
    worst = merge_modules("mood", on.trunk, on.model.peft, rows)[0]
    assert worst.error <= TOLERANCE[torch.float32], f"{worst.module} differs by {worst.error:.1e}"
    assert not adapted(on.trunk.model), "the adapter is still there"
    error = relative(on.moved, states(model_on(on.trunk, None), on.batch))
    assert error <= TOLERANCE[torch.float32], f"merged it differs by {error:.1e}"
    return HOLDS


QUESTIONS: dict[str, Callable[[Subject], Verdict]] = {
    "put on": is_put_on,
    "L1": starts,
    "gradient": learns,
    "L2": leaves_the_base,
    "L5": packs,
    "L7": is_kept,
    "alone": is_alone,
    "L9": has_rows_of_its_own,
    "cache": writes,
    "L8": merges,
}
"""The laws in their order: an adapter that is merged is gone."""
