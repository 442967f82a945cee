"""Conformance: whether a running engine answers as the adapter does that was exported for it.

This file lies beside the exported files. It takes Python alone, no package:

    python conformance.py --url http://127.0.0.1:8000

It asks the engine what `conformance.json` holds answers to, over its HTTP interface, and ends with
0 where the engine answers as the adapter, 1 where it does not, 2 where it cannot be told. Where the
engine wants a key, it is taken from the environment, ENGINE_API_KEY.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

TOLERANCE = 0.2
"""Nats, or units of a logit, by which an engine that computes in 16 bits may differ."""
SHARE = 0.05
"""Share of what the adapter changes that an engine may differ by besides."""
ASKED = 5
"""Scores of the likeliest tokens that are asked for at each place."""
SECONDS = 120
CONFORMS, DIFFERS, UNKNOWN = 0, 1, 2


class Unanswered(Exception):
    """An engine that cannot be reached, or does not answer in the form that was asked for."""


class Found(NamedTuple):
    """How one probe was answered.

    Args:
        error: how far the engine is from the adapter.
        bare: how far it is from the base without the adapter, at the first place.
        change: how far adapter and base are from each other.
        allowed: how far the engine may be from the adapter.
    """

    error: float
    bare: float
    change: float
    allowed: float


def main() -> int:
    """Ask, compare, tell, and give the exit code."""
    asked = _arguments()
    told = json.loads(Path(__file__).with_name("conformance.json").read_text("utf-8"))
    name = asked.model or told["name"]
    ask = {"completions": completed, "classify": classified}[told["api"]]
    try:
        found = [
            ask(asked.url.rstrip("/"), told["engine"], name, probe, asked.tolerance)
            for probe in told["probes"]
        ]
    except Unanswered as error:
        _tell(f"{asked.url}: {error}")
        return UNKNOWN
    code, words = verdict(found, name)
    for place, each in enumerate(found):
        _tell(
            f"probe {place + 1}: differs by {each.error:.3f}, {each.allowed:.3f} is allowed; "
            f"the adapter changes the base by {each.change:.3f}"
        )
    _tell(words)
    return code


def verdict(found: Sequence[Found], name: str) -> tuple[int, str]:
    """Give the exit code and the sentence that all probes make together."""
    wrong = [each for each in found if not each.error <= each.allowed]
    if wrong and all(each.bare <= each.allowed for each in found):
        return DIFFERS, f"{name}: WRONG. This is the base alone: the adapter is not applied."
    if wrong:
        return DIFFERS, (
            f"{name}: WRONG. {len(wrong)} of {len(found)} probes are answered otherwise than by "
            "the adapter, and not as by the base alone: it is applied wrongly, or it is another "
            "adapter or base."
        )
    if not any(each.change > 2 * each.allowed for each in found):
        return UNKNOWN, (
            f"{name}: cannot be told. The adapter changes these answers by no more than the "
            "engine's rounding; give a smaller --tolerance if it computes in float32."
        )
    return CONFORMS, f"{name}: the engine answers {len(found)} probes as the adapter does."


def completed(url: str, engine: str, name: str, probe: dict[str, Any], tolerance: float) -> Found:
    """Let the engine write after a prompt, and compare the scores of its tokens place by place.

    Places behind one where two tokens are about equally likely are not compared: what is written
    from there on may be something else and still be right.
    """
    body: dict[str, Any] = {
        "model": name,
        "prompt": probe["ids"],
        "max_tokens": len(probe["adapter"]),
        "temperature": 0,
        "logprobs": ASKED,
        "ignore_eos": True,
    }
    if engine == "sglang":
        body |= {"model": _served(url), "lora_path": name}
    else:
        body["return_tokens_as_token_ids"] = True
    scores = _scores(_post(f"{url}/v1/completions", body))
    bare = distance(scores[0], probe["base"][0])
    places: list[Found] = []
    for found, held, base in zip(scores, probe["adapter"], probe["base"], strict=False):
        change = distance(held[:ASKED], base)
        allowed = max(tolerance, SHARE * change)
        places.append(Found(distance(found, held), bare, change, allowed))
        if held[0] - held[1] <= 2 * allowed:
            break
    worst = max(places, key=lambda place: place.error / place.allowed)
    return worst._replace(change=max(place.change for place in places))


def classified(url: str, engine: str, name: str, probe: dict[str, Any], tolerance: float) -> Found:
    """Let the engine classify a text, and compare the scores of its labels."""
    del engine
    body = {"model": name, "input": [probe["ids"]], "use_activation": False}
    given = _post(f"{url}/classify", body)
    try:
        values = [float(value) for value in given["data"][0]["probs"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Unanswered(f"answers {json.dumps(given)[:200]}, expected data[0].probs") from error
    if len(values) != len(probe["adapter"]):
        raise Unanswered(
            f"gives {len(values)} scores, the adapter has {len(probe['adapter'])} labels; is the "
            "engine started by launch.sh?"
        )
    error, bare = (_nearest(values, probe[which]) for which in ("adapter", "base"))
    change = _mean([abs(a - b) for a, b in zip(probe["adapter"], probe["base"], strict=True)])
    return Found(error, bare, change, max(tolerance, SHARE * change))


def distance(scores: Sequence[float], held: Sequence[float]) -> float:
    """Give the mean difference between scores and those that were held, both from the largest.

    An engine that names tokens by their text gives fewer scores where two tokens have the same;
    each is then compared to the nearest that was held.
    """
    if len(scores) >= min(ASKED, len(held)):
        return _mean([abs(a - b) for a, b in zip(scores, held, strict=False)])
    return _mean([min(abs(score - each) for each in held) for score in scores])


def _nearest(values: Sequence[float], logits: Sequence[float]) -> float:
    """Compare labels' scores as logits, or as probabilities of either form."""
    forms = [(values, logits)]
    if all(0 < value < 1 for value in values):
        forms.append(([math.log(value / (1 - value)) for value in values], logits))
        most = max(logits)
        whole = most + math.log(sum(math.exp(logit - most) for logit in logits))
        logs = [logit - whole for logit in logits]
        forms.append(([math.log(value) for value in values], logs))
    return min(_mean([abs(a - b) for a, b in zip(*form, strict=True)]) for form in forms)


def _scores(given: Any) -> list[list[float]]:
    """Give the largest scores of the next token at each place, from the largest."""
    try:
        places = _places(given["choices"][0]["logprobs"])
        scores = [sorted(map(float, place), reverse=True)[:ASKED] for place in places]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unanswered(
            f"answers {json.dumps(given)[:200]}, expected choices[0].logprobs"
        ) from error
    if not scores or not all(scores):
        raise Unanswered("wrote no token that has scores")
    return scores


def _places(logprobs: Any) -> list[list[Any]]:
    """Give the scores of each place, from either form in which servers write them."""
    if "content" in logprobs:
        return [[one["logprob"] for one in place["top_logprobs"]] for place in logprobs["content"]]
    if logprobs.get("top_logprobs"):
        return [list(place.values()) for place in logprobs["top_logprobs"]]
    return [[one] for one in logprobs["token_logprobs"]]


def _served(url: str) -> str:
    """Give the name under which the engine serves the base."""
    given = _post(f"{url}/v1/models", None)
    try:
        return str(given["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise Unanswered(f"answers {json.dumps(given)[:200]}, expected data[0].id") from error


def _post(url: str, body: dict[str, Any] | None) -> Any:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("ENGINE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = error.read(400).decode("utf-8", "replace")
        raise Unanswered(f"answers {error.code} ({said})") from error
    except (OSError, ValueError) as error:
        raise Unanswered(f"cannot be asked ({error}); is the engine running there?") from error


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Does the engine answer as the adapter does?")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the engine listens")
    parser.add_argument("--model", default="", help="name of the adapter there, if another")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="nats it may differ by")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
