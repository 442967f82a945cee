"""Rows of encoder-decoders, shortened texts, and what a decoder is asked."""

from __future__ import annotations

import pytest
from transformers import MBartTokenizer

from encoder_decoders import folder_of, renderer_of
from tenon.core.errors import DataError, PlanError
from tenon.data.gold import Turn
from tenon.data.text_generation import example_of
from tenon.text.instruction import instruction_of
from tenon.text.seq2seq import encode_pair, lead, source_of, speak
from tenon.text.shorten import shorten_question, without
from tenon.text.text_generation_render import WritingRenderer, form_of
from tenon.text.tokenizer import load_tokenizer
from writers import CHATML, causal_folder, examples


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    cache = tmp_path_factory.mktemp("tokenizers")
    return lambda arch: load_tokenizer(folder_of(cache, arch))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    cache = tmp_path_factory.mktemp("folders")
    return lambda arch: folder_of(cache, arch)


@pytest.mark.parametrize(("arch", "begins"), [("t5", []), ("bart", [1])])
def test_a_row_is_a_source_and_the_answer_through_its_end(arch, begins, tokenizers):
    tokenizer = tokenizers(arch)
    row = encode_pair(tokenizer, "a dog", "dog", "x:1")
    source, answer = row.ids[: row.prompt], row.ids[row.prompt :]
    assert source == tokenizer("a dog")["input_ids"]
    assert [*begins, *answer] == tokenizer(text_target="dog")["input_ids"]
    assert row.weights == [0] * len(source) + [1] * len(answer)
    assert answer[-1] == tokenizer.eos_token_id
    assert lead(tokenizer) == tuple(begins)
    asked = encode_pair(tokenizer, "a dog", None, "x:1")
    assert asked.ids == source and not any(asked.weights)


def test_control_tokens_that_are_typed_stay_text(tokenizers):
    row = encode_pair(tokenizers("bart"), "a </s> dog", "<s> a", "x:1")
    assert row.ids.count(2) == 2, "the ends of source and answer, and no other"
    assert row.ids.count(1) == 1
    assert row.escaped == 2


def test_what_an_encoder_reads_of_a_conversation():
    asked = (Turn("user", "a"),)
    assert source_of(asked) == "a"
    assert source_of((Turn("system", "be kind"), *asked)) == "be kind\n\na"
    talk = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))
    assert source_of(talk) == "User: a\nAssistant: b\nUser: c"


def test_each_learned_answer_of_a_conversation_is_a_row(folders):
    turns = tuple(
        Turn(role, text, trained=role == "assistant")
        for role, text in (
            ("user", "a"),
            ("assistant", "dog"),
            ("user", "red"),
            ("assistant", "fox"),
        )
    )
    renderer = renderer_of(folders("t5"))
    made = renderer.rows([example_of(turns, "x:1")])
    assert made.example == [0, 0]
    learned = [
        [token for token, weight in zip(ids, weights, strict=True) if weight]
        for ids, weights in zip(made.ids, made.targets, strict=True)
    ]
    assert [renderer.answer(ids).replace(" ", "").strip("▁") for ids in learned] == ["dog", "fox"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_source_that_is_too_long_loses_tokens_at_one_side(side, folders):
    text = "the red fox was glad of the old dog by the river of money"
    given = examples([(text, "fox")])
    whole = renderer_of(folders("bart"), limit=60, cut=side).rows(given)
    made = renderer_of(folders("bart"), limit=9, cut=side).rows(given)
    source = made.ids[0][: made.targets[0].index(1.0)]
    full = whole.ids[0][: whole.targets[0].index(1.0)]
    assert len(source) <= 9 and made.cut[0] >= len(full) - 9 > 0
    assert (source[0], source[-1]) == (1, 2), "what the tokenizer puts around it stays"
    kept = full[1 : len(source) - 1] if side == "right" else full[-len(source) + 1 : -1]
    assert source[1:-1] == kept


def test_what_is_asked_around_a_text_stays_when_the_text_is_cut(tmp_path):
    tokenizer = load_tokenizer(causal_folder(tmp_path, "llama", CHATML))
    limits = {"limit": 60, "form": "chat", "instruction": "is it sad, {}", "cut": "right"}
    renderer = WritingRenderer(tokenizer, **limits)
    made = renderer.rows(examples([("the fox is good " * 12, "fox")]))
    told = tokenizer.decode(made.ids[0]).replace(" ", "").replace("Ġ", "")
    assert len(made.ids[0]) <= 60 and made.cut[0] > 0
    assert told.startswith("<s>userisitsad,thefoxisgood")
    assert "</s>" in told and told.count("assistant") == 1


def test_an_answer_is_refused_and_never_cut(folders):
    with pytest.raises(DataError, match=r"t\.jsonl:1: its answer has \d+ tokens, more than 9"):
        renderer_of(folders("t5"), limit=9).rows(examples([("a", "the red fox is glad of it" * 3)]))


def test_shortening_gives_up_where_nothing_would_be_left(tokenizers):
    turns = [Turn("user", "a dog")]
    assert shorten_question(tokenizers("t5"), turns, lambda _: 99, "right") is None
    assert without(tokenizers("t5"), "a dog", 99, "left") == ""
    assert shorten_question(tokenizers("t5"), turns, lambda _: 0, "right") == (turns, 0)


class TestInstruction:
    @pytest.mark.parametrize(
        ("task", "form", "script", "asked"),
        [
            ("translation", "chat", "other", "Translate: {}"),
            ("translation", "chat", "han", "翻译：{}"),
            ("translation", "none", "other", "{}\nTranslation: "),
            ("summarization", "chat", "han", "总结：{}"),
            ("summarization", "none", "han", "{}\n摘要："),
            ("text-generation", "chat", "han", ""),
        ],
    )
    def test_a_decoder_is_told_what_to_do(self, task, form, script, asked):
        assert instruction_of("auto", task, form, script, seq2seq=False) == asked

    def test_an_encoder_decoder_is_asked_nothing(self):
        assert instruction_of("auto", "translation", "none", "han", seq2seq=True) == ""

    def test_what_the_user_says_holds(self):
        assert instruction_of("So: {}", "translation", "none", "han", seq2seq=True) == "So: {}"
        assert instruction_of("", "translation", "chat", "other", seq2seq=False) == ""


def test_an_encoder_decoder_has_no_template(tokenizers):
    assert form_of(tokenizers("t5"), "auto", "turns", seq2seq=True) == "none"
    with pytest.raises(PlanError, match=r"text\.template = \"chat\".*encoder-decoder"):
        form_of(tokenizers("t5"), "chat", "texts", seq2seq=True)


class TestLanguages:
    @pytest.fixture
    def spoken(self):
        pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁a", "▁dog", "d", "o", "g"]
        vocabulary = [(piece, float(-place)) for place, piece in enumerate(pieces)]
        return MBartTokenizer(vocab=vocabulary, src_lang="en_XX", tgt_lang=None)

    def test_codes_stand_around_the_texts(self, spoken):
        speak(spoken, "", "de_DE")
        code = spoken.convert_tokens_to_ids("de_DE")
        made = spoken(text_target="a dog")["input_ids"]
        assert code in made
        if made[0] == code:
            assert lead(spoken) == (code,)

    def test_a_base_of_several_languages_asks_for_one(self, spoken):
        spoken.tgt_lang = None
        with pytest.raises(PlanError, match=r"text\.target_language: .* name one by its code"):
            speak(spoken, "", "")

    def test_a_wrong_code_is_told_with_the_nearest(self, spoken):
        with pytest.raises(PlanError, match=r"'de_DX': is no language.*de_DE"):
            speak(spoken, "", "de_DX")

    def test_a_code_without_effect_is_refused(self, tokenizers):
        with pytest.raises(PlanError, match=r"text\.source_language = 'en_XX': has no effect"):
            speak(tokenizers("t5"), "en_XX", "")
        speak(tokenizers("t5"), "", "")
