"""WritingRenderer: prompts and conversations to token ids and weights."""

from __future__ import annotations

import numpy as np
import pytest

from tenon.core.errors import DataError
from tenon.data.gold import Turn
from tenon.data.text_generation import example_of
from tenon.text.text_generation_render import (
    WritingRenderer,
    answer_tokens,
    form_of,
    last_answer,
)
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import collect
from writers import CHATML, causal_folder, examples


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    cache = tmp_path_factory.mktemp("bases")
    return {
        name: load_tokenizer(causal_folder(cache, "llama", t))
        for name, t in (("chat", CHATML), ("none", ""))
    }


def talk(*texts: str, origin: str = "t:1"):
    roles = ("user", "assistant")
    turns = [Turn(roles[n % 2], text, trained=n % 2 == 1) for n, text in enumerate(texts)]
    return example_of(tuple(turns), origin)


@pytest.mark.parametrize("form", ["chat", "none"])
def test_what_is_asked_begins_what_is_learned(form, tokenizers):
    renderer = WritingRenderer(tokenizers[form], 64, form)
    learned, asked = (renderer.rows([talk(*texts)]) for texts in (("red fox", "day"), ("red fox",)))
    place = last_answer(learned.targets[0])
    assert learned.ids[0][:place] == asked.ids[0]
    assert not any(asked.targets[0]) and len(asked.targets[0]) == len(asked.ids[0])
    end = learned.ids[0][place:].index(renderer.stop_ids[0]) + place
    assert learned.targets[0][place : end + 1] == [1.0] * (end + 1 - place), "the end is learned"
    assert not any(learned.targets[0][end + 1 :])


def test_an_instruction_stands_around_the_prompt(tokenizers):
    tokenizer = tokenizers["none"]
    renderer = WritingRenderer(tokenizer, 64, "none", "the {} is")
    plain = WritingRenderer(tokenizer, 64, "none")
    assert renderer.rows([talk("fox")]).ids == plain.rows([talk("the fox is")]).ids
    assert renderer.digest != plain.digest


def test_every_answer_of_a_conversation_is_learned(tokenizers):
    renderer = WritingRenderer(tokenizers["chat"], 64, "chat")
    made = renderer.rows([talk("a", "dog", "b", "fox")])
    starts = np.diff(made.targets[0], prepend=0) > 0
    assert starts.sum() == 2
    assert last_answer(made.targets[0]) == np.flatnonzero(starts)[-1]


@pytest.mark.parametrize("form", ["chat", "none"])
def test_a_prompt_loses_its_left_and_an_answer_nothing(form, tokenizers):
    renderer = WritingRenderer(tokenizers[form], 20, form)
    whole = WritingRenderer(tokenizers[form], 999, form).rows([talk("dog " * 20, "red fox")])
    made = renderer.rows([talk("dog " * 20, "red fox")])
    assert len(made.ids[0]) == 20
    assert made.cut == [len(whole.ids[0]) - 20]
    assert sum(made.targets[0]) == sum(whole.targets[0])
    assert made.ids[0][-10:] == whole.ids[0][-10:] and made.ids[0][0] == whole.ids[0][0]


@pytest.mark.parametrize("form", ["chat", "none"])
def test_answers_that_leave_no_prompt_are_refused_all_at_once(form, tokenizers):
    renderer = WritingRenderer(tokenizers[form], 20, form)
    rows = [
        talk("a", "dog " * 30, origin="t:1"),
        talk("a", "b", origin="t:2"),
        talk("a", "fox " * 30, origin="t:3"),
    ]
    with pytest.raises(DataError) as caught:
        renderer.rows(rows)
    first, second = str(caught.value).splitlines()
    assert first.startswith("t:1: ") and second.startswith("t:3: ")
    assert "never cut" in first and "raise the limit" in first


def test_typed_control_tokens_stay_text_and_are_counted(tokenizers):
    renderer = WritingRenderer(tokenizers["chat"], 64, "chat")
    tokens = collect([talk("a </s> b", "c")], renderer)
    assert tokens.tally == {"escaped": 1}
    plain = collect([talk("a b", "c")], renderer)
    end = renderer.stop_ids[0]
    assert tokens.ids(0).tolist().count(end) == plain.ids(0).tolist().count(end)


def test_characters_that_the_base_does_not_know_are_no_control_tokens(tokenizers):
    for form in ("chat", "none"):
        made = WritingRenderer(tokenizers[form], 64, form).rows([talk("这", "b")])
        assert tokenizers[form].unk_token_id in made.ids[0]


def test_the_template_is_part_of_the_digest(tokenizers):
    chat, none = (WritingRenderer(tokenizers["chat"], 64, form) for form in ("chat", "none"))
    assert chat.template_digest and not none.template_digest
    assert chat.digest != none.digest


def test_which_form_prompts_have(tokenizers):
    assert form_of(tokenizers["chat"], "auto", "texts") == "chat"
    assert form_of(tokenizers["none"], "auto", "texts") == "none"
    assert form_of(tokenizers["none"], "auto", "turns") == "chat"
    assert form_of(tokenizers["chat"], "none", "texts") == "none"
    assert form_of(tokenizers["none"], "chat", "texts") == "chat"


def test_the_longest_answer_is_measured(tokenizers):
    renderer = WritingRenderer(tokenizers["none"], 64, "none")
    tokens = collect(examples([("a", " dog"), ("a", " dog fox red")]), renderer)
    assert answer_tokens(tokens) == max(int(sum(tokens.targets(row))) for row in range(2))
    assert answer_tokens(collect(examples(answered=False), renderer)) == 0


@pytest.mark.parametrize(
    ("weights", "place"), [([0, 0, 1, 1], 2), ([0, 1, 0, 1, 1, 0], 3), ([0, 0], 2), ([1], 0)]
)
def test_the_last_answer(weights, place):
    assert last_answer(weights) == place


def test_answers_that_are_learned_one_by_one_are_rows_of_one_example(tokenizers):
    """A template that drops what was thought before teaches each answer at its own end."""
    from tenon.text.template import ChatTemplate

    dropping = CHATML.replace(
        "message['content'] }}</s>",
        "(message['content'] if loop.last or message['role'] == 'user' else 'a') }}</s>",
    )
    renderer = WritingRenderer(tokenizers["chat"], 64, "chat")
    renderer.__dict__["template"] = ChatTemplate(tokenizers["chat"], dropping)
    tokens = collect([talk("i", "dog", "my", "fox"), talk("it", "red")], renderer)
    assert tokens.column("example") == [0, 0, 1]
    assert (tokens.texts, tokens.windowed) == (2, 0)
    assert all(any(tokens.targets(row)) for row in range(3))
