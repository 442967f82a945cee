"""Laws of fusions: a fresh one is the equal average; parts stay; it reloads, packs and routes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch

from attached import FAMILY, TABLES, hidden, shake
from bases import HIDDEN, input_ids, tiny
from kinds import TABLES as PEFT_TABLES
from models import LABELS, laid, rows_of, trunk_of
from racks import adapter_in, mixed, put, rack_of
from tenon.adapters import pack
from tenon.adapters.composition import Average
from tenon.adapters.fusion_kind import SHARED, apart
from tenon.adapters.fusion_layer import FusionLayer
from tenon.adapters.fusion_parts import read_parts
from tenon.adapters.kind import KINDS, settle
from tenon.adapters.settings import AdapterSettings
from tenon.adapters.weights import take
from tenon.core.errors import AdapterError, PlanError
from tenon.model.attach import attach, restore
from tenon.model.classifier import Classifier
from tenon.model.head import Head

ARCHITECTURES = ("bert", "roberta", "llama", "qwen3", "gpt2", "modernbert")
PARTS = {
    "a": {**TABLES["lora"], "rank": 4, "rank_stabilized": True},
    "b": {**TABLES["houlsby"]},
    "c": {**TABLES["pfeiffer"]},
}
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(scope="module")
def made_for(folder_of, tmp_path_factory):
    """Give, of an architecture, a rack of trained parts and the folders that they are in."""
    held = {}

    def go(arch: str):
        if arch not in held:
            rack = rack_of(folder_of(arch), PARTS)
            root = tmp_path_factory.mktemp(arch)
            held[arch] = rack, folders(rack, PARTS, root)
        return held[arch]

    return go


def folders(rack, tables, root: Path) -> list[str]:
    for name, table in tables.items():
        pack.write(root / name, adapter_in(rack, name, table), card="# part")
    return [str(root / name) for name in tables]


def fusion_of(named: list[str], **own) -> AdapterSettings:
    parts = [part.model_dump(mode="json") for part in read_parts(named)]
    return settle("mix", {"kind": "fusion.v1", "parts": parts, **own})


def classifier(folder: Path, settings: AdapterSettings, seed: int = 3, **model) -> Classifier:
    trunk = trunk_of(folder, **model)
    held = attach(trunk, settings, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        head = Head(HIDDEN, len(LABELS), normalize=False, bias=True)
    return Classifier(trunk, held.peft, head, "mean")


@pytest.mark.cells
@pytest.mark.parametrize("batches", ["packed", "padded"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_fresh_one_is_the_equal_average(arch, batches, made_for, folder_of):
    rack, named = made_for(arch)
    batch = rows_of([3, 7, 5])
    expected = mixed(rack, Average(dict.fromkeys("abc", 1 / 3)), batch)
    model = classifier(folder_of(arch), fusion_of(named), batches=batches).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.trunk.hidden_TD(batch), expected, **CLOSE)


@pytest.mark.cells
@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_only_the_attention_and_the_head_learn(arch, value, made_for, folder_of):
    model = classifier(folder_of(arch), fusion_of(made_for(arch)[1], value=value)).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-2)
    for _ in range(2):  # the query is 0 at first, and holds back what the key would learn
        optimizer.zero_grad()
        model.nats(rows_of([3, 7, 5])).backward()
        optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if "fusion_mixture" in n or n.startswith("head.")}
    assert moved == set(model.trainable())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_packed_equals_padded(arch, made_for, folder_of):
    model = classifier(folder_of(arch), fusion_of(made_for(arch)[1])).eval()
    # Shaken more, its gradients are in the hundreds, and padded ones off by 3e-3 from float64's.
    shake(model, size=0.1)
    batch = rows_of((1, 9, 4, 4, 17, 2))
    found = []
    for packed in (True, False):
        model.zero_grad()
        laid(model, packed=packed).nats(batch).backward()
        found.append({name: p.grad.clone() for name, p in model.trainable().items()})
    largest = max(float(grad.abs().max()) for grad in found[1].values())
    for name, gradient in found[1].items():
        assert float((found[0][name] - gradient).abs().max()) <= 1e-3 * largest, name


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_written_and_read_it_is_the_same_and_needs_no_part(arch, made_for, folder_of, tmp_path):
    rack, named = made_for(arch)
    settings = fusion_of(named, value=True)
    trunk = trunk_of(folder_of(arch))
    held = attach(trunk, settings, seed=1)
    shake(held.peft)
    expected = hidden(trunk.model)
    written = adapter_of(held.peft, settings, rack)
    pack.write(tmp_path / "mix", written, card="# mix")
    read = pack.read(tmp_path / "mix")
    assert not any(part["folder"] for part in read.settings.own["parts"])
    again = trunk_of(folder_of(arch))
    restore(again, read).eval()
    assert torch.equal(hidden(again.model), expected)
    theirs = peft.PeftModel.from_pretrained(tiny(arch), tmp_path / "mix").eval()
    assert torch.equal(hidden(theirs), expected)
    plain = tiny(arch)
    plain.load_adapter(str(tmp_path / "mix"))
    torch.testing.assert_close(hidden(plain.eval()), expected, **CLOSE)


def adapter_of(model, settings, rack) -> pack.Adapter:
    """Give a fusion as a run would write it, with a part's manifest for the rest."""
    manifest = adapter_in(rack, "a", PARTS["a"]).manifest
    kept = apart(settings)
    part = adapter_in(rack, "a", PARTS["a"])
    return pack.Adapter(
        name="mix",
        kind="fusion.v1",
        settings=kept,
        config=model.peft_config["default"],
        weights=take(model),
        head=part.head,
        manifest=manifest.model_copy(update={"name": "mix", "kind": "fusion.v1", "settings": kept}),
    )


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_rows_beside_it_have_their_own_adapters(arch, made_for, folder_of):
    rack = rack_of(folder_of(arch), {"x": TABLES["lora"], "y": TABLES["pfeiffer"]})
    own = attach(rack.trunk, fusion_of(made_for(arch)[1]), seed=1)
    shake(own.peft)
    rack.keep("mix", "fusion.v1", own.peft.eval())
    batch = rows_of([3, 7, 5, 4])
    alone = {}
    for name in ("x", "y", "mix"):
        with rack.only(name), torch.no_grad():
            alone[name] = rack.trunk.hidden_TD(batch).split(batch.lengths)
    with rack.all() as router, torch.no_grad():
        owners = ["mix", "x", "mix", "y"]
        with router.on(rack.route(owners, batch.lengths)):
            together = rack.trunk.hidden_TD(batch).split(batch.lengths)
    for row, name in enumerate(owners):
        torch.testing.assert_close(together[row], alone[name][row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(PEFT_TABLES | {"parallel": 0, "mad-x": 0, "compacter": 0}))
def test_every_kind_is_a_part_or_is_refused_by_name(name, folder_of, tmp_path):
    table = {**FAMILY, **PEFT_TABLES}[name]
    rack = rack_of(folder_of("bert"), {"a": TABLES["lora"]})
    put(rack, "z", table, seed=2, size=0.05)
    named = folders(rack, {"a": TABLES["lora"], "z": table}, tmp_path)
    if table["kind"] == "prefix.v1":
        with pytest.raises(PlanError, match="acts inside of attention"):
            fusion_of(named)
        return
    if KINDS.get(table["kind"]).reads_weights:
        with pytest.raises(PlanError, match="known on the weights"):
            fusion_of(named)
        return
    if table["kind"] in SHARED:
        with pytest.raises(PlanError, match=r"parts.*z.*outside of its layers"):
            fusion_of(named)
        return
    if table.get("preset") == "mad-x":
        with pytest.raises(PlanError, match="invertible"):
            attach(trunk_of(folder_of("bert")), fusion_of(named), seed=1)
        return
    batch = rows_of([3, 7, 5])
    expected = mixed(rack, Average({"a": 0.5, "z": 0.5}), batch)
    model = classifier(folder_of("bert"), fusion_of(named)).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.trunk.hidden_TD(batch), expected, **CLOSE)


def test_parts_of_one_name_have_names_of_their_own(folder_of, tmp_path):
    tables = {"my-lora": TABLES["lora"], "my-lora-2": TABLES["lora"], "x": TABLES["lora"]}
    rack = rack_of(folder_of("bert"), tables)
    named = folders(rack, tables, tmp_path)
    other = adapter_in(rack, "x", tables["x"])
    renamed = {"name": "my-lora", "settings": other.settings.model_copy(update={"name": "my-lora"})}
    manifest = other.manifest.model_copy(update={"name": "my-lora"})
    pack.write(tmp_path / "y", replace(other, **renamed, manifest=manifest), card="# part")
    parts = read_parts([*named[:2], str(tmp_path / "y")])
    assert [part.settings.name for part in parts] == ["my-lora", "my-lora-2", "my-lora-3"]
    batch = rows_of([3, 5])
    expected = mixed(rack, Average(dict.fromkeys(tables, 1 / 3)), batch)
    found = classifier(folder_of("bert"), fusion_of([*named[:2], str(tmp_path / "y")])).eval()
    with torch.no_grad():
        torch.testing.assert_close(found.trunk.hidden_TD(batch), expected, **CLOSE)


def test_parts_answer_without_dropout_from_the_first_pass_on(folder_of, tmp_path):
    rack = rack_of(folder_of("bert"), {"a": TABLES["lora"], "b": TABLES["houlsby"]})
    for name, which in (("a", "lora"), ("b", "houlsby")):
        part = adapter_in(rack, name, TABLES[which])
        own = settle(name, {**TABLES[which], "dropout": 0.5})
        config = copy.deepcopy(part.config)
        setattr(config, "lora_dropout" if which == "lora" else "dropout", 0.5)
        pack.write(tmp_path / name, replace(part, settings=own, config=config), card="# part")
    settings = fusion_of([str(tmp_path / name) for name in "ab"])
    for model in (classifier(folder_of("bert"), settings), classifier(folder_of("bert"), settings)):
        layers = [m for m in model.modules() if isinstance(m, FusionLayer)]
        assert layers and not any(m.training for x in layers for m in x.fusion_parts.modules())
        model.train()
        assert not any(m.training for x in layers for m in x.fusion_parts.modules())
        assert all(layer.fusion_mixture["default"].training for layer in layers)


class TestRefused:
    def test_a_part_that_has_changed(self, made_for, folder_of, tmp_path):
        rack, named = made_for("bert")
        settings = fusion_of(named)
        first, *rest = settings.own["parts"]
        moved = [{**first, "digest": "0" * 64}, *rest]
        other = settings.model_copy(update={"own": {**settings.own, "parts": moved}})
        with pytest.raises(AdapterError, match="is not the adapter that this plan was made with"):
            attach(trunk_of(folder_of("bert")), other, seed=1)

    def test_sites_of_its_own(self, made_for):
        with pytest.raises(PlanError, match="sites has no effect"):
            fusion_of(made_for("bert")[1], sites=["mlp"])

    def test_one_part_and_one_twice(self, made_for):
        named = made_for("bert")[1]
        with pytest.raises(PlanError, match="at least 2"):
            fusion_of(named[:1])
        with pytest.raises(PlanError, match="stands twice"):
            fusion_of([named[0], named[0]])

    def test_to_be_merged(self, made_for, folder_of):
        held = attach(trunk_of(folder_of("bert")), fusion_of(made_for("bert")[1]), seed=1)
        with pytest.raises(AdapterError, match="weighs its adapters"):
            held.peft.merge_and_unload()

    def test_by_row_in_plain_peft(self, made_for, folder_of):
        held = attach(trunk_of(folder_of("bert")), fusion_of(made_for("bert")[1]), seed=1)
        with pytest.raises(AdapterError, match="no adapter per row"):
            held.peft(input_ids=input_ids(), adapter_names=["default", "__base__"])

    def test_what_is_no_adapter(self, tmp_path):
        with pytest.raises(PlanError, match="holds no adapter"):
            read_parts([str(tmp_path / "nothing"), str(tmp_path)])
