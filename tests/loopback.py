"""Loopback: real servers on loopback, over tiny bases with adapters of every task."""

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

CHAT = writers.CHATML
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
        # No certificates are read for a client that asks loopback.
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=False, **more)


@contextmanager
def serving(
    engine: Engine,
    *,
    keys: Keys | None = None,
    root: Path | None = None,
    **settings: Any,
) -> Iterator[Answering]:
    """Have a server answer on a free port of loopback.

    Args:
        settings: of the server.
    """
    service = Service(engine, ServerSettings(**settings), keys or Keys(), root)
    listening = listen("127.0.0.1", 0, keys=keys is not None)
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


def readers(base: Path, out: Path) -> None:
    """Write adapters with heads on a tiny encoder: of single texts, pairs, spans and answers."""
    single = {"columns": {"text": "t"}}
    mood = models.save(
        models.classifier(base), base, out / "mood" / "adapter", plan_digest=PLAN, **single
    )
    _report(mood)
    models.save(models.classifier(base, "houlsby"), base, out / "tone", "houlsby", **single)
    pairs = {"columns": {"text": "t", "pair": "p"}}
    models.save(models.classifier(base), base, out / "duo", **pairs)
    _tagger(base, out / "names")
    _finder(base, out / "finder")


def places(out: Path) -> dict[str, Path]:
    """Give where these adapters lie, by name."""
    return {
        name: out / name / "adapter" if name == "mood" else out / name
        for name in ("mood", "tone", "duo", "names", "finder")
    }


def _report(adapter: Path) -> None:
    """Put a report beside an adapter, as a run does."""
    folder = adapter.parent / "report"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"environment": {"plan": PLAN}}))
    (folder / "report.html").write_text(REPORT)


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
