"""What a plan foretells: memory by component, time by stage, what fits; and nothing is changed."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from tenon.core.errors import PlanError
from tenon.plan.devices import CPU
from tenon.plan.fits import fits
from tenon.plan.footprint import footprint
from tenon.plan.memory import ground_here, memory_of
from tenon.plan.shared import passes, together
from tenon.terminal.page import render, to_json
from tenon.verbs import planned
from tenon.verbs.decided import decide, estimated
from tenon.verbs.forecast import forecast
from tenon.verbs.plan import plan
from tenon.verbs.planned import foresee, foretell, foretell_together, form_of
from tenon.verbs.target import explained
from tenon.verbs.train import train
from tenon.verbs.workspace import open_workspace

ROWS = "".join(
    f'"{what} number {i}, please{" and thank you" * (i % 5)}",{label}\n'
    for i in range(40)
    for what, label in (("refund order", "refund"), ("track parcel", "delivery"))
)


@pytest.fixture(scope="module")
def mail(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mail")
    path = folder / "mail.csv"
    path.write_text(f"text,label\n{ROWS}")
    return path


@pytest.fixture(autouse=True)
def cache(mail, monkeypatch):
    monkeypatch.setenv("TENON_CACHE", str(mail.parent / "cache"))
    monkeypatch.chdir(mail.parent)


def opened(mail, *arguments):
    (wanted,), _ = explained(str(mail), arguments)
    return open_workspace(wanted)


def peak(space, **settings):
    changed = space.plan.decided({n.replace("__", "."): v for n, v in settings.items()})
    return foresee(space, changed, ground_here(space.trunk))[0]


@pytest.mark.parametrize("kinds", [("lora.v1", "lora.v1"), ("lora.v1", "bottleneck.v1")])
def test_of_runs_of_one_form_one_footprint_tells_all(mail, kinds, monkeypatch):
    more = mail.parent / "more.csv"
    more.write_text(f"text,label\n{ROWS}{ROWS}")
    spaces = [
        opened(file, f"adapters.{file.stem}.kind={kind}", "train.tokens_per_step=150")
        for file, kind in zip((mail, more), kinds, strict=True)
    ]
    each = [footprint(s.plan, form_of(s), s.tokens, "cpu") for s in spaces]
    sides = passes([s.plan for s in spaces], [s.tokens["train"] for s in spaces])
    apart = together(each, sides)
    found = []

    def counted(*given):
        found.append(footprint(*given))
        return found[-1]

    monkeypatch.setattr(planned, "footprint", counted)
    memory = foretell_together(spaces).memory
    assert len(found) == len(set(kinds))
    lasting = ("adapter and head", "gradients", "optimizer")
    told = {name: memory.parts[name] for name in lasting}
    assert told == dict(
        zip(lasting, (apart.trained, apart.gradients, apart.optimizer), strict=True)
    )
    assert memory.parts["activations"] == pytest.approx(apart.activations, rel=0.1)


def printed(value, width=120):
    console = Console(width=width, file=io.StringIO())
    console.print(render(value))
    return console.file.getvalue()


@pytest.fixture(scope="module")
def space(mail):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENON_CACHE", str(mail.parent / "cache"))
        patch.chdir(mail.parent)
        yield opened(mail, "train.tokens_per_step=400")


def test_a_larger_micro_batch_never_takes_less(space):
    sizes = [peak(space, train__micro_batch_tokens=size).training for size in (50, 100, 200, 400)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_recomputing_and_fewer_bits_take_less(space):
    whole = peak(space)
    again, halves = peak(space, train__recompute=True), peak(space, model__dtype="bfloat16")
    assert again.activations < whole.activations / 2
    assert again.peak <= whole.peak
    assert halves.base == pytest.approx(whole.base / 2, rel=0.01)
    assert peak(space, model__quantize="int8").base < whole.base
    assert whole.trained == whole.gradients
    assert whole.optimizer == 2 * whole.trained


def test_what_is_offered_fits_and_what_was_asked_does_not(space):
    ground = ground_here(space.trunk)
    found, memory = foresee(space, space.plan, ground)
    free = replace(ground, process=0, reached=0)
    tight = replace(free, available=memory_of(found, free).peak * 3 // 4)
    assert not memory_of(found, tight).fits
    longest = int(space.tokens["train"].lengths_R.max())
    offers = fits(
        space.plan,
        form_of(space),
        longest,
        lambda other: foresee(space, other, tight)[1],
        lambda other: estimated(space, other, CPU),
        most=1,
    )
    assert offers
    for offer in offers:
        assert offer.memory.fits
        assert offer.time > 0
        assert foresee(space, space.plan.decided(offer.settings), tight)[1].fits
        assert all("=" in argument for argument in offer.arguments.split())
    assert memory.fits
    wide = memory_of(found, replace(ground, available=0))
    assert wide.fits


def test_the_parts_make_up_the_peak(space):
    found, memory = foresee(space, space.plan, ground_here(space.trunk))
    parts = dict(memory.parts)
    answering = parts.pop("answering")
    step = ("gradients", "activations", "scores", "passing")
    besides = sum(value for name, value in parts.items() if name not in step)
    whole = max(sum(parts.values()), besides + answering)
    assert memory.peak in (whole, ground_here(space.trunk).reached)
    assert memory.low < memory.peak < memory.high
    assert found.tokens <= 400


def test_random_numbers_are_as_they_were(mail):
    space = opened(mail)
    before = torch.get_rng_state()
    told, bare = forecast(space, 1.0, decide(space))
    assert torch.equal(torch.get_rng_state(), before)
    assert told.seconds.timed
    total = told.seconds.total
    assert 0 < total.low < total.seconds < total.high
    assert all(parameter.grad is None for parameter in bare.trunk.model.parameters())


def test_a_device_that_is_not_here(mail):
    preview = plan(str(mail), device="h100-80gb")
    told = preview.forecast
    assert told.device == "h100-80gb"
    assert not told.seconds.timed
    assert told.memory is not None
    assert told.memory.fits
    assert told.memory.available > 70e9
    assert "an estimate: not timed" in printed(preview)
    data = json.loads(json.dumps(to_json(preview)))["forecast"]
    assert data["memory"]["parts"]["base"] == told.footprint.base
    assert data["seconds"]["stages"]["total"]["seconds"] > 0


def test_an_unknown_device_is_refused(mail):
    with pytest.raises(PlanError, match=r"--device h100-80: is not in the table .*h100-80gb\?"):
        plan(str(mail), device="h100-80")


def test_a_run_that_does_not_fit_says_what_does(mail):
    told = plan(str(mail)).forecast
    assert told.memory is not None
    tight = replace(told, memory=replace(told.memory, available=1))
    text = printed_forecast(tight)
    assert "it does not fit" in text
    assert "no smaller batch, number format or few bits would" in text
    unknown = replace(told, memory=None, footprint=None, why="memory: cannot be found")
    assert "memory: cannot be found" in printed_forecast(unknown)


def printed_forecast(told):
    from tenon.terminal.forecast import forecast_page

    console = Console(width=120, file=io.StringIO())
    console.print(forecast_page(told))
    return console.file.getvalue()


def test_a_report_has_what_was_foretold_beside_what_was_taken(mail, tmp_path, folder_of):
    more = [f"base={folder_of('bert')}", "train.epochs=4", "train.tokens_per_step=200"]
    (wanted,), _ = explained(str(mail), more)
    report = train(wanted, tmp_path / "run").report
    memory, seconds = report.planned
    assert memory["unit"] == "bytes"
    assert memory["measured"] == report.cost["peak_bytes"]
    assert seconds["measured"] == pytest.approx(report.cost["seconds"], abs=0.1)
    assert all(row["low"] < row["value"] < row["high"] for row in report.planned)


def test_recomputing_changes_no_number(mail, tmp_path, folder_of):
    losses = []
    for again in ("false", "true"):
        more = [f"base={folder_of('bert')}", "train.epochs=1", f"train.recompute={again}"]
        (wanted,), _ = explained(str(mail), more)
        losses.append(train(wanted, tmp_path / again).report.learning_curve["loss"])
    assert losses[0] == losses[1]


def test_foretelling_leaves_the_base_without_adapter(mail):
    space = opened(mail)
    modules = [type(module) for module in space.trunk.model.modules()]
    assert foretell(space).memory is not None
    assert [type(module) for module in space.trunk.model.modules()] == modules
