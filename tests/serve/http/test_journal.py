"""The log: lines of JSON, and nothing in them that a client wrote."""

from __future__ import annotations

import io
import json
import logging

import pytest

from tenon.serve.http.journal import LOG, begin_log
from tenon.serve.http.slower import Slower

SECRET = "my secret text"


@pytest.fixture
def written():
    """What is logged while a test runs."""
    loggers = [logging.getLogger(name) for name in (LOG.name, "uvicorn")]
    before = [(each, each.handlers, each.propagate, each.level) for each in loggers]
    out = io.StringIO()
    begin_log(out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    for each, handlers, propagate, level in before:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


def test_a_request_is_a_line_without_its_texts(reader, written):
    with reader.client() as client:
        told = client.post("/v1/classify", json={"model": "mood", "input": SECRET})
        client.post("/v1/classify", json={"model": SECRET, "input": SECRET, SECRET: SECRET})
        client.get(f"/{SECRET}?{SECRET}", headers={"x-more": SECRET})
        client.get(f"/v1/models/{SECRET}")
    lines = written()
    assert len(lines) == 4
    first = lines[0]
    assert (first["what"], first["route"], first["status"]) == ("request", "/v1/classify", 200)
    assert first["request"] == told.headers["x-request-id"]
    assert first["adapters"][0].startswith("mood@")
    assert [each["status"] for each in lines] == [200, 400, 404, 404]
    assert "secret" not in json.dumps(lines)


def test_what_is_slower_is_told_once_with_why(written):
    now = {"adapter mood@1": "it writes alone"}
    slower = Slower(lambda: dict(now))
    for _ in range(2):
        slower.look()
    now["adapter mood@1"] = "its base does"
    slower.look()
    now.clear()
    slower.look()
    lines = [(each["what"], each["of"], each["why"]) for each in written()]
    assert lines == [
        ("slower", "adapter mood@1", why) for why in ("it writes alone", "its base does")
    ]


def test_an_error_of_ours_is_told_by_its_place_alone(written):
    try:
        raise ValueError(SECRET)
    except ValueError:
        LOG.exception("failed", extra={"told": {"request": "1"}})
    (line,) = written()
    assert line["error"] == "ValueError"
    assert "test_journal.py" in line["raised"][-1]
    assert "secret" not in json.dumps(line)
