"""Writing over the wire, as the official client of OpenAI asks for it."""

from __future__ import annotations

import openai
import pytest

from tenon.data.gold import Turn
from tenon.data.text_generation import example_of
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.generate import clipped, generate, room

ASKED = [{"role": "user", "content": "the old dog"}]


@pytest.fixture(scope="module")
def evaluated(writer):
    """What each adapter writes where it is evaluated."""

    def write(name):
        alone = open_answerer(writer.service.handles[name].folder, device="cpu")
        ids = alone.renderer.rows([example_of((Turn("user", "the old dog"),), "o")]).ids[0]
        most = alone.manifest.text.max_new_tokens
        kept = clipped(ids, room(alone.model, alone.renderer.limit, most), None)
        stops = alone.renderer.stop_ids
        said = generate(alone.model, [kept], stop_ids=stops, max_new_tokens=most, batch_tokens=1)[0]
        return alone.renderer.answer(said.ids), "stop" if said.ended else "length", len(ids)

    return write


def test_a_conversation(client, evaluated, writer):
    text, finish, read = evaluated("talker")
    answer = client.chat.completions.create(model="talker", messages=ASKED)
    assert answer.choices[0].message.content == text
    assert answer.choices[0].finish_reason == finish
    assert answer.system_fingerprint == writer.service.handles["talker"].digest
    assert answer.usage.prompt_tokens == read
    assert answer.usage.total_tokens == read + answer.usage.completion_tokens


def test_a_completion(client, evaluated):
    text, finish, _ = evaluated("prompts")
    answer = client.completions.create(model="prompts", prompt="the old dog")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (text, finish)
    chat = client.chat.completions.create(model="prompts", messages=ASKED)
    assert chat.choices[0].message.content == text


def test_streams_say_the_same(client):
    whole = client.chat.completions.create(model="talker", messages=ASKED)
    events = list(
        client.chat.completions.create(
            model="talker", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(each.choices[0].delta.content or "" for each in events if each.choices)
    assert text == whole.choices[0].message.content
    assert events[0].choices[0].delta.role == "assistant"
    assert [each.choices[0].finish_reason for each in events if each.choices][-1] == "length"
    assert events[-1].usage == whole.usage
    assert len({each.id for each in events}) == 1
    plain = list(client.completions.create(model="prompts", prompt="the old dog", stream=True))
    once = client.completions.create(model="prompts", prompt="the old dog")
    assert "".join(each.choices[0].text for each in plain) == once.choices[0].text


def test_the_base_writes_in_its_own_name(client, writer):
    base = writer.service.base_name
    answer = client.chat.completions.create(model=base, messages=ASKED, max_tokens=3)
    assert answer.usage.completion_tokens == 3
    assert answer.system_fingerprint == writer.service.engine.fingerprint.digest
    assert client.completions.create(model=base, prompt="the old").choices[0].text


def test_embeddings(client, writer):
    base, texts = writer.service.base_name, ["the old dog", "sad"]
    packed = client.embeddings.create(model=base, input=texts)
    plain = client.embeddings.create(model=base, input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
        assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-4)
    assert packed.usage.prompt_tokens > 2


def test_models(client, writer):
    listed = {each.id for each in client.models.list().data}
    assert listed == {"talker", "prompts", writer.service.base_name}
    digest = writer.service.handles["talker"].digest
    assert client.models.retrieve(f"talker@{digest[:8]}").id == "talker"


@pytest.mark.parametrize(
    ("more", "param", "told"),
    [
        ({"n": 2}, "n", "one answer"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools", "not called"),
        ({"response_format": {"type": "json_object"}}, "response_format", "form"),
        ({"top_p": 0.5}, "top_p", "no effect at temperature 0"),
        ({"top_logprobs": 2}, "top_logprobs", "no effect"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "no effect"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 5000}, "max_tokens", "more than 4,096"),
        ({"max_tokens": 60}, "", "room"),
        ({"user": "ann"}, "user", "the key says"),
        ({"extra_body": {"temprature": 1}}, "temprature", "did you mean temperature?"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages", "end with"),
        ({"messages": [{"role": "tool", "content": "a", "tool_call_id": "b"}]}, None, "role"),
        ({"model": "prompts", "messages": [*ASKED, *ASKED]}, "messages", "single prompts"),
    ],
)
def test_what_is_not_supported_is_told(client, more, param, told):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": "talker", "messages": ASKED, **more})
    assert told in refused.value.body["message"]
    assert param is None or (refused.value.body["param"] or "") == param


def test_settings_that_ask_for_nothing_are_taken(client):
    more = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "tools": [], "top_p": 1.0}
    assert client.chat.completions.create(model="talker", messages=ASKED, **more).choices


def test_other_routes_are_named(client):
    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions"):
        client.completions.create(model="talker", prompt="a")
    with pytest.raises(openai.NotFoundError, match="there is talker"):
        client.chat.completions.create(model="tolker", messages=ASKED)
