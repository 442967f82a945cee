"""L7: save and load give equal logits: bitwise in ours, within 2e-5 in PEFT and transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    T5EncoderModel,
)

from attached import KIND_NAMES
from bases import ARCHITECTURES
from models import LABELS, PAIRS, TEXTS, classifier, examples, renderer_of, save
from tenon.adapters import pack
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.predict import predict
from tenon.text.tokens import collect

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gpt2")
HEADED = [("bert", "pooler"), *((arch, "last") for arch in DECODERS)]
TRUNKS = [
    *((arch, "mean") for arch in ARCHITECTURES),
    ("modernbert", "cls"),
    ("roberta", "pooler"),
    ("t5", "last"),
]


def answers(model, folder, pairs=None):
    tokens = collect(examples(TEXTS, pairs), renderer_of(folder))
    return predict(model, tokens, LABELS, batch_tokens=500).log_probs_RL


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize(("arch", "pooling"), [*HEADED, *TRUNKS])
def test_what_is_opened_answers_bitwise_as_what_was_saved(
    arch, pooling, which, folder_of, tmp_path
):
    folder = folder_of(arch)
    bias = pooling != "last"
    model = classifier(folder, which, pooling=pooling, bias=bias)
    saved = save(model, folder, tmp_path / "mood", which)
    held = open_answerer(saved)
    assert held.manifest.layout == ("transformers" if (arch, pooling) in HEADED else "trunk")
    for pairs in (None, PAIRS):
        expected = answers(model, folder, pairs)
        found = held.answer_examples(examples(TEXTS, pairs)).log_probs_RL
        assert (found == expected).all()
        assert expected.std() > 0


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_normalisation_and_cutting_are_kept(normalize, side, folder_of, tmp_path):
    folder = folder_of("bert")
    model = classifier(folder, normalize=normalize)
    text = {"max_tokens": 7, "cut": side}
    saved = save(model, folder, tmp_path / "mood", limit=7, text=text, probes={})
    tokens = collect(examples(), renderer_of(folder, 7, side))
    assert tokens.rows_cut > 0
    expected = predict(model, tokens, LABELS, batch_tokens=500).log_probs_RL
    assert (open_answerer(saved).answer_examples(examples()).log_probs_RL == expected).all()


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ["bert", "gpt2"])
def test_an_adapter_that_was_read_is_written_again_the_same(arch, which, folder_of, tmp_path):
    folder = folder_of(arch)
    first = save(classifier(folder, which), folder, tmp_path / "first", which)
    adapter = pack.read(first)
    second = pack.write(tmp_path / "second", adapter, card="# mood")
    for name in sorted(path.name for path in first.iterdir()):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def padded_by_theirs(folder, texts, pairs):
    """Tokenise as a user of transformers would."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    return tokenizer(list(texts), pairs and list(pairs), padding=True, return_tensors="pt")


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize(("arch", "pooling"), TRUNKS)
@torch.no_grad()
def test_plain_peft_on_the_trunk_and_the_head_by_hand_give_the_same(
    arch, pooling, which, folder_of, tmp_path
):
    folder = folder_of(arch)
    model = classifier(folder, which, pooling=pooling)
    saved = save(model, folder, tmp_path / "mood", which)
    factory = T5EncoderModel if arch == "t5" else AutoModel
    theirs = PeftModel.from_pretrained(factory.from_pretrained(folder), saved).eval()
    head = load_file(saved / "head.safetensors")
    for pairs in (None, PAIRS if arch not in ("qwen2", "qwen3", "gpt2") else None):
        rows = padded_by_theirs(folder, TEXTS, pairs)
        out = theirs(**rows)
        mask_BP1, states = rows["attention_mask"][..., None], out.last_hidden_state
        vectors_BD = {
            "mean": lambda m=mask_BP1, s=states: (s * m).sum(1) / m.sum(1),
            "cls": lambda s=states: s[:, 0],
            "pooler": lambda o=out: o.pooler_output,
            "last": lambda m=mask_BP1, s=states: s[torch.arange(len(s)), m[..., 0].sum(1) - 1],
        }[pooling]()
        logits = vectors_BD @ head["weight"].T + head["bias"]
        found = logits.log_softmax(-1).numpy()
        np.testing.assert_allclose(found, answers(model, folder, pairs), rtol=1e-5, atol=2e-5)


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize(("arch", "pooling"), HEADED)
@pytest.mark.filterwarnings("ignore:.*not initialized:UserWarning")
@torch.no_grad()
def test_plain_peft_on_the_head_class_gives_the_same(arch, pooling, which, folder_of, tmp_path):
    folder = folder_of(arch)
    model = classifier(folder, which, pooling=pooling, bias=pooling == "pooler")
    saved = save(model, folder, tmp_path / "mood", which)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS))
    theirs = PeftModel.from_pretrained(base, saved).eval()
    for pairs in (None, PAIRS if arch in ("bert", "llama", "mistral") else None):
        logits = theirs(**padded_by_theirs(folder, TEXTS, pairs)).logits
        found = logits.log_softmax(-1).numpy()
        np.testing.assert_allclose(found, answers(model, folder, pairs), rtol=1e-5, atol=2e-5)


def test_a_half_precision_base_answers_as_before_it_was_saved(folder_of, tmp_path):
    folder = folder_of("bert")
    model = classifier(folder, "houlsby", settings={"dtype": "bfloat16"})
    saved = save(model, folder, tmp_path / "mood", "houlsby")
    found = open_answerer(saved).answer_examples(examples()).log_probs_RL
    np.testing.assert_allclose(found, answers(model, folder), rtol=0.2, atol=0.2)
