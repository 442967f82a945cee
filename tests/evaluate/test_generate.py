"""Generate: greedy answers in batches are those that the base gives token by token."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tenon.evaluate.generate import Said, clipped, generate, room
from tenon.evaluate.settings import EvaluateSettings
from tenon.evaluate.together import stay, together_fault
from tenon.evaluate.write import How, write
from tenon.text.batch import of_ids
from writers import DECODERS, causal_folder, examples, pairs, renderer_of, tokens_of, writer


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    cache = tmp_path_factory.mktemp("decoders")
    return lambda arch: causal_folder(cache, arch)


def by_hand(model, prompt: list[int], stop: int, most: int) -> list[int]:
    """Write one token after another, each from the whole row, without a cache."""
    ids = list(prompt)
    with torch.no_grad():
        while len(ids) < len(prompt) + most:
            token = int(model.next_logits_BV(of_ids([ids])).argmax())
            if token == stop:
                break
            ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("arch", DECODERS)
@pytest.mark.parametrize("batch_tokens", [1, 60, 9999])
def test_batches_padding_and_the_cache_change_no_answer(arch, batch_tokens, base_of):
    model = writer(base_of(arch), shaken=True)
    chance = np.random.default_rng(1)
    prompts = [chance.integers(5, 100, n).tolist() for n in (1, 7, 3, 12, 3, 20)]
    stop = by_hand(model, prompts[1], -1, 12)[4]
    found = generate(
        model, prompts, stop_ids=(stop, 1), max_new_tokens=12, batch_tokens=batch_tokens
    )
    expected = [by_hand(model, prompt, stop, 12) for prompt in prompts]
    assert [said.ids for said in found] == [
        ids[: ids.index(1)] if 1 in ids else ids for ids in expected
    ]
    assert any(said.ended for said in found)
    assert all(said.ended or len(said.ids) == 12 for said in found)


ASKED = {"stop_ids": (2,), "max_new_tokens": 12, "batch_tokens": 300}


def test_a_base_that_changes_greedy_answers_is_left_to_transformers(base_of):
    model = writer(base_of("llama"), shaken=True)
    prompts = [[5, 6, 7], [8, 9, 10, 11]]
    assert together_fault(model) == ""
    plain = [said.ids for said in generate(model, prompts, **ASKED)]
    model.trunk.whole.generation_config.repetition_penalty = 1.8
    assert "repetition_penalty to 1.8" in together_fault(model)
    found = [said.ids for said in generate(model, prompts, **ASKED)]
    assert found != plain
    assert all(len(set(ids)) >= len(set(before)) for ids, before in zip(found, plain, strict=True))


def test_rows_that_fail_together_are_left_to_transformers(base_of):
    model = writer(base_of("qwen3"), shaken=True)
    chance = np.random.default_rng(3)
    prompts = [chance.integers(5, 100, n).tolist() for n in (4, 25, 9, 30)]
    expected = [said.ids for said in generate(model, prompts, **ASKED)]
    failed = []

    def fail(module, given, named):
        if "borders" in named and named["position_ids"].max() >= 27:
            failed.append(1)
            raise ValueError("planted")

    hook = model.trunk.model.register_forward_pre_hook(fail, with_kwargs=True)
    try:
        assert [said.ids for said in generate(model, prompts, **ASKED)] == expected
    finally:
        hook.remove()
    assert failed


def test_what_stays_between_calls_changes_no_answer(base_of):
    chance = np.random.default_rng(4)
    parts = [[chance.integers(5, 100, n).tolist() for n in sizes] for sizes in ((4, 9), (30, 2, 7))]
    fresh = [generate(writer(base_of("gpt2"), shaken=True), part, **ASKED) for part in parts]
    model = writer(base_of("gpt2"), shaken=True)
    stay(model)
    for _ in range(2):
        assert [generate(model, part, **ASKED) for part in parts] == fresh


def test_writing_in_the_midst_of_training_changes_nothing(base_of):
    model = writer(base_of("llama"), dropout=0.3).train()
    attention = model.trunk.model.config._attn_implementation
    before = [m.training for m in model.modules()], torch.get_rng_state(), random.getstate()
    weights = [p.clone() for p in model.parameters()]
    how = How(renderer_of(base_of("llama")), EvaluateSettings(max_new_tokens=5), 0)
    write(model, tokens_of(base_of("llama")), (), batch_tokens=90, how=how)
    assert [m.training for m in model.modules()] == before[0]
    assert torch.equal(torch.get_rng_state(), before[1]) and random.getstate() == before[2]
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert model.trunk.model.config._attn_implementation == attention != "tenon_packed"
    assert torch.is_grad_enabled()


def test_a_sample_depends_on_ids_and_seed_alone(base_of):
    model, folder = writer(base_of("llama")), base_of("llama")
    given = list({example.id: example for example in examples(pairs(30))}.values())

    def answered(rows, seed):
        settings = EvaluateSettings(max_new_tokens=4, written_rows=10)
        how = How(renderer_of(folder), settings, seed)
        made = write(model, tokens_of(folder, rows), (), batch_tokens=900, how=how)
        assert len(made) == len(rows)
        return {i: a for i, a in zip(made.ids, made.answers, strict=True) if a is not None}

    first = answered(given, 1)
    assert len(first) == 10
    assert first == answered(given[::-1], 1)
    assert first.keys() != answered(given, 2).keys()


def test_the_base_alone_is_the_base_without_an_adapter(base_of):
    from tenon.evaluate.write_rivals import rivals

    folder = base_of("qwen3")
    tokens = tokens_of(folder)
    how = How(renderer_of(folder), EvaluateSettings(max_new_tokens=6, written_rows=0), 0)
    bare = write(writer(folder, adapter=False), tokens, (), batch_tokens=300, how=how)
    model = writer(folder, "houlsby", shaken=True)
    mine = write(model, tokens, (), batch_tokens=300, how=how)
    wanted = ("zero_shot", "copy_source")
    found = rivals(model, tokens, mine, wanted, batch_tokens=300, examples=list, how=how)
    assert found["zero_shot"].answers == bare.answers != mine.answers
    np.testing.assert_allclose(found["zero_shot"].nats_R, bare.nats_R, rtol=1e-6)
    assert found["copy_source"].answers == mine.texts
    assert not found["copy_source"].tokens_R.any()


def test_the_likelihood_of_a_row_is_the_sum_over_its_answer(base_of):
    folder = base_of("llama")
    model, tokens = writer(folder, shaken=True), tokens_of(folder)
    how = How(renderer_of(folder), EvaluateSettings(max_new_tokens=1), 0)
    made = write(model, tokens, (), batch_tokens=64, how=how, answering=False)
    assert made.answers == [None] * len(tokens)
    for row in range(5):
        ids = torch.from_numpy(tokens.ids(row).astype(np.int64))
        with torch.no_grad():
            hidden = model.trunk.hidden_TD(of_ids([ids.tolist()]))
            log_probs = torch.log_softmax(model.trunk.logits_UV(hidden), -1)
        learned = np.flatnonzero(tokens.targets(row))
        nats = -sum(float(log_probs[place - 1, ids[place]]) for place in learned)
        assert made.nats_R[row] == pytest.approx(nats, rel=1e-5)
        assert made.tokens_R[row] == len(learned)


def test_a_prompt_makes_room_for_its_answer(base_of):
    model = writer(base_of("llama"))
    assert room(model, 48, 20) == 44
    assert room(model, 30, 20) == 30
    assert room(model, 48, 63) == 16
    assert clipped([1, 2, 3], 5, 1) == [1, 2, 3]
    assert clipped([1, 2, 3, 4, 5], 3, 1) == [1, 4, 5]
    assert clipped([1, 2, 3, 4, 5], 3, 9) == [3, 4, 5]


@pytest.mark.parametrize(
    ("ids", "repeated"),
    [
        ([7] * 16, True),
        ([7] * 15, False),
        ([1, 2, 3, *[5, 6] * 8], True),
        ([*[5, 6] * 8, 1], False),
        (list(range(40)) * 4, True),
        (list(range(65)) * 4, False),
        (list(range(40)) * 3, False),
        ([], False),
    ],
)
def test_an_answer_that_repeats_itself_to_the_end_is_known(ids, repeated):
    assert Said(ids, ended=False).looped is repeated
    assert not Said(ids, ended=True).looped
