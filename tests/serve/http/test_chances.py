"""Chances over the wire: seeds, texts that end an answer, and the probabilities of tokens."""

from __future__ import annotations

import pytest
import torch

from tenon.evaluate.answerer import open_answerer
from tenon.text.batch import of_ids

ASKED = [{"role": "user", "content": "the old dog"}]
MOST = 8


@pytest.fixture(scope="module")
def ask(client):
    def asked(**more):
        given = {"model": "talker", "messages": ASKED, "max_tokens": MOST, **more}
        return client.chat.completions.create(**given).choices[0]

    return asked


def test_a_seed_decides_what_is_drawn(ask):
    drawn = [ask(temperature=1.5, seed=seed).message.content for seed in (1, 2, 3, 1, 2, 3)]
    assert drawn[:3] == drawn[3:]
    assert len(set(drawn)) > 1


def test_the_likeliest_alone_are_drawn(ask):
    greedy = ask().message.content
    assert {ask(temperature=2.0, top_p=1e-6, seed=seed).message.content for seed in range(3)} == {
        greedy
    }


def test_an_answer_ends_before_a_text_that_ends_it(ask, client):
    whole = ask().message.content
    for place in range(1, len(whole)):
        stop = whole[place : place + 2]
        first = whole.index(stop)
        ended = ask(stop=[stop])
        assert (ended.message.content, ended.finish_reason) == (whole[:first], "stop")
        events = client.chat.completions.create(
            model="talker", messages=ASKED, max_tokens=MOST, stop=[stop], stream=True
        )
        streamed = "".join(each.choices[0].delta.content or "" for each in events if each.choices)
        assert streamed == whole[:first]
    assert ask(stop=["\u2603"]).message.content == whole


def test_probabilities_are_those_of_the_model(client, writer):
    answer = client.completions.create(
        model="prompts", prompt="the old dog", max_tokens=MOST, logprobs=3
    )
    told = answer.choices[0].logprobs
    alone = open_answerer(writer.service.handles["prompts"].folder, device="cpu")
    read = alone.renderer.tokenizer("the old dog", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        ids = list(read)
        length = answer.usage.prompt_tokens
        ids = ids if len(ids) == length else [alone.renderer.tokenizer.bos_token_id, *ids]
        assert len(ids) == length
        for token, logprob, top in zip(
            told.tokens, told.token_logprobs, told.top_logprobs, strict=True
        ):
            logits_1V = alone.model.next_logits_BV(of_ids([ids]))
            expected_V = logits_1V[0].log_softmax(-1)
            best = int(expected_V.argmax())
            assert logprob == pytest.approx(float(expected_V[best]), abs=1e-4)
            assert sorted(top.values()) == pytest.approx(expected_V.topk(3).values.tolist()[::-1])
            assert token in top
            ids.append(best)
    assert told.text_offset[0] == 0
    assert told.text_offset == sorted(told.text_offset)


def test_a_conversation_tells_each_token(ask):
    answer = ask(logprobs=True, top_logprobs=2)
    told = answer.logprobs.content
    assert "".join(each.token for each in told).strip().startswith(answer.message.content[:1])
    for each in told:
        assert len(each.top_logprobs) == 2
        assert each.logprob == max(other.logprob for other in each.top_logprobs)
        assert bytes(each.bytes).decode() == each.token
