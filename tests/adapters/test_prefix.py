"""Prefixes against plain arithmetic, with and without a cache, alone and row by row."""

from __future__ import annotations

import peft
import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
)
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import families
from attached import attach, hidden, shake
from bases import CONFIGS, HIDDEN, LAYERS, input_ids, tiny
from models import rows_of
from racks import alone, mixed, rack_of
from tenon.adapters import weights
from tenon.adapters.composition import Average, Stack
from tenon.adapters.prefix_attention import ATTENTION, Prefix, Run, beside
from tenon.adapters.prefix_config import PrefixConfig
from tenon.adapters.prefix_layer import PrefixLayer, heads_of
from tenon.core.errors import AdapterError, PlanError, RunError

PREFIX = {"kind": "prefix.v1", "length": 3}
PUBLISHED = {**PREFIX, "start": "published"}
BOTH = pytest.mark.parametrize("table", [PREFIX, PUBLISHED], ids=["gated", "published"])
CLOSE = {"rtol": 1e-4, "atol": 2e-5}
REFERENCE = "reference"
SEEN: dict[torch.nn.Module, Prefix] = {}


def reference(module, query, key, value, mask, *, scaling=None, position_bias=None, **_):
    """Attend by the published formula: equation 5 of He et al. 2022, gated head by head."""
    held = SEEN[module]
    group = query.shape[1] // key.shape[1]
    key, value, front, fill = (
        states.repeat_interleave(group, -3) for states in (key, value, held.key_KPD, held.value_KPD)
    )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    own = query @ key.transpose(-1, -2) * scale + (0 if position_bias is None else position_bias)
    if mask is not None:
        own = own.masked_fill(~mask, -torch.inf)
    elif getattr(module, "is_causal", False):
        own = own.masked_fill(~torch.ones(own.shape[-2:]).tril().bool(), -torch.inf)
    ahead = query @ front.transpose(-1, -2) * scale
    share = torch.sigmoid(ahead.logsumexp(-1) - own.logsumexp(-1))[..., None]
    plain, added = own.softmax(-1) @ value, ahead.softmax(-1) @ fill
    gate = 1 if held.gate_H is None else held.gate_H[:, None, None]
    return (plain + gate * share * (added - plain)).transpose(1, 2), None


AttentionInterface.register(REFERENCE, reference)
AttentionMaskInterface.register(REFERENCE, sdpa_mask)


def by_reference(model: peft.PeftModel, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Give the hidden states of the bare base under the formula, with the prefixes of a model."""
    layers = [m for m in model.modules() if isinstance(m, PrefixLayer)]
    SEEN.clear()
    SEEN.update({layer.base_layer: layer.prefixes()[0] for layer in layers})
    base = model.unload()
    base.set_attn_implementation(REFERENCE)
    with torch.no_grad():
        return base(input_ids=ids, attention_mask=real).last_hidden_state[real.bool()]


@pytest.mark.cells
@BOTH
@pytest.mark.parametrize(
    "arch", ["bert", "distilbert", "modernbert", "llama", "mistral", "qwen3", "gpt2", "t5"]
)
def test_it_computes_the_published_formula(arch, table):
    model = attach(tiny(arch), table)
    shake(model)
    ids = input_ids(tokens=9)
    real = torch.ones_like(ids)
    real[1, 5:] = 0
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=real).last_hidden_state[real.bool()]
    assert len([m for m in model.modules() if isinstance(m, PrefixLayer)]) == LAYERS
    torch.testing.assert_close(by_reference(model, ids, real), found, **CLOSE)


@pytest.mark.cells
@BOTH
@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2"])
def test_a_mask_of_any_form_is_extended(arch, table):
    """sdpa's is of truths, eager's is added; without padding some have none."""
    eager, sdpa = tiny(arch), tiny(arch)
    eager.set_attn_implementation("eager")
    models = [attach(base, table) for base in (eager, sdpa)]
    for model in models:
        shake(model)
    ids = input_ids(tokens=6)
    for real in (torch.ones_like(ids), torch.ones_like(ids).index_fill(1, torch.tensor([0]), 0)):
        one, other = (m(input_ids=ids, attention_mask=real).last_hidden_state for m in models)
        torch.testing.assert_close(one[real.bool()], other[real.bool()], **CLOSE)
    assert eager.config._attn_implementation == "eager"


def test_a_published_prefix_is_seen_at_once_and_a_gated_one_only_by_its_gate():
    before = hidden(tiny("bert"))
    fresh = attach(tiny("bert"), PUBLISHED)
    assert not torch.allclose(hidden(fresh), before, atol=1e-3)
    gated = attach(tiny("bert"), PREFIX)
    assert torch.equal(hidden(gated), before)
    for layer in gated.modules():
        if isinstance(layer, PrefixLayer):
            layer.prefix_gate["default"].data.fill_(1.0)
    torch.testing.assert_close(hidden(gated), hidden(fresh), **CLOSE)


def test_parameters_are_counted_by_key_value_heads():
    """Two of four heads have keys and values of their own; each of the four has a gate."""
    model = attach(tiny("llama"), PREFIX)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == LAYERS * (2 * 2 * 3 * HIDDEN // 4 + 4)
    assert heads_of(tiny("llama").layers[0].self_attn) == (4, 2, 8)


def test_a_window_does_not_hide_it():
    config = CONFIGS["mistral"]()
    config.sliding_window = 2
    model = attach(families.built(config), PUBLISHED)
    bare = hidden(families.built(config), input_ids(tokens=12))
    assert not torch.allclose(hidden(model, input_ids(tokens=12))[:, 9:], bare[:, 9:], atol=1e-3)


def written(model, ids: torch.Tensor, real: torch.Tensor, *, cached: bool) -> torch.Tensor:
    with torch.no_grad():
        return model.generate(
            input_ids=ids,
            attention_mask=real,
            max_new_tokens=6,
            do_sample=False,
            use_cache=cached,
            eos_token_id=None,
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
        )


@pytest.mark.cells
@BOTH
@pytest.mark.parametrize("arch", ["llama", "mistral", "qwen3", "gpt2"])
def test_a_decoder_writes_with_a_cache_what_it_writes_without(arch, table):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[arch]()).eval()
    names = [n for n, m in model.named_modules() if n.endswith(("self_attn", ".attn"))]
    config = PrefixConfig(target_modules=names, length=3, start=table.get("start", "identity"))
    held = peft.get_peft_model(model, config).eval()
    shake(held)
    ids = input_ids(tokens=5)
    real = torch.ones_like(ids)
    real[0, :2] = 0
    cached, plain = (written(held, ids, real, cached=way) for way in (True, False))
    assert torch.equal(cached.sequences, plain.sequences)
    for one, other in zip(cached.scores, plain.scores, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    assert cached.past_key_values.get_seq_length() == 5 + 6 - 1
    with held.disable_adapter():
        bare = written(held, ids, real, cached=True)
    assert not torch.allclose(bare.scores[0], cached.scores[0], atol=1e-3)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("family", families.STACKED)
def test_an_encoder_decoder_writes_with_a_cache_what_it_writes_without(family):
    torch.manual_seed(0)
    config = families.FAMILIES[family]()
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    ends = ("SelfAttention", "EncDecAttention", "self_attn", "encoder_attn")
    names = [n for n, _ in model.named_modules() if n.endswith(ends)]
    held = peft.get_peft_model(model, PrefixConfig(target_modules=names, length=3)).eval()
    shake(held)
    assert len(names) == 3 * LAYERS
    ids = input_ids(tokens=5)
    cached, plain = (written(held, ids, torch.ones_like(ids), cached=way) for way in (True, False))
    for one, other in zip(cached.scores, plain.scores, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_two_adapters_on_one_model_are_told_apart(tmp_path):
    model = attach(tiny("bert"), PREFIX)
    shake(model)
    one = hidden(model)
    model.add_adapter("other", PrefixConfig(target_modules=["attention.self"], length=2))
    assert torch.equal(hidden(model), one)
    model.set_adapter("other")
    assert torch.equal(hidden(model), hidden(tiny("bert")))
    model.set_adapter("default")
    model.delete_adapter("other")
    assert torch.equal(hidden(model), one)
    model.save_pretrained(tmp_path)
    base = tiny("bert")
    base.load_adapter(tmp_path, adapter_name="mood")
    assert torch.equal(hidden(base.eval()), one)


OF_ONE = {"bert": "*.0.attention.self", "llama": "layers.0.self_attn", "gpt2": "h.0.attn"}
NAMES = (None, "a", "b", "c", "d")


def rack_on(folder, arch: str, **settings):
    """Give prefixes of several lengths, gated and not, and LoRA inside of their modules."""
    tables = {
        "a": {**PREFIX, "length": 2},
        "b": {**PUBLISHED, "length": 5},
        "c": {"kind": "lora.v1", "sites": ["attention.query", "attention.out"]},
        "d": {**PREFIX, "sites": [OF_ONE[arch]]},
    }
    return rack_of(folder, tables, **settings)


@pytest.mark.cells
@pytest.mark.parametrize("batches", ["packed", "padded"])
@pytest.mark.parametrize("arch", list(OF_ONE))
def test_l9_rows_of_a_batch_see_their_own_prefixes(arch, batches, folder_of):
    rack = rack_on(folder_of(arch), arch, batches=batches)
    owners, lengths = ["a", None, "b", "c", "a", "d", "b"], [3, 7, 5, 4, 6, 2, 9]
    batch = rows_of(lengths)
    with torch.no_grad(), rack.all() as router, router.on(rack.route(owners, batch.lengths)):
        found = rack.trunk.hidden_TD(batch).split(lengths)
    answers = {n: alone(rack, n, batch).split(lengths) for n in NAMES}
    for row, owner in enumerate(owners):
        torch.testing.assert_close(found[row], answers[owner][row], **CLOSE)
        assert owner is None or not torch.allclose(found[row], answers[None][row], atol=1e-3)


@pytest.mark.parametrize("batches", ["packed", "padded"])
def test_gradients_of_routed_rows_are_those_of_each_alone(batches, folder_of):
    rack = rack_on(folder_of("bert"), "bert", batches=batches)
    owners, batch = ["a", "b", None, "a"], rows_of([5, 3, 6, 4])
    wanted = torch.randn(batch.tokens, HIDDEN, generator=torch.manual_seed(0))
    held = [
        parameter.requires_grad_()
        for name in ("a", "b")
        for layer in rack.fittings[name].layers.values()
        for key, parameter in layer.named_parameters()
        if "prefix_" in key
    ]

    def gradients(compute) -> list[torch.Tensor]:
        for parameter in held:
            parameter.grad = None
        compute()
        return [parameter.grad.clone() for parameter in held]

    def one_by_one():
        for name in ("a", "b"):
            with rack.only(name):
                rows = rack.trunk.hidden_TD(batch).split(list(batch.lengths))
                parts = wanted.split(list(batch.lengths))
                mine = [row for row, owner in enumerate(owners) if owner == name]
                sum((rows[row] * parts[row]).sum() for row in mine).backward()

    def together(again):
        def states(_):
            return rack.trunk.hidden_TD(batch)

        def compute():
            given = torch.zeros(1, requires_grad=True)
            with rack.all() as router, router.on(rack.route(owners, batch.lengths)):
                way = checkpoint(states, given, use_reentrant=False) if again else states(given)
                (way * wanted).sum().backward()

        return compute

    expected = gradients(one_by_one)
    for again in (False, True):
        for found, gradient in zip(gradients(together(again)), expected, strict=True):
            assert gradient.abs().max() > 0
            torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batches", ["packed", "padded"])
def test_compositions_add_what_each_prefix_changes(batches, folder_of):
    """At the first module by the formula; what comes behind it is the base's."""
    rack = rack_on(folder_of("bert"), "bert", batches=batches)
    first = "encoder.layer.0.attention.self"
    batch = rows_of([4, 6])
    seen: list[torch.Tensor] = []

    def outputs(compute) -> torch.Tensor:
        del seen[:]
        place = rack.trunk.model.get_submodule("encoder.layer.0.attention.output")
        hook = place.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        compute()
        hook.remove()
        (found,) = seen
        return found

    bare = outputs(lambda: alone(rack, None, batch))
    a, b, d = (outputs(lambda n=n: alone(rack, n, batch)) for n in "abd")
    assert first in rack.bases
    half = outputs(lambda: mixed(rack, Average({"a": 0.5, "b": 0.25}), batch))
    torch.testing.assert_close(half, bare + 0.5 * (a - bare) + 0.25 * (b - bare), **CLOSE)
    both = outputs(lambda: mixed(rack, Stack("a", "d"), batch))
    torch.testing.assert_close(both, a + d - bare, **CLOSE)
    nested = outputs(lambda: mixed(rack, Average({Stack("a", "b"): 0.5, "d": 2.0}), batch))
    torch.testing.assert_close(
        nested, bare + 0.5 * (a + b - 2 * bare) + 2 * (d - bare), rtol=1e-4, atol=1e-4
    )


class Odd(torch.nn.Module):
    """An attention module that does what it is told with the function of its config."""

    def __init__(self, *, asks: bool, sizes=(1, 2, 3, 4)):
        super().__init__()
        self.config = CONFIGS["bert"]()
        self.config._attn_implementation = "sdpa"
        self.asks, self.sizes, self.is_causal = asks, sizes, False

    def forward(self):
        states = torch.ones(self.sizes)
        function = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        return function(self, states, states, states, None)[0] if self.asks else states


def prefix_of(heads: int = 2, channels: int = 4) -> Prefix:
    return Prefix(torch.ones(heads, 3, channels), torch.ones(heads, 3, channels))


def test_a_module_that_does_not_ask_is_refused_and_its_config_is_as_before():
    with pytest.raises(PlanError, match="Odd did not call transformers' attention function"):
        beside(Odd(asks=False), [Run(None, (prefix_of(),))], (), {})
    module = Odd(asks=True)
    for wrong in (prefix_of(heads=1), prefix_of(channels=2)):
        with pytest.raises(PlanError, match="asks for"):
            beside(module, [Run(None, (wrong,))], (), {})
        assert module.config._attn_implementation == "sdpa"
    assert beside(module, [Run(None, (prefix_of(),))], (), {}).shape == (1, 3, 2, 4)


@pytest.mark.parametrize(("name", "upcast"), [("flash_attention_2", False), ("eager", True)])
def test_an_attention_function_that_takes_no_prefix_is_refused(name, upcast):
    module = Odd(asks=True)
    module.config._attn_implementation, module.reorder_and_upcast_attn = name, upcast
    with pytest.raises(RunError, match=f"attention {name}: cannot take a prefix"):
        beside(module, [Run(None, (prefix_of(),))], (), {})
    assert module.config._attn_implementation == name


@pytest.mark.parametrize("sizes", [[1], [4], [1, 1], [2, 2], [3, 1]], ids=str)
def test_runs_of_another_batch_are_told(sizes):
    module = Odd(asks=True, sizes=(3, 2, 3, 4))
    runs = [Run(size, (prefix_of(),)) for size in sizes]
    with pytest.raises(RunError, match="a batch of 3 rows is not the one that was routed"):
        beside(module, runs, (), {})
    assert beside(module, [Run(1, ()), Run(2, (prefix_of(),))], (), {}).shape == (3, 3, 2, 4)


def test_a_failure_inside_leaves_the_config_as_it_was():
    model = attach(tiny("llama"), PREFIX)
    handle = model.base_model.model.layers[1].self_attn.o_proj.register_forward_pre_hook(
        lambda *_: (_ for _ in ()).throw(ValueError("planted"))
    )
    with pytest.raises(ValueError, match="planted"):
        hidden(model)
    handle.remove()
    assert model.config._attn_implementation == "sdpa" != ATTENTION
    assert torch.equal(hidden(model), hidden(tiny("llama")))


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet", "falcon"])
def test_a_base_that_attends_by_itself_is_refused_by_plain_peft_too(family):
    ends = {"deberta-v2": "attention.self", "mpnet": "attn", "falcon": "self_attention"}
    config = PrefixConfig(target_modules=[ends[family]])
    with pytest.raises(PlanError, match="a prefix sits on an attention module that calls"):
        peft.get_peft_model(families.tiny(family), config)


def test_rows_with_adapters_of_their_own_are_refused_in_plain_peft():
    model = attach(tiny("bert"), PREFIX)
    with pytest.raises(AdapterError, match="adapter_names: prefix.v1"):
        model(input_ids=input_ids(), adapter_names=["default", "__base__"])


def test_values_that_mean_nothing_are_refused_together():
    with pytest.raises(PlanError) as caught:
        PrefixConfig(length=0, dropout=1.0, start="near")
    assert [line.split(" ")[1] for line in str(caught.value).splitlines()] == [
        "length", "dropout", "start",
    ]  # fmt: skip


def test_a_compiled_model_sees_its_prefix():
    model = attach(tiny("bert"), PREFIX)
    shake(model)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        found = compiled(input_ids=input_ids()).last_hidden_state
    torch.testing.assert_close(found, hidden(model), **CLOSE)
    assert weights.take(model).keys() == weights.take(attach(tiny("bert"), PREFIX)).keys()
