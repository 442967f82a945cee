"""Each mistake that users make is planted, and the preflight sees it and says what to do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig
from tokenizers import processors
from transformers import AttentionInterface, DataCollatorForLanguageModeling

from flights import changed, cleared, told, with_tokens
from runs import plan, project
from tenon.adapters import sites
from tenon.adapters.wrap import wrap
from tenon.core.errors import PlanError, RunError
from tenon.core.proof import Check
from tenon.model.classifier import Classifier
from tenon.model.packing import ATTENTION, packed_attention
from tenon.model.trunk import padded
from tenon.text.renderers import RENDERINGS
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.train.preflight import Preflight, preflight
from tenon.train.subject import Subject
from writers import CHATML, causal_folder, pairs, write_rows


@pytest.fixture
def reading(tmp_path, folder_of) -> Subject:
    """A classifier that is about to be trained."""
    return cleared(project(tmp_path, folder_of("bert")))


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    return tmp_path_factory.mktemp("decoders")


def writing_plan(folder, base, count=40, **more):
    write_rows(folder / "train.jsonl", pairs(count))
    task = {"data__task": "text-generation", "data__train": "train.jsonl"}
    return plan(folder, base, **{**task, "evaluate__against": ["zero_shot"], **more})


@pytest.fixture
def writing(tmp_path, decoders) -> Subject:
    """A writer that is about to be trained."""
    return cleared(writing_plan(tmp_path, causal_folder(decoders, "llama")))


def assert_caught(subject: Subject, name: str, what: str, remedy: str) -> None:
    failed = told(subject)
    assert name in failed, failed
    assert what in failed[name].what, failed[name]
    assert remedy in failed[name].remedy, failed[name]


class TestNothingIsWrong:
    def test_a_classifier(self, reading):
        found = preflight(reading)
        assert not found.failed
        names = [check.name for check in found.checks]
        assert len(set(names)) == len(names) >= 17
        assert {"head", "pooling", "labels"} < {*names} and "stop token" not in names

    def test_a_writer(self, writing):
        found = preflight(writing)
        assert not found.failed
        names = {check.name for check in found.checks}
        assert {"stop token", "answers", "serving"} < names
        assert not {"head", "pooling", "labels"} & names

    @pytest.mark.parametrize("arch", ["llama", "gpt2", "t5"])
    def test_a_decoder_or_t5_that_classifies_without_a_pad_token(self, arch, tmp_path, folder_of):
        base = copied(folder_of(arch), tmp_path / "base")
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
        found = preflight(cleared(project(tmp_path, base, model__pooling="last")))
        assert not found.failed
        (said,) = (check.what for check in found.checks if check.name == "pooling")
        assert "its last real token" in said

    def test_it_is_written_and_read(self, reading):
        found = preflight(reading)
        assert Preflight.from_json(json.loads(json.dumps(found.to_json()))).checks == found.checks

    def test_what_fails_is_told_at_once_with_each_remedy(self):
        checks = (Check("one", False, "is 1", "make it 2"), Check("two", True, "is 2"),
                  Check("three", False, "is 4", "make it 3"))  # fmt: skip
        with pytest.raises(RunError) as error:
            Preflight(checks, [], 0.1).raise_if_failed("preflight")
        lines = str(error.value).splitlines()
        assert lines[:2] == ["preflight: one: is 1; make it 2", "preflight: three: is 4; make it 3"]
        assert "2 of 3 checks failed" in lines[2] and "--preflight tell" in lines[2]


def copied(folder, target):
    import shutil

    shutil.copytree(folder, target)
    return target


class TestTargetsOfTheAdapter:
    def test_a_misspelt_name_beside_one_that_matches(self, reading):
        trunk = cleared_trunk(reading)
        places = sites.resolve(trunk.model, ["attention.query", "attention.value"])
        peft = wrap(trunk.model, LoraConfig(target_modules=["query", "valeu"]))
        model = Classifier(trunk, peft, reading.model.head, "mean")
        planted = replace(reading, model=model, places=places)
        assert_caught(planted, "sites", "2 of 4 modules carry no adapter", "misspelt name")

    def test_an_adapter_that_was_taken_off(self, reading):
        reading.model.peft.unload()
        found = told(reading)
        assert "carry no adapter" in found["sites"].what


def cleared_trunk(subject: Subject):
    """Give the trunk of a subject without its adapter."""
    bare = subject.model.peft.unload()
    vars(bare).pop("peft_config", None)
    return replace(subject.model.trunk, model=bare)


class TestTheHead:
    def test_frozen(self, reading):
        reading.model.head.requires_grad_(requires_grad=False)
        assert_caught(reading, "head", "does not train (frozen: linear.weight", "modules_to_save")

    def test_cut_off_from_the_loss(self, reading):
        reading.model.head.linear.register_forward_hook(lambda _, __, out: out.detach())
        failed = told(reading)
        assert {"head", "gradient"} <= failed.keys()


class TestRowsOfTrain:
    def test_all_that_is_learned_was_cut_away(self, writing):
        """The prompt fills the limit, as where a row is cut at its right."""
        tokens = writing.taught.tokens
        prompts = [
            [t for t, w in zip(tokens.ids(row).tolist(), tokens.targets(row), strict=True) if not w]
            for row in range(len(tokens))
        ]
        cut = changed(tokens, ids=prompts, targets=[[0.0] * len(row) for row in prompts],
                      cut=[9] * len(prompts))  # fmt: skip
        assert_caught(with_tokens(writing, cut), "targets", "rows have none", "text.max_tokens")

    def test_some_rows_have_no_label(self, reading):
        tokens = reading.taught.tokens
        labels = tokens.labels_R.astype(float).tolist()
        labels[3:8] = [-1.0] * 5
        some = changed(tokens, targets=[[label] for label in labels])
        found = preflight(with_tokens(reading, some))
        assert not [check for check in found.failed if check.name == "targets"]
        assert "5 rows have none, such as " in found.checks[0].what
        none = changed(tokens, targets=[[-1.0]] * len(tokens))
        assert_caught(with_tokens(reading, none), "targets", "nothing can be learned", "answers")

    def test_the_stop_token_is_the_pad_token_and_never_learned(self, writing):
        """What transformers' collator makes of rows where pad = eos."""
        tokens, tokenizer = writing.taught.tokens, writing.taught.renderer.tokenizer
        tokenizer.pad_token = tokenizer.eos_token
        collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
        weights = []
        for row in range(len(tokens)):
            labels = collator([{"input_ids": tokens.ids(row).tolist()}])["labels"][0]
            weights.append((labels != -100).float().tolist())
        planted = with_tokens(writing, changed(tokens, targets=weights))
        assert_caught(planted, "stop token", "'</s>' at the end of their answer", "pad token of")

    @pytest.mark.parametrize("where", ["tokenizer", "template"])
    def test_a_double_beginning_of_sequence(self, where, tmp_path, decoders):
        template = CHATML if where == "template" else ""
        base = copied(causal_folder(decoders, "llama", template), tmp_path / "base")
        tokenizer = load_tokenizer(base)
        if where == "template":
            tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}" + CHATML
            tokenizer.bos_token = "<s>"
        else:
            tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> <s> $A", pair="<s> <s> $A $B", special_tokens=[("<s>", 1)]
            )
            tokenizer.bos_token = "<s>"
        tokenizer.save_pretrained(base)
        planted = cleared(writing_plan(tmp_path, base))
        assert_caught(planted, "beginning", "<s><s>", "post_processor in tokenizer.json")

    def test_another_chat_template_at_serving(self, tmp_path, decoders):
        base = copied(causal_folder(decoders, "llama", CHATML), tmp_path / "base")
        given = writing_plan(tmp_path, base)
        assert not told(cleared(given))

        from tenon.verbs.preflight import subject_of
        from tenon.verbs.train import build
        from tenon.verbs.workspace import open_workspace

        space = open_workspace(given)
        tokenizer = load_tokenizer(base)
        tokenizer.chat_template = CHATML.replace("<s>assistant ", "<s>assistant: ")
        tokenizer.save_pretrained(base)
        planted = subject_of(space, *build(space, None))
        assert_caught(planted, "serving", "is read otherwise once", "chat template")

    def test_answers_that_were_cut_in_silence(self, writing):
        tokens = writing.taught.tokens
        ids, weights = [], []
        for row in range(len(tokens)):
            prompt = [t for t, w in zip(tokens.ids(row), tokens.targets(row), strict=True) if not w]
            ids.append([*prompt, *tokens.ids(row)[[-3, -1]].tolist()])
            weights.append([0.0] * len(prompt) + [1.0, 1.0])
        planted = with_tokens(writing, changed(tokens, ids=ids, targets=weights))
        assert_caught(planted, "answers", "it is cut in silence", "raise text.max_tokens")

    def test_answers_that_would_be_cut_when_they_are_written(self, tmp_path, decoders):
        base = causal_folder(decoders, "llama")
        found = preflight(cleared(writing_plan(tmp_path, base, evaluate__max_new_tokens=2)))
        (said,) = (check.what for check in found.checks if check.name == "answers")
        assert "are longer than the 2 tokens that evaluation and serving write" in said
        assert "evaluate.max_new_tokens=" in said and not found.failed

    def test_labels_in_another_order_at_serving(self, reading):
        served = replace(reading.taught.served, labels=reading.taught.served.labels[::-1])
        planted = replace(reading, taught=replace(reading.taught, served=served))
        assert_caught(planted, "labels", "the labels stand in another order", "one order")

    def test_a_token_was_added_and_the_base_has_no_row_for_it(self, reading):
        tokens = reading.taught.tokens
        ids = [[*tokens.ids(row).tolist(), 100] for row in range(len(tokens))]
        planted = with_tokens(reading, changed(tokens, ids=ids))
        assert_caught(planted, "vocabulary", "token 100", "resize_token_embeddings")

    def test_such_a_base_is_refused_by_every_verb(self, tmp_path, folder_of):
        base = copied(folder_of("bert"), tmp_path / "base")
        tokenizer = load_tokenizer(base)
        tokenizer.add_tokens([f"word{place}" for place in range(100 - len(tokenizer))] + ["parcel"])
        tokenizer.add_tokens(["money day", "river"])
        tokenizer.save_pretrained(base)
        if len(load_tokenizer(base)) <= 100:
            pytest.fail("no token was added")
        text = "text,label\n" + "".join(f"money day number {n},{'ab'[n % 2]}\n" for n in range(40))
        (tmp_path / "train.csv").write_text(text)
        with pytest.raises(PlanError, match=r"token 10\d .*resize_token_embeddings"):
            cleared(plan(tmp_path, base))


class TestTheModel:
    def test_rows_of_added_tokens_are_trained_and_not_written(self, reading):
        trunk = reading.model.trunk.model
        trunk.resize_token_embeddings(104)
        trunk.get_input_embeddings().weight.requires_grad = True
        assert_caught(reading, "saved", "word_embeddings.weight", "rows of added tokens")

    def test_part_of_the_adapter_is_frozen(self, reading):
        for name, parameter in reading.model.trainable().items():
            if "layer.1" in name:
                parameter.requires_grad = False
        assert_caught(reading, "frozen", "cannot be trained", "set_adapter")

    def test_all_of_the_adapter_is_frozen(self, reading):
        reading.model.peft.requires_grad_(requires_grad=False)
        assert_caught(reading, "gradient", "nothing of the adapter is trained", "set_adapter")

    def test_packing_lets_rows_see_each_other(self, reading):
        def leaking(module, query, key, value, mask, *, borders, **more):
            # One run of tokens, as where packed rows get no borders.
            whole = type(borders)((sum(borders.lengths),), borders.device)
            return packed_attention(module, query, key, value, mask, borders=whole, **more)

        assert reading.model.trunk.packed
        AttentionInterface.register(ATTENTION, leaking)
        try:
            failed = told(reading)
        finally:
            AttentionInterface.register(ATTENTION, packed_attention)
        for name in ("packing", "rows apart"):
            assert failed[name].remedy == 'model.batches="padded"'
        assert "rows see each other" in failed["rows apart"].what
        assert not told(reading)

    def test_the_last_place_of_padded_rows_is_pooled(self, tmp_path, folder_of):
        class LastPlace(Classifier):
            """Reads the end of the rectangle, as where no pad token says where a row ends."""

            def pooled_BD(self, batch):
                ids_BP, mask_BP, _ = padded(batch, self.trunk.pad)
                states = self.trunk.model(input_ids=ids_BP, attention_mask=mask_BP)
                return states.last_hidden_state[:, -1].float()

            def nats(self, batch):
                return self.goal.nats(self.logits_BL(batch), batch.targets_X, self.head)

        planted = cleared(project(tmp_path, folder_of("llama"), model__pooling="last"))
        planted.model.__class__ = LastPlace
        assert_caught(planted, "pooling", "padding is pooled", "pad_token_id")

    def test_the_loss_is_a_mean_of_means(self, reading):
        class Averaging(Classifier):
            """Gives the mean of a micro-batch, as a model of transformers does by itself."""

            def nats(self, batch):
                return super().nats(batch) / self.targets(batch)

        reading.model.__class__ = Averaging
        assert_caught(reading, "mean of a step", "a mean of means", "of the whole step")

    def test_a_fresh_adapter_that_is_not_the_base(self, reading):
        with torch.no_grad():
            for name, parameter in reading.model.trainable().items():
                if "lora_B" in name:
                    parameter.add_(0.5)
        failed = told(replace(reading, adapter=reading.adapter.model_copy(update={
            "kind": "ia3.v1", "own": {}})))  # fmt: skip
        assert "does not begin as the base" in failed["start"].what

    @pytest.mark.parametrize("rate", [2e-5, 5e-5, 0.1])
    def test_a_rate_of_full_fine_tuning_or_far_above(self, rate, tmp_path, folder_of):
        planted = cleared(project(tmp_path, folder_of("bert"), train__learning_rate=rate))
        what = "full fine-tuning" if rate < 1e-3 else "not finite"
        assert_caught(planted, "learning rate", what, "0.001")

    def test_t5_in_half_precision(self, tmp_path, folder_of):
        """Scores of attention go beyond what float16 holds."""
        given = project(tmp_path, folder_of("t5"), model__dtype="float16")
        planted = cleared(given)
        with torch.no_grad():
            for name, parameter in planted.model.trunk.model.named_parameters():
                if name.endswith((".q.base_layer.weight", ".k.base_layer.weight")):
                    parameter.mul_(2e4)
        failed = told(planted)
        assert "not finite" in failed["finite"].what
        assert "bfloat16" in failed["finite"].remedy and "T5" in failed["finite"].remedy

    def test_something_is_detached_within_the_base(self, reading):
        layer = reading.model.trunk.model.encoder.layer[1]
        layer.register_forward_hook(lambda _, __, out: out.detach())
        failed = told(reading)
        assert "no gradient reaches 12 modules of 12" in failed["gradient"].what
        assert "head" not in failed

    @pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
    @pytest.mark.filterwarnings("ignore:`use_cache=True` is incompatible:UserWarning")
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_gradient_checkpointing_without_input_gradients(self, reentrant, tmp_path, folder_of):
        asked = {"model__trunk_dropout": True, "model__batches": "padded"}
        planted = cleared(project(tmp_path, folder_of("bert"), **asked))
        trunk = planted.model.trunk.model
        trunk.gradient_checkpointing_enable({"use_reentrant": reentrant})
        # transformers before 5 does not let the embeddings' output want gradients by itself.
        trunk.disable_input_require_grads()
        if reentrant:
            assert_caught(planted, "gradient", "no gradient reaches", "enable_input_require_grads")
        else:
            assert not told(planted)

    def test_the_base_changes_while_it_is_trained(self, reading):
        dense = reading.model.trunk.model.encoder.layer[0].output.LayerNorm

        def drift(module, *_):
            if torch.is_grad_enabled():
                module.weight.data.mul_(1.001)

        dense.register_forward_hook(drift)
        assert_caught(reading, "base", "changes in", "freeze")

    def test_the_base_is_not_frozen(self, reading):
        reading.model.trunk.model.embeddings.LayerNorm.weight.requires_grad = True
        assert_caught(reading, "saved", "LayerNorm.weight", "freeze the base")


class TestColouredRows:
    def test_a_writer(self, writing):
        rows = preflight(writing).rows
        assert len(rows) == 3
        for row, example in zip(rows, writing.taught.examples, strict=False):
            assert row["origin"] == example.origin
            texts = {
                flag: "".join(token["text"] for token in row["tokens"] if token["trained"] is flag)
                for flag in (True, False)
            }
            # The tiny tokenizer has no decoder, so that its pieces stand apart.
            assert (
                texts[False]
                .replace("Ġ", " ")
                .replace(" ", "")
                .endswith(example.text.replace(" ", ""))
            )
            assert texts[False].startswith("<s>") and texts[True].endswith("</s>")

    def test_a_classifier_ends_with_its_label(self, reading):
        row = preflight(reading).rows[0]
        assert [token["trained"] for token in row["tokens"]].count(True) == 1
        assert row["tokens"][-1]["text"] == f" → {reading.taught.examples[0].gold}"
        assert row["tokens"][0]["text"] == "[CLS]"

    def test_the_renderer_that_serves_is_made_anew(self, writing):
        assert isinstance(writing.taught.served, WritingRenderer)
        assert writing.taught.served is not writing.taught.renderer
        assert writing.taught.served.tokenizer is not writing.taught.renderer.tokenizer
        assert "text-generation" in RENDERINGS.names()
        assert np.all(writing.taught.learned_T(0)[-2:])
