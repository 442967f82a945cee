"""Heads over the wire: what is served is what is evaluated."""

from __future__ import annotations

import json
import subprocess

import pytest

import loopback
from tenon.evaluate.answerer import open_answerer
from tenon.serve.http.heads import plain

TEXTS = [loopback.TEXT, "the best day 😀 of my parcel", "sad"]
QUESTION = {"question": "was it sad?", "context": "the old dog 😀 was tired; it was a bad day"}
ASKED = {
    "mood": ("/v1/classify", TEXTS, TEXTS),
    "tone": ("/v1/classify", TEXTS, TEXTS),
    "duo": ("/v1/classify", [loopback.PAIR], [tuple(loopback.PAIR.values())]),
    "names": ("/v1/tag", TEXTS, TEXTS),
    "finder": ("/v1/answer", [QUESTION], [tuple(QUESTION.values())]),
}


@pytest.fixture(scope="module")
def client(reader):
    with reader.client() as opened:
        yield opened


def close(first, second) -> bool:
    """Whether two answers are the same but for the last digits of numbers."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(close(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(close, first, second))
    if isinstance(first, float):
        return first == pytest.approx(second, abs=1e-5)
    return first == second


@pytest.mark.parametrize("name", ASKED)
def test_served_is_evaluated(client, root, name):
    route, sent, asked = ASKED[name]
    result = client.post(route, json={"model": name, "input": sent}).json()["results"][0]
    alone = open_answerer(loopback.places(root / "root")[name], device="cpu")
    wanted = [plain(reply) for reply in alone.predict(asked)]
    assert close(json.loads(json.dumps(wanted)), result["answers"])
    assert result["task"] == alone.manifest.task


def test_places_are_characters(client):
    context = QUESTION["context"]
    found = client.post("/v1/answer", json={"model": "finder", "input": QUESTION}).json()
    best = found["results"][0]["answers"][0]
    for each in (best, *best["others"]):
        if each["start"] is not None:
            assert context[each["start"] : each["end"]] == each["answer"]
    spans = client.post("/v1/tag", json={"model": "names", "input": TEXTS}).json()
    rows = zip(TEXTS, spans["results"][0]["answers"], strict=True)
    assert all(text[s["start"] : s["end"]] == s["text"] for text, a in rows for s in a["spans"])


def test_one_text_through_many_adapters(client, reading):
    asked = {"adapters": ["mood", "tone"], "input": TEXTS[0]}
    results = client.post("/v1/classify", json=asked).json()["results"]
    assert [each["adapter"] for each in results] == ["mood", "tone"]
    for each in results:
        alone = client.post("/v1/classify", json={"model": each["adapter"], "input": TEXTS[0]})
        assert close(alone.json()["results"][0], each)
        assert each["digest"] == reading.handles[each["adapter"]].digest


def test_a_digest_pins(client, reading):
    digest = reading.handles["mood"].digest
    for pin, status in ((digest[:8], 200), (digest, 200), ("0" * 8, 404), (digest[:7], 400)):
        asked = {"model": f"mood@{pin}", "input": "sad"}
        answer = client.post("/v1/classify", json=asked)
        assert answer.status_code == status
    assert digest[:12] in client.get("/v1/models/mood@00000000").json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "param", "told"),
    [
        ({"model": "mod", "input": "a"}, 404, "model", "there is mood"),
        ({"model": "bert", "input": "a"}, 400, "model", "no head"),
        ({"model": "names", "input": "a"}, 400, "model", "/v1/tag"),
        ({"model": "duo", "input": "a"}, 400, "input", "pairs of texts"),
        ({"model": "mood", "input": {"text": "a", "pair": "b"}}, 400, "input", "single texts"),
        ({"model": "mood", "adapters": ["mood"], "input": "a"}, 400, "model", "not both"),
        ({"input": "a"}, 400, "model", "not both"),
        ({"adapters": ["mood", "mood"], "input": "a"}, 400, "adapters", "twice"),
        ({"model": "mood", "inputs": "a"}, 400, "inputs", "did you mean input?"),
        ({"model": "mood", "input": " "}, 400, None, "pattern"),
        ({"model": "mood", "input": []}, 400, None, "at least 1"),
        ({"model": 3, "input": "a"}, 400, "model", "valid string"),
        ({"model": "mood", "input": "\ud800"}, 400, None, "unicode"),
    ],
)
def test_what_cannot_be_answered_is_told(client, body, status, param, told):
    answer = client.post(
        "/v1/classify", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    error = answer.json()["error"]
    assert answer.status_code == status
    assert told in error["message"]
    assert param is None or error["param"] == param


def test_curl(reader):
    body = json.dumps({"model": "mood", "input": loopback.TEXT})
    command = ["curl", "-sS", f"{reader.url}/v1/classify", "-H", "Content-Type: application/json"]
    done = subprocess.run([*command, "-d", body], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)["results"][0]["answers"][0]
    assert answer["probability"] == max(answer["probabilities"].values())


def test_cards_and_reports(client, root):
    assert client.get("/v1/cards/mood").text == "# mood"
    report = client.get("/v1/reports/mood")
    assert report.text == loopback.REPORT
    assert "sandbox" in report.headers["content-security-policy"]
    assert client.get("/v1/reports/tone").status_code == 404
    card = root / "root" / "tone" / "README.md"
    held = card.read_text()
    try:
        card.write_text("other")
        assert client.get("/v1/cards/tone").status_code == 409
    finally:
        card.write_text(held)
