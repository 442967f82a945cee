"""Scribe: a chat template that takes too long, or too much, is no harm to the server."""

from __future__ import annotations

import asyncio

import pytest

import writers
from tenon.serve.http.refusal import Refused
from tenon.serve.http.scribe import Scribe
from tenon.serve.http.settings import ServerSettings

LONG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
LARGE = "{{ messages[0]['content'] * 999999999 }}"
HARM = (
    "{% if messages[0]['content'] == 'long' %}" + LONG + "{% endif %}"
    "{% if messages[0]['content'] == 'large' %}" + LARGE + "{% endif %}"
)
FORM = {"limit": 48, "form": "chat", "instruction": "", "cut": "", "seq2seq": False}


def asked(text):
    return {"turns": [["user", text]], "form": FORM, "languages": ["", ""]}


def test_time_and_memory_of_a_template_are_bounded(tmp_path):
    folder = writers.causal_folder(tmp_path, "llama", writers.CHATML)
    path = folder / "chat_template.jinja"
    path.write_text(HARM + path.read_text())
    renderer = writers.renderer_of(folder, form="chat")
    wanted = tuple(renderer.rows(writers.examples([("the old dog", "")], answered=False)).ids[0])

    async def story():
        scribe = Scribe(folder, ServerSettings(template_seconds=1.5))
        try:
            assert (await scribe.write(asked("the old dog"))).ids == wanted
            for text in ("large", "long"):
                with pytest.raises(Refused) as refused:
                    await scribe.write(asked(text))
                assert refused.value.status == 400
            assert (await scribe.write(asked("the old dog"))).ids == wanted
        finally:
            await scribe.end()

    asyncio.run(story())
