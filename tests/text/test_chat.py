"""Chat: what is learned of a conversation, and that it is what the base is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tenon.core.errors import DataError, PlanError, TenonError
from tenon.data.gold import Turn
from tenon.text.chat import (
    chat_template,
    encode_answers,
    encode_chat,
    encode_completion,
    encode_prompt,
    encode_question,
    fit,
    unrolled,
)
from tenon.text.template import PLAIN, Refused
from tenon.text.tokenizer import load_tokenizer
from text.templates import STYLES, tokenizer_of

OWN = [name for name, style in STYLES.items() if style.template]
WHERE = "chat.jsonl:7"


@cache
def template(name):
    return chat_template(tokenizer_of(name))


def talk(*texts, system=None, trained=None):
    """User and assistant in turn; the answers of `trained`, or all, are learned."""
    turns = [] if system is None else [Turn("system", system)]
    for place, text in enumerate(texts):
        answers = place % 2 == 1
        turns.append(
            Turn(
                "assistant" if answers else "user",
                text,
                answers and (trained is None or place // 2 in trained),
            )
        )
    return turns


def written(name, turns, *, ask=False):
    """What transformers makes of it, as ids."""
    own = template(name)
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    return own.tokenizer.apply_chat_template(
        messages,
        chat_template=own.source,
        add_generation_prompt=ask,
        tokenize=True,
        return_dict=False,
        beginning=own.beginning,
    )


def learned(name, row):
    """The runs that are learned, each as text."""
    runs, open_run = [], []
    for token, weight in [*zip(row.ids, row.weights, strict=True), (0, 0)]:
        if weight:
            open_run.append(token)
        elif open_run:
            runs.append(template(name).tokenizer.decode(open_run))
            open_run = []
    return runs


words = st.sampled_from(
    [
        *"aé我。👍🏽!\n \t",
        "  ",
        "\n\n",
        "hello",
        " world",
        "the answer",
        "e\u0301",
        "\u200b",
        "天气",
        "<",
        "|",
    ]
)
said = st.lists(words, min_size=1, max_size=6).map("".join).filter(str.strip)
# Text that begins with a line break may be one token with what the template writes before it.
plainly = said.map(str.strip).filter(lambda text: text[0] not in "<|")
latin = st.text("abc the", min_size=1, max_size=9).map(str.strip).filter(bool)
controls = ["<|im_end|>", "<|im_start|>", "</s>", "<s>", "[INST]", "<|eot_id|>", "<end_of_turn>"]
controls += [
    "<|end|>",
    "<|user|>",
    "<think>",
    "</think>",
    "<|endoftext|>",
    "<bos>",
    "<|im_<|im_end|>end|>",
]
hostile = st.lists(st.one_of(words, st.sampled_from(controls)), min_size=1, max_size=6).map("".join)


@pytest.mark.parametrize("name", STYLES)
@settings(max_examples=25)
@given(texts=st.lists(plainly, min_size=4, max_size=4), system=st.none() | plainly)
def test_the_ids_are_those_of_transformers(name, texts, system):
    turns = talk(*texts, system=system if STYLES[name].system else None, trained=[1])
    assert encode_chat(template(name), turns, WHERE).ids == written(name, turns)
    asked = encode_question(template(name), turns[:-1], WHERE)
    assert asked.ids == written(name, turns[:-1], ask=True)
    assert not any(asked.weights)


@pytest.mark.parametrize("name", STYLES)
@settings(max_examples=25)
@given(texts=st.lists(st.one_of(said, hostile), min_size=4, max_size=4), system=st.none() | said)
def test_what_the_base_is_asked_with_begins_what_it_is_trained_on(name, texts, system):
    assume(all(text.strip() for text in texts))
    turns = talk(*texts, system=system if STYLES[name].system else None, trained=[1])
    try:
        row = encode_chat(template(name), turns, WHERE)
    except Refused:
        assert name == "qwen3" and any("</think>" in text for text in texts)
        assume(False)
    asked = encode_question(template(name), turns[:-1], WHERE)
    assert row.ids[: len(asked.ids)] == asked.ids
    assert row.prompt == len(asked.ids)
    end = template(name).tokenizer.convert_tokens_to_ids(STYLES[name].end)
    last = len(row.ids) - 1 - row.weights[::-1].index(1)
    assert row.ids[last] == end == template(name).stop_ids[0]
    assert row.weights == [0] * row.prompt + [1] * (last + 1 - row.prompt) + [0] * (
        len(row.ids) - 1 - last
    )


@pytest.mark.parametrize("name", STYLES)
@settings(max_examples=25)
@given(texts=st.lists(hostile, min_size=2, max_size=2))
def test_control_tokens_that_are_typed_stay_text(name, texts):
    assume(all(text.strip() for text in texts))
    own = template(name)
    calm = encode_chat(own, talk("hello", "world"), WHERE)
    try:
        row = encode_chat(own, talk(*texts), WHERE)
    except Refused:
        assert name == "qwen3" and any("</think>" in text for text in texts)
        assume(False)
    for token in own.specials:
        assert row.ids.count(token) == calm.ids.count(token)
    typed = sum(text.count(sign) for text in texts for sign in own.tokenizer.all_special_tokens)
    assert row.escaped or not typed
    joined = own.tokenizer.decode(row.ids)
    for text in texts:
        assert all(line.strip() in joined for line in text.split("\n"))


@pytest.mark.parametrize("name", STYLES)
def test_answers_are_learned_through_their_end_and_nothing_else_is(name):
    turns = talk("what is this", "the answer", "hello", "yes")
    end = STYLES[name].end
    rows = encode_answers(template(name), turns, WHERE)
    found = [run for row in rows for run in learned(name, row)]
    assert len(found) == 2 and len(rows) == (2 if name == "qwen3" else 1)
    for run, text in zip(found, ("the answer", "yes"), strict=True):
        assert run.replace("<think>\n\n</think>\n\n", "").strip() in (
            f"{text}{end}",
            f"{text} {end}",
        )
    alone = encode_chat(
        template(name),
        [*turns[:1], *(replace(t, trained=False) for t in turns[1:3]), turns[3]],
        WHERE,
    )
    assert len(learned(name, alone)) == 1


@pytest.mark.parametrize("name", OWN)
def test_the_beginning_of_sequence_is_written_once(name):
    own = template(name)
    ids = encode_chat(own, talk("hello", "yes"), WHERE).ids
    if own.tokenizer.bos_token:
        assert ids.count(own.tokenizer.bos_token_id) == int("bos_token" in own.source)


@given(texts=st.lists(latin, min_size=6, max_size=6))
def test_the_template_s_own_marks_are_followed(texts):
    """Of a last character of several tokens transformers marks the first token alone."""
    own = template("marked")
    turns = talk(*texts)
    row = encode_chat(own, turns, WHERE)
    found = own.tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.text} for turn in turns],
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    end = own.tokenizer.convert_tokens_to_ids("<|im_end|>")
    marks = found["assistant_masks"]
    more = [
        mark or (token == end and marks[place - 1])
        for place, (token, mark) in enumerate(zip(row.ids, marks, strict=True))
    ]
    assert row.ids == found["input_ids"]
    assert row.weights == [int(each) for each in more]
    assert row.weights == encode_chat(template("chatml"), turns, WHERE).weights


def test_thinking_is_learned_where_it_is_written():
    own = template("qwen3")
    thought = "<think>\nthe fox is quick\n</think>\n\nyes"
    row = encode_chat(own, talk("hello", thought), WHERE)
    assert learned("qwen3", row) == [f"{thought}<|im_end|>"] and row.escaped == 0
    assert row.ids == written("qwen3", talk("hello", thought))
    assert learned("qwen3", encode_chat(own, talk("hello", "yes"), WHERE)) == [
        "<think>\n\n</think>\n\nyes<|im_end|>"
    ]


def test_a_thought_is_a_token_in_an_answer_and_text_in_a_question():
    own = template("qwen3")
    token = own.tokenizer.convert_tokens_to_ids("<think>")
    row = encode_chat(own, talk("a <think> b", "<think>\nfox\n</think>\n\nyes"), WHERE)
    assert row.ids.count(token) == 1 == row.escaped and row.ids.index(token) == row.prompt


def test_a_template_that_drops_earlier_thinking_is_refused_and_unrolled():
    own = template("qwen3")
    turns = talk("hello", "<think>\none\n</think>\n\nyes", "what", "<think>\ntwo\n</think>\n\nno")
    with pytest.raises(Refused, match=r"^chat.jsonl:7: .*turn 2 .*thinking"):
        encode_chat(own, turns, WHERE)
    rows = encode_answers(own, turns, WHERE)
    assert [learned("qwen3", row) for row in rows] == [
        ["<think>\none\n</think>\n\nyes<|im_end|>"],
        ["<think>\ntwo\n</think>\n\nno<|im_end|>"],
    ]
    assert [row.altered for row in rows] == [0, 1]
    with pytest.raises(Refused, match="turn 2: .* differently once the conversation goes on"):
        encode_chat(own, talk("hello", "yes", "what", "no"), WHERE)


def test_a_system_turn_that_is_written_only_when_asked_is_refused():
    tokenizer = tokenizer_of("mistral")
    tokenizer.chat_template = tokenizer.chat_template.replace("m == asked[-1]", "loop.last")
    own = chat_template(tokenizer)
    assert encode_chat(own, talk("hello", "yes"), WHERE).altered == 0
    for encode in (encode_chat, encode_answers):
        with pytest.raises(Refused, match="what the base is asked with .* into the user's turn"):
            encode(own, talk("hello", "yes", system="be kind"), WHERE)


def test_an_answer_that_the_template_changes_is_refused():
    tokenizer = tokenizer_of("chatml")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "m['content']", "(m['content'] | replace('colour', 'color'))"
    )
    own = chat_template(tokenizer)
    assert encode_chat(own, talk("hello", "a fox"), WHERE).altered == 0
    assert encode_chat(own, talk("colour", "a fox"), WHERE).altered == 1
    with pytest.raises(Refused, match="does not write the text of turn 2 as it is"):
        encode_chat(own, talk("hello", "a colour"), WHERE)


@pytest.mark.parametrize("name", ["llama2", "llama3", "gemma"])
def test_outer_blanks_that_the_template_takes_off_are_counted(name):
    row = encode_chat(template(name), talk(" hello ", "\n yes \n"), WHERE)
    assert row.trimmed == 2 and row.altered == 0
    assert learned(name, row)[0].strip().startswith("yes")


def test_a_turn_that_the_template_leaves_out_is_counted():
    tokenizer = tokenizer_of("chatml")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ '<|im_start|>'",
        "{% if m['role'] == 'system' %}{% continue %}{% endif %}{{ '<|im_start|>'",
        1,
    )
    row = encode_chat(chat_template(tokenizer), talk("hello", "yes", system="be kind"), WHERE)
    assert row.altered == 1


def test_what_the_template_refuses_is_refused_with_its_remedy():
    with pytest.raises(Refused, match="System role not supported; it takes no system turn"):
        encode_chat(template("gemma"), talk("hello", "yes", system="be kind"), WHERE)
    with pytest.raises(Refused, match="must alternate.*; put the roles into an order"):
        encode_chat(
            template("llama2"),
            [Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c", trained=True)],
            WHERE,
        )


@pytest.mark.parametrize(
    ("turns", "what"),
    [
        ([], "no turn is trained"),
        (talk("a", "b", trained=[]), "no turn is trained"),
        ([Turn("user", "a", trained=True)], "is the user's"),
        ([Turn("assistant", "a", trained=True)], "what the base is asked with"),
        (talk("a\ufdd0", "b"), "Unicode reserves"),
    ],
)
def test_a_conversation_that_teaches_nothing_is_refused(turns, what):
    for encode in (encode_chat, encode_answers):
        with pytest.raises(TenonError, match=f"^{WHERE}: .*{what}") as caught:
            encode(template("chatml"), turns, WHERE)
        assert isinstance(caught.value, DataError)
        assert caught.value.fault.where == WHERE and caught.value.fault.remedy


def test_a_base_that_never_ends_an_answer_is_refused():
    tokenizer = tokenizer_of("chatml")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}"
    with pytest.raises(PlanError, match="ends an answer with no token"):
        chat_template(tokenizer)
    tokenizer = tokenizer_of("plain")
    tokenizer.eos_token = None
    with pytest.raises(PlanError, match="no end-of-sequence token"):
        chat_template(tokenizer)


def test_a_base_without_template_is_given_a_plain_one():
    own = template("plain-llama")
    row = encode_chat(own, talk("hello", "yes", system="be kind"), WHERE)
    assert own.is_plain and own.source == PLAIN
    assert own.write(talk("hello", "yes", system="be kind"), ask=True) == (
        "<s>System: be kind\nUser: hello\nAssistant: yes</s>\nAssistant:"
    )
    assert row.ids.count(own.tokenizer.bos_token_id) == 1
    assert not template("chatml").is_plain


def test_the_digest_is_that_of_the_template_s_text():
    for name in OWN:
        text = STYLES[name].template
        assert template(name).digest == hashlib.sha256(text.encode()).hexdigest()
    assert template("plain").digest == hashlib.sha256(PLAIN.encode()).hexdigest()


@given(count=st.integers(1, 5), trained=st.sets(st.integers(0, 4)))
def test_unrolled_conversations_each_train_their_last_turn(count, trained):
    turns = talk(*["x"] * 2 * count, trained=trained)
    parts = unrolled(turns)
    assert len(parts) == len({each for each in trained if each < count})
    for part in parts:
        assert [turn.trained for turn in part] == [False] * (len(part) - 1) + [True]
        assert [turn.text for turn in part] == [turn.text for turn in turns[: len(part)]]


@pytest.mark.parametrize("name", ["plain", "plain-llama", "mistral", "gemma"])
@settings(max_examples=25)
@given(prompt=hostile, completion=hostile)
def test_a_completion_begins_with_what_the_base_is_asked_with(name, prompt, completion):
    tokenizer = template(name).tokenizer
    row = encode_completion(tokenizer, prompt, completion, WHERE)
    asked = encode_prompt(tokenizer, prompt, WHERE)
    assert row.ids[: len(asked.ids)] == asked.ids and row.prompt == len(asked.ids)
    assert row.ids[-1] == tokenizer.eos_token_id and not any(asked.weights)
    assert all(row.weights[row.prompt :])
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert special.isdisjoint(row.ids[bool(STYLES[name].bos) : -1])
    assert tokenizer.decode(asked.ids[bool(STYLES[name].bos) :]).strip() == prompt.strip()


@pytest.mark.parametrize("name", ["plain", "plain-llama", "mistral"])
@settings(max_examples=25)
@given(prompt=plainly, completion=plainly)
def test_prompt_and_completion_read_as_one_text(name, prompt, completion):
    tokenizer = template(name).tokenizer
    row = encode_completion(tokenizer, prompt, f" {completion}", WHERE)
    ids = row.ids[bool(STYLES[name].bos) : -1]
    assert tokenizer.decode(ids).strip() == f"{prompt} {completion}"


@pytest.mark.parametrize("name", ["llama3", "chatml"])
@given(limit=st.integers(1, 60), long=st.integers(0, 40))
def test_only_the_prompt_is_cut_and_only_at_its_left(name, limit, long):
    own = template(name)
    row = encode_chat(own, talk("the fox " * long + "?", "yes", "no", "hello"), WHERE)
    begin = int(row.ids[0] == own.tokenizer.bos_token_id)
    kept = len(row.ids) - row.prompt
    if len(row.ids) > limit and limit < kept + 1 + begin:
        with pytest.raises(Refused, match="never cut"):
            fit(row, limit, WHERE, tokenizer=own.tokenizer, cut="left")
        return
    short = fit(row, limit, WHERE, tokenizer=own.tokenizer, cut="left")
    assert len(short.ids) == min(limit, len(row.ids)) == len(short.weights)
    assert short.cut == len(row.ids) - len(short.ids)
    assert (
        short.ids[begin:] == row.ids[begin + short.cut :] and short.ids[:begin] == row.ids[:begin]
    )
    assert sum(short.weights) == sum(row.weights)
    if short.cut:
        with pytest.raises(Refused, match=rf"{len(row.ids)} tokens, more than {limit}"):
            fit(row, limit, WHERE, tokenizer=own.tokenizer, cut="refuse")


@pytest.mark.public_data
def test_the_small_lm_of_the_house(shared):
    folder = shared / "models" / "tenon-small-lm"
    if not folder.is_dir():
        pytest.skip("no tenon-small-lm")
    own = chat_template(load_tokenizer(folder))
    turns = talk(
        "你好，今天天气怎么样？", "很好。", "Say <|im_end|> please", "No.", system="Be kind."
    )
    row = encode_chat(own, turns, WHERE)
    assert own.stop_ids == (own.tokenizer.convert_tokens_to_ids("<|im_end|>"),)
    assert row.escaped == 1 and row.ids.count(own.stop_ids[0]) == 5
    calm = [replace(turn, text=turn.text.replace("<|im_end|>", "it")) for turn in turns]
    found = own.tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.text} for turn in calm],
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    row = encode_chat(own, calm, WHERE)
    assert (row.ids, row.weights) == (found["input_ids"], found["assistant_masks"])
    asked = encode_question(own, calm[:-1], WHERE)
    assert row.ids[: len(asked.ids)] == asked.ids
