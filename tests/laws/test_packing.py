"""L5: packing, padding and the size of micro-batches change no logit, loss or gradient.

Tolerance: 3e-5 of the largest value of each tensor, in float32, where padded rows differ by up to
2e-5 from the same in float64. Rows do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attached import KIND_NAMES
from bases import ARCHITECTURES
from models import bare, classifier, laid, rows_of
from tenon.core.errors import PlanError
from tenon.model.classifier import Classifier, loss_sum
from tenon.text.batch import Batch, of_ids
from tenon.text.order import micro_batches

TOLERANCE = 3e-5
PACKED = tuple(arch for arch in ARCHITECTURES if arch != "t5")
TYPED = ("bert", "electra")
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=7).map(lambda rows: [*rows, 1])
MODES = {"gpt2": "last", "llama": "last", "modernbert": "cls", "roberta": "cls"}


@pytest.fixture(scope="module")
def model_of(folder_of):
    """Give a shaken classifier, loaded once."""

    @cache
    def load(arch: str, which: str) -> Classifier:
        return classifier(folder_of(arch), which, pooling=MODES.get(arch, "mean"), dropout=0.0)

    return load


def gradients(model: Classifier, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
    """Give the loss and all gradients of a step over `batches`, and its logits."""
    model.train()
    model.zero_grad(set_to_none=True)
    rows = sum(int((batch.classes_X >= 0).sum()) for batch in batches)
    losses, logits = [], []
    for batch in batches:
        logits_BL = model.logits_BL(batch)
        loss = loss_sum(logits_BL, batch.classes_X)[0] / rows
        loss.backward()
        losses.append(loss.detach())
        logits.append(logits_BL.detach())
    found = {name: parameter.grad for name, parameter in model.trainable().items()}
    assert all(grad is not None for grad in found.values())
    return {**found, "loss": torch.stack(losses).sum(), "logits": torch.cat(logits)}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(grad.abs().max()) for name, grad in expected.items() if name != "logits")
    for name, tensor in expected.items():
        size = max(float(tensor.abs().max()), 1e-3 * largest)
        assert float((found[name] - tensor).abs().max()) <= TOLERANCE * size, name


def parts_of(batch: Batch, tokens: int) -> list[Batch]:
    """Cut a batch into micro-batches of at most so many tokens."""
    lengths_R = np.array(batch.lengths)
    ids = torch.split(batch.ids_T, list(batch.lengths))
    types = None if batch.types_T is None else torch.split(batch.types_T, list(batch.lengths))
    parts = []
    for rows in micro_batches(np.arange(len(batch)), lengths_R, tokens):
        kinds = None if types is None else torch.cat([types[row] for row in rows])
        taken = torch.cat([ids[row] for row in rows])
        lengths = tuple(int(n) for n in lengths_R[rows])
        parts.append(Batch(taken, kinds, lengths, batch.targets_X[torch.from_numpy(rows)], rows))
    return parts


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", PACKED)
@settings(max_examples=4)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_packed_equals_padded(arch, which, model_of, lengths, seed):
    model = model_of(arch, which)
    batch = rows_of(lengths, seed, typed=arch in TYPED)
    expected = gradients(laid(model, packed=False), [batch])
    assert_close(gradients(laid(model, packed=True), [batch]), expected)


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@settings(max_examples=3)
@given(lengths=LENGTHS, seed=st.integers(0, 99), tokens=st.integers(1, 60))
def test_the_size_of_micro_batches_does_not_matter(arch, which, model_of, lengths, seed, tokens):
    model = laid(model_of(arch, which), packed=arch in PACKED)
    batch = rows_of(lengths, seed, typed=arch in TYPED)
    expected = gradients(model, [batch])
    assert_close(gradients(model, parts_of(batch, tokens)), expected)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@settings(max_examples=6)
@given(lengths=LENGTHS, seed=st.integers(0, 99), data=st.data())
def test_rows_do_not_see_each_other(arch, model_of, lengths, seed, data):
    """One row is given other tokens, and, in turn, another length."""
    changed = data.draw(st.integers(0, len(lengths) - 1))
    ids = [row.tolist() for row in torch.split(rows_of(lengths, seed).ids_T, lengths)]
    for packed in {False, arch in PACKED}:
        model = laid(model_of(arch, "houlsby").eval(), packed=packed)
        with torch.no_grad():
            before = model.logits_BL(of_ids(ids))
            for row in ([104 - token for token in ids[changed]], [7] * 13, [9]):
                other = [*ids[:changed], row, *ids[changed + 1 :]]
                after = model.logits_BL(of_ids(other))
                kept = [place for place in range(len(ids)) if place != changed]
                torch.testing.assert_close(after[kept], before[kept], rtol=1e-6, atol=1e-6)
                if row != ids[changed]:
                    assert not torch.equal(after[changed], before[changed])


@pytest.mark.cells
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("arch", ["bert", "roberta", "modernbert", "llama", "gpt2"])
def test_a_row_that_is_not_finite_spoils_no_other(arch, packed, folder_of):
    """What overflows in one row, as it may in float16, is that row's failure alone."""
    model = laid(bare(folder_of(arch)), packed=packed)
    ids = [
        row.tolist()
        for row in torch.split(rows_of([3, 4, 5, 4, 1, 9], 1).ids_T, [3, 4, 5, 4, 1, 9])
    ]
    ids = [[token if token != 99 else 98 for token in row] for row in ids]
    with torch.no_grad():
        expected = model.logits_BL(of_ids(ids))
        for name, weight in model.trunk.model.named_parameters():
            if name.endswith(
                (
                    "word_embeddings.weight",
                    "embed_tokens.weight",
                    "wte.weight",
                    "tok_embeddings.weight",
                )
            ):
                weight[99] = torch.inf
        for broken in range(len(ids)):
            spoilt = [[99] * len(row) if n == broken else row for n, row in enumerate(ids)]
            found = model.logits_BL(of_ids(spoilt))
            kept = [place for place in range(len(ids)) if place != broken]
            assert not torch.isfinite(found[broken]).any()
            torch.testing.assert_close(found[kept], expected[kept], rtol=1e-6, atol=1e-6)


def test_t5_is_padded_and_says_why(folder_of):
    trunk = bare(folder_of("t5")).trunk
    assert not trunk.packed
    assert trunk.why == (
        "this base cannot be packed: its attention adds position_bias, which packed attention lacks"
    )
    with pytest.raises(PlanError, match='model.batches = "packed": .*position_bias.*use "auto"'):
        bare(folder_of("t5"), batches="packed")


@pytest.mark.parametrize("arch", PACKED)
def test_the_others_are_proved_packed(arch, folder_of):
    trunk = bare(folder_of(arch)).trunk
    assert trunk.packed and trunk.why == "proved equal to padded on this base"
    asked = bare(folder_of(arch), batches="padded").trunk
    assert not asked.packed and asked.why == "asked for"


@pytest.mark.parametrize("arch", ["roberta", "xlm-roberta"])
def test_a_text_that_names_the_pad_token_is_placed_as_transformers_does(arch, model_of):
    """These bases count positions from ids, and a user may write `[PAD]`."""
    model = model_of(arch, "lora")
    batch = of_ids([[0, 7, 1, 9, 2], [0, 8, 9, 2], [1, 1, 5]])
    padded = gradients(laid(model, packed=False), [laid_labels(batch)])
    assert_close(gradients(laid(model, packed=True), [laid_labels(batch)]), padded)


def laid_labels(batch: Batch) -> Batch:
    return Batch(batch.ids_T, None, batch.lengths, torch.arange(len(batch.lengths)) % 3, batch.rows)
