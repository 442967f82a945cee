"""Limits: each is told where it is passed, and nobody holds what others need."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import loopback
from tenon.serve.engine import Engine
from tenon.serve.http.intake import deep
from tenon.serve.settings import EngineSettings

JSON = {"content-type": "application/json"}
CLASSIFY = {"model": "mood", "input": "sad"}


def nested(value) -> int:
    if isinstance(value, dict):
        return 1 + max(map(nested, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(nested, value), default=0)
    return 0


@settings(max_examples=30)
@given(st.recursive(st.text() | st.integers() | st.none(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_depth_is_that_of_the_value(value):
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert deep(text.encode("utf-8", "surrogatepass")) == nested(value)


@pytest.mark.parametrize("part", [b'"', b'"\\', b"[", b'\\"'])
def test_depth_is_found_in_one_pass(part):
    deep(part * 300_000)  # looking at each byte more than once would not end within the test's time


@pytest.fixture(scope="module")
def tight(reading, root):
    """A server with narrow limits."""
    with loopback.serving(
        reading, root=root / "root", body_bytes=2_000, json_depth=4, texts=3, fan_out=2, answers=4,
        header_seconds=1, body_seconds=1, write_seconds=1,
    ) as answering:  # fmt: skip
        yield answering


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (json.dumps({"model": "mood", "input": "x" * 3_000}), JSON, 413, "too_large"),
        (b'{"a":' * 9 + b"1" + b"}" * 9, JSON, 400, "too_deep"),
        (json.dumps(CLASSIFY), {"content-type": "text/plain"}, 415, "not_json"),
        (json.dumps(CLASSIFY), {}, 415, "not_json"),
        (json.dumps(CLASSIFY), {**JSON, "content-encoding": "gzip"}, 415, "encoded_body"),
        (json.dumps({"model": "mood", "input": ["a"] * 4}), JSON, 400, "too_many"),
        (json.dumps({"adapters": ["a", "b", "c"], "input": "a"}), JSON, 400, "too_many"),
        (json.dumps({"adapters": ["mood", "tone"], "input": ["a"] * 3}), JSON, 400, "too_many"),
        ("{", JSON, 400, "invalid_body"),
        ("\x00", JSON, 400, "invalid_body"),
        ('{"model": ' + "9" * 1_500 + "}", JSON, 400, "invalid_body"),
    ],
)
def test_a_body_beyond_a_limit_is_told(tight, body, headers, status, code):
    with tight.client() as client:
        answer = client.post("/v1/classify", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_body_without_a_length_is_counted(tight):
    with tight.client() as client:
        parts = (b"x" * 500 for _ in range(100))
        answer = client.post("/v1/classify", content=parts, headers=JSON)
    assert answer.status_code == 413


def test_a_get_has_no_body(tight):
    with tight.client() as client:
        assert client.request("GET", "/v1/models", content=b"{}").status_code == 400


def connected(answering) -> socket.socket:
    host, port = answering.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nHost: loc",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_who_sends_no_request_is_parted_from(tight, sent):
    with connected(tight) as slow:
        slow.sendall(sent)
        while slow.recv(65_536):
            pass


def test_a_body_that_does_not_come_is_told(tight):
    head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with connected(tight) as slow:
        slow.sendall(head + b"Content-Length: 100\r\n\r\n{")
        assert slow.recv(65_536).startswith(b"HTTP/1.1 408")
    assert not tight.service.engine.waiting


def test_who_takes_nothing_is_parted_from(tight):
    with connected(tight) as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with pytest.raises(OSError, match="reset|Broken"):
            for _ in range(2_000):
                greedy.sendall(ask)
                time.sleep(0.01)


def test_late_answers_are_told(reading):
    with loopback.serving(reading, answer_seconds=1e-4) as answering, answering.client() as client:
        answer = client.post("/v1/classify", json=CLASSIFY)
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "timeout_error"


def test_a_full_queue_is_told_with_when_to_come_again(root):
    narrow = EngineSettings(queue_requests=1, batch_rows=1)
    with Engine(str(root / "bases" / "bert"), narrow) as engine:
        engine.add("mood", loopback.places(root / "root")["mood"])
        with loopback.serving(engine) as answering, answering.client() as client:
            statuses, headers = [], []

            def ask():
                answer = client.post("/v1/classify", json={**CLASSIFY, "input": ["sad"] * 64})
                statuses.append(answer.status_code)
                headers.append(answer.headers.get("retry-after"))

            threads = [threading.Thread(target=ask) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert set(statuses) == {200, 429}
    assert all((header is not None) == (status == 429)
               for header, status in zip(headers, statuses, strict=True))  # fmt: skip


def test_who_goes_away_has_nothing_written(writer):
    numbers = writer.service.telemetry.registry
    body = {"model": writer.service.base_name, "prompt": "the", "max_tokens": 40, "stream": True}

    def written():
        return numbers.get_sample_value("tenon_tokens_total", {"sort": "written"}) or 0

    before = written()
    with writer.client() as client, client.stream("POST", "/v1/completions", json=body) as answer:
        next(answer.iter_lines())
    until = time.monotonic() + 20
    while numbers.get_sample_value("tenon_open_requests") and time.monotonic() < until:
        time.sleep(0.02)
    assert numbers.get_sample_value("tenon_open_requests") == 0
    assert written() - before <= 40
    with writer.client() as client:
        again = client.post("/v1/completions", json={**body, "stream": False, "max_tokens": 2})
    assert again.json()["usage"]["completion_tokens"] == 2


def test_how_many_rows_are_computed_at_once_is_told(reading):
    with loopback.serving(reading) as server, server.client() as client:
        for _ in range(3):
            client.post("/v1/classify", json={**CLASSIFY, "input": [loopback.TEXT] * 3})
        text = client.get("/metrics").text
    assert 'tenon_batch_rows_bucket{le="2.0",sort="rows"} 0.0' in text
    assert 'tenon_batch_rows_bucket{le="4.0",sort="rows"} 3.0' in text
    assert 'tenon_batch_rows_sum{sort="rows"} 9.0' in text


def test_numbers_are_told(reader):
    with reader.client() as client:
        client.post("/v1/classify", json=CLASSIFY)
        text = client.get("/metrics").text
    assert 'tenon_requests_total{route="/v1/classify",status="200"}' in text
    assert 'tenon_answers_total{adapter="mood"}' in text
    assert "tenon_waiting_requests" in text and "tenon_adapters 5.0" in text
    assert "# TYPE tenon_layer_tokens_spared_total counter" in text
    numbers = dict(line.split(" ") for line in text.splitlines() if " " in line and line[0] != "#")
    assert float(numbers["tenon_layer_tokens_total"]) > 0
