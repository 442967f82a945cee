"""Encoder-decoders over packed rows: what is proved, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AttentionInterface

from encoder_decoders import ENCODER_DECODERS, folder_of, seq2seq
from tenon.core.errors import PlanError
from tenon.model import trunk as trunks
from tenon.model.base import locate
from tenon.model.coded import coded_TD
from tenon.model.seq2seq import parted
from tenon.model.settings import ModelSettings
from tenon.model.sided import SIDED, SPARE, runs_of, sided_attention
from tenon.text.batch import of_ids

HERE = torch.device("cpu")
PAIRS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    cache = tmp_path_factory.mktemp("coded")
    return lambda arch: folder_of(cache, arch)


@given(PAIRS, st.booleans())
def test_runs_hold_every_row_once_and_little_padding(pairs, causal):
    queries, keys = zip(*pairs, strict=True)
    keys = queries if causal else keys
    runs = runs_of(queries, keys, HERE, causal=causal)
    assert sum(len(run.place_RL) for run in runs) == len(pairs)
    assert sum(run.queries for run in runs) == sum(queries)
    assert sum(run.keys for run in runs) == sum(keys)
    seen = [int(row.sum()) for run in runs for row in run.seen_R1LK[:, 0, 0]]
    assert seen == ([1] * len(pairs) if causal else list(keys))
    first = 0
    for run in runs:
        rows = slice(first, first + len(run.place_RL))
        first = rows.stop
        real = sum(q * k for q, k in zip(queries[rows], keys[rows], strict=True))
        assert run.place_RL.numel() * run.place_RK.shape[1] <= SPARE * real
        assert run.place_RL.reshape(-1)[run.back_T].tolist() == list(range(run.queries))


def test_rows_are_parted_at_the_first_token_that_is_learned():
    ids = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    batch = of_ids(ids)
    weights = torch.tensor([0, 0, 1, 1, 0, 0, 0, 1, 0.5])
    rows = parted(torch_batch(batch, weights), start=(2, 3))
    assert rows.source == (2, 2, 1)
    assert rows.said == (4, 2, 4)
    assert rows.source_S.tolist() == [5, 6, 9, 10, 11]
    assert rows.said_T.tolist() == [2, 3, 7, 8, 2, 3, 2, 3, 12, 13]
    assert rows.places_U.tolist() == [1, 2, 7, 8]
    assert rows.ids_U.tolist() == [7, 8, 12, 13]
    assert rows.weights_U.tolist() == [1, 1, 1, 0.5]


def torch_batch(batch, weights):
    return type(batch)(batch.ids_T, None, batch.lengths, weights, batch.rows)


@pytest.mark.parametrize("arch", ENCODER_DECODERS)
def test_no_row_sees_another(arch, base_of):
    trunk = seq2seq(base_of(arch), adapter=False).trunk
    rows = [([5, 6, 7], [2, 9, 8, 4]), ([11, 12, 13, 14, 15], [2, 7]), ([20], [2, 30, 31])]

    def states(rows):
        sides = [[row[side] for row in rows] for side in (0, 1)]
        ids = [torch.tensor([token for row in side for token in row]) for side in sides]
        lengths = [[len(row) for row in side] for side in sides]
        with torch.no_grad():
            found_TD, _ = coded_TD(trunk.model, *ids, *lengths)
        return found_TD.split(lengths[1])

    together = states(rows)
    for row, found_TD in zip(rows, together, strict=True):
        assert torch.allclose(states([row])[0], found_TD, atol=1e-5)
    other = states([([40, 41, 42], rows[0][1]), *rows[1:]])
    assert not torch.allclose(other[0], together[0], atol=1e-3)
    assert torch.allclose(other[1], together[1], atol=1e-5)


@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_what_counts_positions_is_put_back(arch, base_of):
    model = seq2seq(base_of(arch), adapter=False).trunk.model
    before = {name: dict(vars(part)) for name, part in model.named_modules()}
    asked = torch.tensor([5, 6, 7]), torch.tensor([2, 8])
    with torch.no_grad():
        coded_TD(model, *asked, [3], [2])
        with pytest.raises(IndexError):
            coded_TD(model, asked[0] + 10**6, asked[1], [3], [2])
    for name, part in model.named_modules():
        assert vars(part) == before[name], name


def test_zeros_for_all_pairs_of_tokens_are_not_made(base_of, monkeypatch):
    model = seq2seq(base_of("t5"), adapter=False).trunk.model
    shapes = []

    def note(module, *given, borders, position_bias, **named):
        shapes.append(None if position_bias is None else tuple(position_bias.shape[2:]))
        return sided_attention(
            module, *given, borders=borders, position_bias=position_bias, **named
        )

    AttentionInterface.register(SIDED, note)
    try:
        with torch.no_grad():
            coded_TD(model, torch.arange(5, 10), torch.arange(5, 14), [3, 2], [7, 2])
    finally:
        AttentionInterface.register(SIDED, sided_attention)
    assert shapes == [(3, 3)] * 2 + [(7, 7), None] * 2


def test_a_base_that_differs_is_padded_and_said_to_be(base_of, monkeypatch):
    monkeypatch.setattr("tenon.model.coded._Biased.__call__", lambda *_, **__: None)
    settings = ModelSettings(device="cpu")
    trunk = trunks.load(locate(str(base_of("t5"))), settings, writes=True)
    assert not trunk.packed
    assert "its hidden states differ by" in trunk.why
    with pytest.raises(PlanError, match=r"model.batches = \"packed\": this base cannot be packed"):
        trunks.load(
            locate(str(base_of("t5"))), settings.model_copy(update={"batches": "packed"}),
            writes=True,
        )  # fmt: skip
