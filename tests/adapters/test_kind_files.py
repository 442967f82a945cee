"""The directory of an adapter of every kind: written, read strictly, put back, opened by PEFT."""

from __future__ import annotations

import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from attached import hidden, shake
from bases import HIDDEN, input_ids, tiny
from kinds import NO_TRANSPOSED, TABLES
from packed import LABELS, fingerprint_of
from sealed import reseal
from tenon.adapters import weights
from tenon.adapters.fit import fit
from tenon.adapters.fresh import fresh
from tenon.adapters.kind import KINDS, settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.pack import Adapter, read, target_modules, write
from tenon.adapters.wrap import wrap
from tenon.core.errors import AdapterError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias:UserWarning"),
    pytest.mark.filterwarnings("ignore:Specified to not (save|load):UserWarning"),
]
every_kind = pytest.mark.parametrize("name", TABLES)
HEADED = [
    (name, arch)
    for name in TABLES
    for arch in ("llama", "gpt2")
    if arch != "gpt2" or name not in NO_TRANSPOSED
]
"""Where a kind can sit; tests/laws/test_matrix.py proves the refusals."""


def adapter_of(name: str, arch: str, pooling: str, layout: str) -> tuple[peft.PeftModel, Adapter]:
    """Give a shaken model, and the adapter that a run would take from it, with a random head."""
    settings = settle("mood", TABLES[name])
    trunk = tiny(arch).requires_grad_(False)
    torch.manual_seed(0)
    model = fresh(trunk, settings).peft.eval()
    shake(model, size=0.1)
    head = {
        "weight": torch.randn(len(LABELS), HIDDEN, generator=torch.Generator().manual_seed(5)),
        "bias": torch.zeros(len(LABELS)),
    }
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=settings.kind,
        labels=LABELS,
        base=fingerprint_of(arch),
        pooling=Pooling(mode=pooling),
        text=Lengths(max_tokens=32),
        layout=layout,
    )
    config, held = model.peft_config["default"], weights.take(model)
    return model, Adapter("mood", settings.kind, settings, config, held, head, manifest)


@every_kind
def test_what_is_read_is_what_was_written_and_answers_the_same(name, tmp_path):
    model, adapter = adapter_of(name, "bert", "mean", "trunk")
    folder = write(tmp_path / "mood", adapter, card="# mood")
    found = read(folder, fingerprint_of("bert"))
    assert found.settings == adapter.settings
    assert found.weights.keys() == adapter.weights.keys()
    for key, tensor in adapter.weights.items():
        assert torch.equal(found.weights[key], tensor) and found.weights[key].dtype == tensor.dtype
    torch.manual_seed(99)
    ours = wrap(tiny("bert").requires_grad_(False), found.config).eval()
    weights.put(ours, found.weights)
    assert torch.equal(hidden(ours), hidden(model))
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), folder).eval()
    assert torch.equal(hidden(theirs), hidden(model))
    placed = fit(tiny("bert"), adapter.settings).places
    assert target_modules(adapter) == sorted({n for names in placed.values() for n in names})


@pytest.mark.cells
@pytest.mark.parametrize(("name", "arch"), HEADED)
def test_under_a_head_class_of_transformers_plain_peft_gives_our_logits(name, arch, tmp_path):
    model, adapter = adapter_of(name, arch, "last", "transformers")
    folder = write(tmp_path / "mood", adapter, card="# mood")
    assert read(folder).weights.keys() == adapter.weights.keys()
    config = tiny(arch).config
    config.num_labels = len(LABELS)
    plain = AutoModelForSequenceClassification.from_config(config)
    plain.base_model.load_state_dict(tiny(arch).state_dict())
    theirs = peft.PeftModel.from_pretrained(plain.eval(), folder).eval()
    with torch.no_grad():
        found = theirs(input_ids=input_ids()).logits
    expected = hidden(model)[:, -1] @ adapter.head["weight"].T
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vera.v1", "vblora.v1", "unilora.v1", "tinylora.v1"])
def test_tensors_that_all_layers_share_keep_their_names_in_every_layout(name, tmp_path):
    kept = []
    for arch, pooling, layout in (("llama", "mean", "trunk"), ("llama", "last", "transformers")):
        _, adapter = adapter_of(name, arch, pooling, layout)
        folder = write(tmp_path / layout, adapter, card="")
        names = load_file(folder / "adapter_model.safetensors")
        kept.append({key for key in names if not key.startswith("base_model.model.")})
    assert kept[0] == kept[1] and kept[0]


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("(.*)+$", "feedforward_modules: is '(.*)+$', which may be a pattern that never ends"),
        (["x.(a+)+"], "which may be a pattern that never ends"),
        (["encoder.layer.0.intermediate.dense"], "names modules that are no targets"),
        (None, "feedforward_modules: is None"),
    ],
)
def test_a_field_of_module_names_is_read_as_strictly_as_the_targets(value, cause, tmp_path):
    folder, path = changed(tmp_path, "feedforward_modules", value)
    with pytest.raises(AdapterError) as caught:
        read(folder)
    assert cause in str(caught.value)
    assert path.name in str(caught.value)


def changed(tmp_path, field: str, value: object):
    """Write an IA3 adapter and change a field of its PEFT config, the digest with it."""
    _, adapter = adapter_of("ia3.v1", "bert", "mean", "trunk")
    folder = write(tmp_path / "mood", adapter, card="")
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    assert config["feedforward_modules"] == [f"encoder.layer.{n}.output.dense" for n in (0, 1)]
    config[field] = value
    path.write_text(json.dumps(config))
    reseal(folder)
    return folder, path


def test_a_tensor_of_no_module_that_is_not_the_kinds_own_is_refused(tmp_path):
    _, adapter = adapter_of("lora.v1", "bert", "mean", "trunk")
    adapter.weights["elsewhere.weight"] = torch.zeros(1)
    with pytest.raises(AdapterError, match="elsewhere.weight: is no name of an adapter's tensor"):
        write(tmp_path / "mood", adapter, card="")


def test_places_of_a_sparse_kind_that_lie_outside_of_the_weight_are_refused_not_read():
    """A place from a file would else be read from memory that is not the weight's."""
    model, adapter = adapter_of("shira.v1", "bert", "mean", "trunk")
    key = next(key for key in adapter.weights if key.endswith("shira_indices"))
    bad = {**adapter.weights, key: adapter.weights[key] + 10_000}
    weights.put(model, bad)
    with pytest.raises(RuntimeError, match="size is inconsistent with indices"):
        hidden(model)


def test_a_kind_names_the_fields_that_hold_modules():
    for name, kind in KINDS:
        if name == "bottleneck.v1" or kind.compound is not None:
            continue
        config = fit(tiny("bert"), settle("mood", TABLES[name])).config.to_dict()
        held = {n for n, _ in tiny("bert").named_modules() if n}
        told = {
            field
            for field, value in config.items()
            if isinstance(value, list | set) and value and set(map(str, value)) <= held
        }
        assert told == set(kind.names_modules), name
