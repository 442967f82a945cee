"""Servers that the tests of a session share."""

from __future__ import annotations

import openai
import pytest

import loopback
import writers
from folders import base_folder
from tenon.serve.engine import Engine


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Adapters with heads on a tiny encoder, in the folder that is served."""
    folder = tmp_path_factory.mktemp("served")
    base = base_folder(folder / "bases", "bert")
    loopback.readers(base, folder / "root")
    return folder


@pytest.fixture(scope="session")
def reading(root):
    """An engine over the tiny encoder with all of them."""
    with Engine(str(root / "bases" / "bert")) as engine:
        for name, folder in loopback.places(root / "root").items():
            engine.add(name, folder)
        yield engine


@pytest.fixture(scope="session")
def reader(reading, root):
    """A server of it, without keys."""
    with loopback.serving(reading, root=root / "root") as answering:
        yield answering


@pytest.fixture(scope="session")
def writer(tmp_path_factory):
    """A server over a tiny decoder: one adapter for conversations, one for prompts."""
    folder = tmp_path_factory.mktemp("written")
    base = writers.causal_folder(folder, "llama", loopback.CHAT)
    with Engine(str(base)) as engine:
        engine.add("talker", loopback.talker(base, folder / "talker"))
        prompts = writers.save(writers.writer(base, shaken=True), base, folder / "prompts")
        engine.add("prompts", prompts)
        with loopback.serving(engine) as answering:
            yield answering


@pytest.fixture(scope="module")
def client(writer):
    """The official client of OpenAI, at that server."""
    with openai.OpenAI(base_url=f"{writer.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened
