"""Drift: a fresh adapter has none, figures are transformers' own, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from attached import KIND_NAMES, TABLES, shake
from bases import CONFIGS
from folders import tokenizer
from runs import base_digests
from tenon.adapters.kind import settle
from tenon.data.example import content_id
from tenon.data.plain import Plain
from tenon.evaluate.drift import Ask, drift
from tenon.model import trunk as trunks
from tenon.model.adapted import Adapted
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.language import language_model
from tenon.model.settings import ModelSettings
from tenon.text.tokenizer import load_tokenizer
from writers import causal_folder

WORDS = "glad sad tired red old bad good worst best early fox day parcel river".split()  # noqa: SIM905
TEXTS = [
    f"the old dog was {word} by the {word} river of my day"[: 20 + place]
    for place, word in enumerate(WORDS)
]


def plain(texts=TEXTS) -> Plain:
    ids = [content_id(text) for text in texts]
    return Plain(ids, [f"made.txt:{row}" for row in range(len(texts))], texts, len(texts))


def masked_folder(cache):
    """Give the folder of a tiny encoder with its head for masked tokens."""
    folder = cache / "masked"
    if not folder.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            model = AutoModelForMaskedLM.from_config(CONFIGS["bert"]())
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder)
        tokenizer("bert").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("drift")


@pytest.fixture(scope="module")
def bases(cache, folder_of):
    return {
        "decoder": causal_folder(cache, "llama"),
        "masked": masked_folder(cache),
        "plain": folder_of("bert"),
    }


def ask(folder, sort, which="lora", *, shaken: bool) -> Ask:
    base = locate(str(folder))
    writes = sort == "decoder"
    trunk = trunks.load(base, ModelSettings(device="cpu"), writes=writes)
    peft = attach(trunk, settle("mood", TABLES[which]), seed=3).peft
    if shaken:
        shake(peft)
    language = None if sort == "plain" else language_model(base, trunk)
    known = tokenizer("llama" if sort == "decoder" else "bert")
    peft.eval()
    return Ask(trunk, peft, language, known, 40, "mean", 5, 0.95, 300)


SORTS = ("decoder", "masked", "plain")


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("sort", SORTS)
def test_a_fresh_adapter_changes_nothing(sort, which, bases):
    told = drift(plain(), ask(bases[sort], sort, which, shaken=False))
    assert told["n"] == len(TEXTS)
    assert told["difference"] == pytest.approx(0, abs=1e-6)
    assert told["p"] == 1.0 or sort == "plain"


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("sort", SORTS)
def test_a_trained_one_shows_and_nothing_else_is_touched(sort, which, bases):
    asked = ask(bases[sort], sort, which, shaken=True)
    model = Adapted(asked.trunk, asked.peft)
    before, state = base_digests(model), torch.get_rng_state()
    told = drift(plain(), asked)
    assert told["before"] != pytest.approx(told["after"], rel=1e-4)
    assert told["low"] <= told["difference"] <= told["high"]
    assert told["difference"] == pytest.approx(told["after"] - told["before"])
    assert base_digests(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert drift(plain(), asked) == told


def test_the_perplexity_is_that_of_transformers(bases):
    asked = ask(bases["decoder"], "decoder", shaken=True)
    told = drift(plain(), asked)
    own = AutoModelForCausalLM.from_pretrained(bases["decoder"]).eval()
    nats, count = 0.0, 0
    for text in TEXTS:
        ids = torch.tensor([asked.tokenizer(text)["input_ids"][:40]])
        with torch.no_grad():
            loss = own(input_ids=ids, labels=ids).loss
        nats, count = nats + float(loss) * (ids.shape[1] - 1), count + ids.shape[1] - 1
    assert told["metric"] == "perplexity"
    assert told["before"] == pytest.approx(np.exp(nats / count), rel=1e-4)


def test_the_order_of_texts_and_their_batches_do_not_matter(bases):
    asked = ask(bases["masked"], "masked", shaken=True)
    told, other = drift(plain(), asked), drift(plain(TEXTS[::-1]), asked)
    assert told["metric"] == "masked_perplexity"
    for name in ("before", "after", "difference"):
        assert told[name] == pytest.approx(other[name], rel=1e-4)


def test_other_masks_give_another_figure_of_the_same_size(bases):
    asked = ask(bases["masked"], "masked", shaken=True)
    first, second = drift(plain(), asked), drift(plain(), replace(asked, seed=6))
    assert first["before"] != second["before"]
    assert first["before"] == pytest.approx(second["before"], rel=0.5)


def test_a_base_without_a_head_is_compared_by_its_vectors(bases, folder_of):
    base = locate(str(folder_of("bert")))
    trunk = trunks.load(base, ModelSettings(device="cpu"))
    assert language_model(base, trunk) is None
    told = drift(plain(), ask(bases["plain"], "plain", shaken=True))
    assert told["metric"] == "vector_cosine"
    assert told["before"] == 1.0
    assert -1 <= told["after"] < 1


def test_texts_of_one_token_are_left_out(bases):
    told = drift(plain([*TEXTS, ""]), ask(bases["decoder"], "decoder", shaken=True))
    assert told["n"] == len(TEXTS)


@pytest.mark.public_data
@pytest.mark.parametrize(
    ("name", "metric"),
    [("tenon-small-lm", "perplexity"), ("tenon-small-encoder", "masked_perplexity")],
)
def test_pretrained_bases_know_their_language_and_a_shaken_adapter_spoils_it(name, metric, shared):
    base = locate(str(shared / "models" / name))
    trunk = trunks.load(base, ModelSettings(device="cpu", dtype="float32"))
    held = attach(trunk, settle("mood", TABLES["lora"]), seed=3).peft.eval()
    language = language_model(base, trunk)
    assert language is not None
    known = load_tokenizer(base.folder)
    asked = Ask(trunk, held, language, known, 64, "mean", 5, 0.95, 300)
    texts = [
        f"It was the {word} of times, and the old man went down to the river." for word in WORDS
    ]
    fresh = drift(plain(texts), asked)
    assert fresh["metric"] == metric
    assert 1 < fresh["before"] < 500
    assert fresh["difference"] == pytest.approx(0, abs=1e-3)
    shake(held, size=0.1)
    spoilt = drift(plain(texts), asked)
    assert spoilt["before"] == pytest.approx(fresh["before"], rel=1e-4)
    assert spoilt["after"] > 2 * spoilt["before"]
    assert spoilt["p"] < 0.05
