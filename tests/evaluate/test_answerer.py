"""Answerer: an adapter directory on its base, proved, answering as it was evaluated."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from models import LABELS, PAIRS, TEXTS, classifier, examples, renderer_of, save
from sealed import reseal
from tenon.adapters.manifest import Lengths, Probes
from tenon.core.errors import AdapterError, FileError, RequestError
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.predict import predict
from tenon.evaluate.probes import PROBE_TEXTS, probe
from tenon.text.batch import of_ids
from tenon.text.tokens import collect

TASK = "text-classification"


@pytest.fixture(scope="module")
def bert(folder_of):
    return folder_of("bert")


@pytest.fixture(scope="module")
def saved(bert, tmp_path_factory):
    """An adapter with both texts and pairs allowed: its manifest names no columns."""
    return save(classifier(bert), bert, tmp_path_factory.mktemp("adapters") / "mood")


@pytest.fixture(scope="module")
def answerer(saved):
    return open_answerer(saved)


def test_it_answers_as_was_evaluated(bert, answerer):
    made = examples()
    expected = predict(
        classifier(bert), collect(made, renderer_of(bert)), LABELS, batch_tokens=16_384
    )
    found = answerer.answer_examples(made)
    assert (found.log_probs_RL == expected.log_probs_RL).all()
    answers = answerer.predict(list(TEXTS))
    for answer, log_probs_L in zip(answers, expected.log_probs_RL, strict=True):
        assert answer.label == LABELS[int(log_probs_L.argmax())]
        assert answer.probability == answer.probabilities[answer.label]
        assert tuple(answer.probabilities) == LABELS
        np.testing.assert_allclose(list(answer.probabilities.values()), np.exp(log_probs_L), 1e-5)


def test_the_order_and_company_of_texts_change_no_answer(answerer):
    together = answerer.predict(list(TEXTS))
    turned = answerer.predict(list(TEXTS)[::-1])[::-1]
    for text, one, other in zip(TEXTS, together, turned, strict=True):
        (alone,) = answerer.predict([text])
        for found in (one, other):
            assert found.label == alone.label
            assert found.probability == pytest.approx(alone.probability, rel=1e-5)
    assert answerer.predict([]) == []


def test_pairs_are_read_as_pairs(bert, answerer):
    found = answerer.predict(list(zip(TEXTS, PAIRS, strict=True)))
    tokens = collect(examples(TEXTS, PAIRS), renderer_of(bert))
    expected = predict(classifier(bert), tokens, LABELS, batch_tokens=16_384)
    probabilities = [answer.probability for answer in found]
    np.testing.assert_allclose(probabilities, np.exp(expected.log_probs_RL.max(1)), rtol=1e-5)


BAD = [
    ([""], r"text 0: is ''; expected a text that is not empty"),
    (["a", " \n\t"], r"text 1: is ' \\n\\t'"),
    ([None], "text 0: is None"),
    ([3], "text 0: is 3"),
    ([["a", "b"]], r"text 0: is \['a', 'b'\]"),
    ([b"a"], "text 0: is b'a'"),
    (["\ud800 a"], r"text 0: .*half of a surrogate pair"),
    ([("a", "\udfff")], r"text 0: .*half of a surrogate pair"),
    ([("a", "")], "text 0: is ''"),
    ([("a", None)], "text 0: is None"),
    ([("a",)], r"text 0: is \('a',\); expected a text, or a tuple of two"),
    ([()], r"text 0: is \(\); expected a text, or a tuple of two"),
    ([("a", "b", "c")], "text 0: .*expected a text, or a tuple of two"),
    (["a", ("b", "c")], "text 1: is a pair, text 0 is not"),
    ([("b", "c"), "a"], "text 1: is not a pair, text 0 is"),
    ("a glad dog", "a single text; expected a list of texts"),
    (["a", None], "text 1: is None"),
    (None, "of type NoneType; expected a list of texts, or of pairs"),
    (3, "of type int"),
    (b"a", "of type bytes"),
    ({"text": "a"}, "of type dict"),
    ({"a"}, "of type set"),
    (np.array([["a", "b"]]), "of type ndarray"),
]


@pytest.mark.parametrize(("texts", "message"), BAD, ids=ascii)
def test_what_is_no_text_is_a_request_error_with_its_place(texts, message, answerer):
    with pytest.raises(RequestError, match=message):
        answerer.predict(texts)


@pytest.mark.parametrize("pair", ["", "second"])
def test_an_adapter_of_pairs_is_not_asked_single_texts_nor_the_other_way(bert, pair, tmp_path):
    columns = {"text": "first", "pair": pair, "label": "label"}
    held = open_answerer(save(classifier(bert), bert, tmp_path / "mood", columns=columns))
    right, wrong = (["a day"], [("a", "b")]) if not pair else ([("a", "b")], ["a day"])
    assert len(held.predict(right)) == 1
    with pytest.raises(RequestError, match="text 0: .*the adapter was trained on"):
        held.predict(wrong)


def test_a_text_without_tokens_is_a_request_error(folder_of, tmp_path):
    qwen2 = folder_of("qwen2")
    held = open_answerer(save(classifier(qwen2), qwen2, tmp_path / "mood"))
    with pytest.raises(RequestError, match="text 1: this text has no tokens"):
        held.predict(["a day", "家"])


def test_a_score_that_is_not_finite_is_a_request_error(bert, saved):
    held = open_answerer(saved)
    with torch.no_grad():
        held.model.head.linear.bias[0] = torch.nan
    with pytest.raises(RequestError, match="text 0: .*not finite; text 1: .*not finite"):
        held.predict(["a", "day"])


def test_opening_changes_no_random_state_and_ends_in_evaluation_mode(saved):
    torch.manual_seed(8)
    state = torch.get_rng_state()
    held = open_answerer(saved)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in held.model.modules())
    assert not any(parameter.requires_grad for parameter in held.model.parameters())


@pytest.mark.parametrize("arch", ["bert", "qwen2", "gpt2", "t5"])
def test_the_probes_are_of_texts_that_the_base_can_read(arch, folder_of):
    model = classifier(folder_of(arch))
    found = probe(TASK, model, renderer_of(folder_of(arch)))
    assert found.texts == tuple(
        text for n, text in enumerate(PROBE_TEXTS) if arch != "qwen2" or n != 2
    )
    assert len(found.logits) == len(found.texts) and np.isfinite(found.logits).all()
    assert len(set(found.logits)) == len(found.texts)


def changed(folder, **fields):
    reseal(folder, **fields)


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_other_logits_than_when_written_are_refused(copy):
    manifest = json.loads((copy / "tenon.json").read_text())
    logits = manifest["probes"]["logits"]
    logits[1][2] += 0.01 * max(1.0, float(np.abs(logits).max()))  # nearly a hundredth of the size
    changed(copy, probes=manifest["probes"])
    with pytest.raises(
        AdapterError, match=r"gives other logits here .*(1.\d|9.\d)e-0[23] of their size"
    ):
        open_answerer(copy)


@pytest.mark.parametrize(
    "logits", [[[1.0, 2.0]] * 4, [[1.0, 2.0, 3.0]], [[1.0], [2.0, 3.0], [], []]]
)
def test_probes_of_another_shape_are_refused(copy, logits):
    changed(copy, probes={"texts": list(PROBE_TEXTS), "pairs": None, "logits": logits})
    with pytest.raises(AdapterError, match="probes do not have one logit a label for each text"):
        open_answerer(copy)


@pytest.mark.parametrize("arch", ["bert", "roberta", "gpt2"])
def test_probes_of_pairs_are_proved_as_pairs(arch, folder_of, tmp_path):
    folder = folder_of(arch)
    model = classifier(folder)
    encoded = renderer_of(folder)
    pieces = [encoded.prompt(example) for example in examples(TEXTS, PAIRS)]
    found = encoded.encode(pieces)
    with torch.no_grad():
        logits = model.logits_BL(of_ids(found.ids, found.types)).tolist()
    probes = Probes(texts=TEXTS, pairs=PAIRS, logits=tuple(map(tuple, logits)))
    assert open_answerer(save(model, folder, tmp_path / "mood", probes=probes))
    other = Probes(texts=TEXTS, pairs=PAIRS[::-1], logits=tuple(map(tuple, logits)))
    with pytest.raises(AdapterError, match="gives other logits"):
        open_answerer(save(model, folder, tmp_path / "mood", probes=other))


def test_an_adapter_without_probes_is_taken_as_it_is(bert, tmp_path):
    assert open_answerer(save(classifier(bert), bert, tmp_path / "mood", probes=Probes()))


def test_the_base_may_have_moved_but_must_be_the_same(bert, saved, folder_of, tmp_path):
    moved = shutil.copytree(bert, tmp_path / "elsewhere")
    first = open_answerer(saved, str(moved)).predict(list(TEXTS))
    assert first == open_answerer(saved).predict(list(TEXTS))
    with pytest.raises(AdapterError, match="adapter mood was trained on base .*load"):
        open_answerer(saved, str(folder_of("electra")))
    with pytest.raises(FileError, match="no such folder"):
        open_answerer(saved, str(tmp_path / "nowhere"))


def test_a_base_that_is_gone_is_named(bert, tmp_path):
    base = shutil.copytree(bert, tmp_path / "base")
    folder = save(classifier(base), base, tmp_path / "mood")
    shutil.rmtree(base)
    with pytest.raises(FileError, match=f"base {base}: no such folder"):
        open_answerer(folder)


@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_are_cut_as_in_training(bert, side, tmp_path):
    text = Lengths(max_tokens=5, cut=side)
    held = open_answerer(
        save(classifier(bert), bert, tmp_path / "mood", limit=5, text=text, probes=Probes())
    )
    assert (held.renderer.limit, held.renderer.side) == (5, side)
    long, kept = "a glad dog and fox", "a glad dog" if side == "right" else "dog and fox"
    (one, other) = held.predict([long, kept])
    assert one.probabilities == pytest.approx(other.probabilities, rel=1e-5)
