"""What the adapters floor leans on in PEFT; each message says what to change when it moves."""

from __future__ import annotations

import inspect
import warnings

import peft
import pytest
import torch
from peft import PeftModel, PeftType
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.peft_types import register_peft_method

from attached import attached, hidden
from bases import input_ids, tiny
from tenon.adapters.bottleneck import PREFIX, BottleneckConfig, BottleneckModel
from tenon.adapters.bottleneck_config import BottleneckType
from tenon.adapters.bottleneck_layer import BottleneckLayer

HERE = "adapters/bottleneck.py"


def test_peft_has_no_bottleneck_of_its_own():
    assert "BOTTLENECK" not in list(PeftType), (
        f"PEFT has bottleneck adapters now: compare them with ours, prefer them, retire {HERE}"
    )


def test_methods_outside_pefts_own_list_cannot_be_registered_openly():
    with pytest.raises(ValueError, match="Unknown PEFT type"):
        register_peft_method(
            name="bottleneck2", config_cls=BottleneckConfig, model_cls=BottleneckModel
        )


def test_the_mappings_are_plain_dictionaries_that_know_our_method():
    member = BottleneckType.BOTTLENECK
    for mapping in (
        PEFT_TYPE_TO_CONFIG_MAPPING,
        PEFT_TYPE_TO_TUNER_MAPPING,
        PEFT_TYPE_TO_PREFIX_MAPPING,
    ):
        assert isinstance(mapping, dict), "adapters/method.py: enter() writes into dictionaries"
        assert mapping[member] is mapping["BOTTLENECK"], (
            f"{HERE}: a config read from JSON has the type as a string; both must find the method"
        )
    assert PREFIX == BottleneckModel.prefix == f"{member.value.lower()}_", (
        "transformers looks for the lower-cased type in tensor names"
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (
            "_create_and_replace",
            "self peft_config adapter_name target target_name parent current_key parameter_name",
        ),
        ("_replace_module", "self parent child_name new_module child"),
        ("_check_new_adapter_config", "self config"),
        ("_prepare_adapter_config", "self peft_config model_config"),
        ("_check_target_module_exists", "peft_config key"),
        ("_check_tied_modules", "self model peft_config"),
        ("_check_merge_allowed", "self"),
    ],
)
def test_the_tuners_hooks_are_there_with_the_parameters_that_we_override(name, parameters):
    upstream = inspect.signature(getattr(BaseTuner, name)).parameters
    ours = inspect.signature(getattr(BottleneckModel, name)).parameters
    assert list(upstream) == parameters.split(), f"{HERE}: adapt BottleneckModel.{name}"
    assert list(ours) == list(upstream)


@pytest.mark.parametrize("name", ["merge", "unmerge", "set_adapter"])
def test_the_layers_methods_take_what_ours_take(name):
    upstream = list(inspect.signature(getattr(BaseTunerLayer, name)).parameters)
    assert list(inspect.signature(getattr(BottleneckLayer, name)).parameters) == upstream, (
        f"adapters/bottleneck_layer.py: adapt BottleneckLayer.{name}"
    )


@pytest.mark.parametrize(
    "name",
    [
        "_disable_adapters",
        "merged_adapters",
        "_cast_input_dtype",
        "active_adapters",
        "disable_adapters",
        "get_base_layer",
        "weight",
        "delete_adapter",
    ],
)
def test_the_layer_has_what_ours_uses(name):
    assert hasattr(BaseTunerLayer, name), (
        f"adapters/bottleneck_layer.py: BottleneckLayer uses BaseTunerLayer.{name}, which is gone"
    )


def test_an_adapters_name_is_taken_out_of_the_last_but_one_place_of_a_tensors_name_only():
    """Why the tensors of `coupling.Coupling` lie side by side, and in no modules of its own."""
    taken_out = BaseTuner._remove_adapter_name_from_key
    assert taken_out("x.bottleneck_up.mood.weight", "mood") == "x.bottleneck_up.weight"
    assert taken_out("x.bottleneck_scale.mood", "mood") == "x.bottleneck_scale"
    deep = "x.bottleneck_coupling.mood.first.0.weight"
    assert taken_out(deep, "mood") == deep, "adapters/coupling.py: modules would do now"


def test_an_adapter_can_share_no_state_that_is_not_in_a_layer():
    """Why the first layer holds the rule of Kronecker products: `load_adapter` keeps layers."""
    assert BaseTuner.uses_shared_state is False
    assert "uses_shared_state" in inspect.getsource(peft.inject_adapter_in_model), (
        "adapters/bottleneck.py: the tuner itself could hold the shared rule now"
    )


def test_peft_model_enters_the_tuners_hook_around_every_forward():
    assert "_enable_peft_forward_hooks" in inspect.getsource(PeftModel.forward), (
        f"{HERE}: adapter_names is refused in _enable_peft_forward_hooks; find where it goes now"
    )


def test_without_our_refusal_an_adapter_per_row_would_be_ignored():
    """Every kind without a hook gives each row the active adapter, without a word."""
    config = peft.IA3Config(
        target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]
    )
    model = peft.get_peft_model(tiny("bert"), config).eval()
    before = hidden(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ia3_" in name:
                parameter.fill_(3.0)
        out = model(input_ids=input_ids(), adapter_names=["__base__"] * 2).last_hidden_state
    assert not torch.equal(out, before), (
        "PEFT honours or refuses adapter_names for every kind now: the refusal may go"
    )


def test_long_target_lists_are_shortened_in_memory():
    model = attached("bert", "lora")
    few = model.peft_config["default"].target_modules
    assert len(few) == 12, "PEFT shortens shorter lists than 20 now; see pack.target_modules"
    trunk = tiny("bert")
    trunk.encoder.layer.extend(tiny("bert", seed=1).encoder.layer)
    names = [n for n, m in trunk.named_modules() if isinstance(m, torch.nn.Linear) and "layer" in n]
    model = peft.get_peft_model(trunk, peft.LoraConfig(target_modules=names))
    assert len(model.peft_config["default"].target_modules) < len(names), (
        "PEFT leaves target lists alone now: pack.target_modules need not restore them"
    )


def test_state_dicts_can_leave_the_embeddings_out():
    parameters = inspect.signature(peft.get_peft_model_state_dict).parameters
    assert "save_embedding_layers" in parameters, "adapters/weights.py: adapt take() and put()"


def test_a_wrong_state_dict_is_taken_without_an_error():
    model = attached("bert", "houlsby")
    peft.set_peft_model_state_dict(model, {"base_model.model.nothing": torch.zeros(1)})
    # reaching this line is the fact: weights.put compares names and shapes itself


def test_an_adapter_named_like_a_method_of_torch_breaks():
    with pytest.raises(KeyError, match="attribute 'train' already exists"):
        peft.get_peft_model(tiny("bert"), peft.LoraConfig(target_modules=["query"]), "train")
    # why weights.PEFT_NAME is one fixed name inside PEFT, whatever the user calls the adapter


def test_a_pattern_from_a_file_is_run_as_a_regular_expression():
    model = peft.get_peft_model(tiny("bert"), peft.LoraConfig(target_modules=r".*\.(query|key)"))
    assert len(model.base_model.targeted_module_names) == 4, (
        "PEFT no longer runs patterns: directory.read_config may be less strict"
    )


def test_the_warning_that_pyproject_lets_pass_is_still_raised():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attached("bert", "lora")
    assert any("is_gradient_checkpointing" in str(warning.message) for warning in caught), (
        "PEFT uses the new name: remove the filter from pyproject.toml"
    )
