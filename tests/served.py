"""Served: real servers on loopback, over tiny bases with adapters of every task."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

import models
import taggers
import writers
from tenon.adapters import pack
from tenon.evaluate.probes import probe
from tenon.model.models import model_for
from tenon.serve.engine import Engine
from tenon.serve.http.keys import Keys
from tenon.serve.http.server import Server, listen
from tenon.serve.http.service import Service
from tenon.serve.http.settings import ServerSettings
from tenon.text.answer_render import AnswerRenderer
from tenon.text.tokenizer import load_tokenizer

CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }} {{ message['content'] }}</s>\n"
    "{% endfor %}{{ '<s>assistant ' if add_generation_prompt else '' }}"
)
TEXT = "the old dog was tired and sad"
PLAN = "9f" * 32
REPORT = (
    "<!doctype html><title>mood</title><style>p { color: teal }</style><p>92 % of 60 rows</p>"
    "<script>document.title = 'ran'</script>"
)
PAIR = {"text": "is it a good day?", "pair": "my parcel was early, i was glad"}


@dataclass
class Answering:
    """A server that answers.

    Args:
        url: of it.
        service: behind it.
    """

    url: str
    service: Service

    def client(self, key: str = "", **more: Any) -> httpx.Client:
        """Give a client, with a key."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **more)


@contextmanager
def serving(
    engine: Engine,
    *,
    settings: ServerSettings | None = None,
    keys: Keys | None = None,
    root: Path | None = None,
) -> Iterator[Answering]:
    """Have a server answer on a free port of loopback."""
    service = Service(engine, settings or ServerSettings(), keys or Keys(), root)
    listening = listen("127.0.0.1", 0, keys=bool(keys))
    port = listening.getsockname()[1]
    server, begun = Server(service, listening), threading.Event()
    thread = threading.Thread(target=server.run, args=(begun.set,))
    thread.start()
    try:
        assert begun.wait(120)
        yield Answering(f"http://127.0.0.1:{port}", service)
    finally:
        server.stop()
        thread.join(60)


def readers(base: Path, out: Path) -> dict[str, Path]:
    """Write adapters with heads on a tiny encoder: of single texts, pairs, spans and answers."""
    mood = models.classifier(base)
    run = {"columns": {"text": "t"}, "plan_digest": PLAN}
    tone = models.classifier(base, "houlsby")
    pairs = {"text": "t", "pair": "p"}
    return {
        "mood": _run(models.save(mood, base, out / "mood" / "adapter", **run)),
        "tone": models.save(tone, base, out / "tone", "houlsby", columns={"text": "t"}),
        "duo": models.save(models.classifier(base), base, out / "duo", columns=pairs),
        "names": _tagger(base, out / "names"),
        "finder": _finder(base, out / "finder"),
    }


def _run(adapter: Path) -> Path:
    """Put a report beside an adapter, as a run does."""
    folder = adapter.parent / "report"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"environment": {"plan": PLAN}}))
    (folder / "report.html").write_text(REPORT)
    return adapter


def _tagger(base: Path, out: Path) -> Path:
    model, renderer = taggers.tagger(base, "lora"), taggers.renderer_of(base, units="tokens")
    return taggers.save(model, base, out, "lora", renderer)


def _finder(base: Path, out: Path) -> Path:
    """Write an adapter that answers questions: its head scores where an answer begins and ends."""
    labels = ("start", "end")
    made = taggers.tagger(base, "lora", tags=len(labels))
    taggers.save(made, base, out, "lora", taggers.renderer_of(base, tags=labels))
    held = pack.read(out)
    renderer = AnswerRenderer(load_tokenizer(base), labels, 48, 8)
    task = "question-answering"
    model = model_for(task, made.trunk, made.peft, made.head, "tokens").eval()
    text = held.manifest.text.model_copy(update={"units": "answers", "answer_tokens": 8})
    manifest = held.manifest.model_copy(
        update={"task": task, "text": text, "probes": probe(task, model, renderer)}
    )
    return pack.write(out, replace(held, manifest=manifest), card="# finder")


def talker(base: Path, out: Path) -> Path:
    """Write an adapter that was trained on conversations, on a tiny decoder with a template."""
    model = writers.writer(base, shaken=True)
    writers.save(model, base, out)
    held = pack.read(out)
    renderer = writers.renderer_of(base, form="chat")
    text = held.manifest.text.model_copy(
        update={"units": "turns", "template": "chat", "template_digest": renderer.template_digest}
    )
    manifest = held.manifest.model_copy(
        update={"text": text, "probes": probe("text-generation", model, renderer)}
    )
    return pack.write(out, replace(held, manifest=manifest), card="# talker")
