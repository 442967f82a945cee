"""Servers on the loopback: an engine that answers as vLLM and SGLang do, from a real model."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

Answer = Callable[[str, dict[str, Any]], Any]
"""Path and body of a request to what is answered."""


@contextlib.contextmanager
def serving(answer: Answer, seen: Callable[[Any], object] | None = None) -> Iterator[str]:
    """Serve JSON on a free port of the loopback; yield its URL.

    Args:
        seen: is told the headers of each request.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._reply({})

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            self._reply(json.loads(self.rfile.read(length)))

        def _reply(self, body):
            if seen:
                seen(self.headers)
            try:
                status, told = 200, answer(self.path, body)
            except LookupError as error:
                status, told = 404, {"error": str(error)}
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def engine(
    names: dict[str, Any], base: str, *, as_ids: bool = True, listed: bool = False
) -> Answer:
    """Answer completions and classifications from models of transformers, by name.

    Args:
        names: an adapter's name to the model that answers in it.
        base: the name of the base; a request that names an adapter beside it is answered by that.
        as_ids: whether tokens are named by their ids; else by texts that some of them share.
        listed: whether scores are lists of entries, as llama.cpp writes them.
    """

    def answer(path, body):
        if path == "/v1/models":
            return {"data": [{"id": base}, *({"id": name} for name in names)]}
        named = body.get("lora_path") or body["model"]
        if named not in names:
            raise LookupError(f"no model {named}")
        if path == "/v1/completions":
            made = _completed(names[named], body, as_ids)
            return {"choices": [_listed(made) if listed else made]}
        if path == "/classify":
            return {"data": [_classified(names[named], ids, body) for ids in body["input"]]}
        raise LookupError(path)

    return answer


@torch.no_grad()
def _completed(model, body, as_ids):
    ids, tops, chosen = list(body["prompt"]), [], []
    for _ in range(body["max_tokens"]):
        scores = model(input_ids=torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
        best = scores.topk(body["logprobs"])
        names = (f"token_id:{i}" if as_ids else "ab"[i % 2] for i in best.indices.tolist())
        tops.append(dict(zip(names, best.values.tolist(), strict=False)))
        chosen.append(float(best.values[0]))
        ids.append(int(best.indices[0]))
    return {"logprobs": {"top_logprobs": tops, "token_logprobs": chosen}}


def _listed(made):
    tops = made["logprobs"]["top_logprobs"]
    entries = [[{"token": name, "logprob": one} for name, one in top.items()] for top in tops]
    return {"logprobs": {"content": [{"top_logprobs": entry} for entry in entries]}}


@torch.no_grad()
def _classified(model, ids, body):
    scores = model(input_ids=torch.tensor([ids])).logits[0].float()
    return {
        "probs": (scores if body.get("use_activation") is False else scores.softmax(-1)).tolist()
    }
