"""Blocks: their numbers are read from names of modules as the models have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bases import ARCHITECTURES, LAYERS, tiny
from tenon.adapters import sites
from tenon.adapters.blocks import Block, block_of, check_labels, choose, is_among
from tenon.core.errors import PlanError
from whole import ENCODER_DECODERS, whole


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("encoder.layer.3.output.dense", Block("encoder", 3)),
        ("base_model.model.encoder.layer.11.attention.self.query", Block("encoder", 11)),
        ("layers.0.mlp.down_proj", Block("", 0)),
        ("h.2", Block("", 2)),
        ("decoder.block.1.layer.2.DenseReluDense.wo", Block("decoder", 1)),
        ("model.decoder.layers.4.encoder_attn.out_proj", Block("decoder", 4)),
        ("layers.5.mlp.experts.7.w1", Block("", 5)),
        ("embeddings.word_embeddings", None),
        ("pooler.dense", None),
        ("lm_head2", None),
        ("", None),
    ],
)
def test_the_first_number_is_the_blocks(module, block):
    assert block_of(module) == block


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *ENCODER_DECODERS])
def test_every_layer_of_a_model_has_its_number(arch):
    model = whole(arch) if arch in ENCODER_DECODERS else tiny(arch)
    found = sites.places(model).modules
    blocks = [block_of(name) for name in found["layer"]]
    stacks = 2 if arch in ENCODER_DECODERS else 1
    assert [block.number for block in blocks] == [*range(LAYERS)] * stacks
    assert block_of(found["embeddings"][0]) is None
    if stacks == 2:
        assert [block.stack for block in blocks] == ["encoder"] * LAYERS + ["decoder"] * LAYERS


def test_a_label_with_a_stack_is_closer_than_one_without():
    values = {"decoder.1": 1.0, "1": 2.0, "default": 3.0}
    assert choose("decoder.block.1.layer.0.o", values) == 1.0
    assert choose("encoder.block.1.layer.0.o", values) == 2.0
    assert choose("encoder.block.0.layer.0.o", values) == 3.0
    assert choose("shared", values) == 3.0
    with pytest.raises(PlanError, match=r"says nothing of decoder.layers.0.fc2; it has 1"):
        choose("decoder.layers.0.fc2", {"1": 2.0})


@given(st.integers(0, 40), st.lists(st.integers(0, 40)), st.sampled_from(["encoder", "decoder"]))
def test_a_module_is_among_the_labels_that_name_its_block(number, labels, stack):
    name = f"{stack}.layers.{number}.fc1"
    assert is_among(name, map(str, labels)) == (number in labels)
    assert is_among(name, [f"{stack}.{each}" for each in labels]) == (number in labels)
    other = "decoder" if stack == "encoder" else "encoder"
    assert not is_among(name, [f"{other}.{each}" for each in labels])
    assert not is_among("embeddings", map(str, labels))


def test_labels_without_a_layer_are_told_one_a_line():
    names = [f"decoder.block.{number}.layer.0" for number in range(3)]
    check_labels("leave_out", ["0", "decoder.2", "default"], names)
    with pytest.raises(PlanError) as caught:
        check_labels("leave_out", ["3", "encoder.0", "1"], names)
    assert str(caught.value).splitlines() == [
        "leave_out: 3 has no effect, there is no such layer here; they are 0 to 2",
        "leave_out: encoder.0 has no effect, there is no such layer here; they are 0 to 2",
    ]
    with pytest.raises(PlanError, match="none has a number"):
        check_labels("leave_out", ["0"], ["pooler"])


def test_a_default_that_nothing_is_left_to_has_no_effect():
    names = ["h.0.mlp", "h.1.mlp"]
    with pytest.raises(PlanError, match="default has no effect, every layer has its own"):
        check_labels("reduction", ["0", "1", "default"], names)
    check_labels("reduction", ["0", "1", "default"], [*names, "wte"])
