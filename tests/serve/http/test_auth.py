"""Auth: no route without a key, no key beyond its scope, and nobody from elsewhere."""

from __future__ import annotations

import hashlib
import re

import httpx
import pytest

import loopback
from tenon.core.errors import PlanError, RunError
from tenon.serve.http.app import routes
from tenon.serve.http.auth import OPEN, needed
from tenon.serve.http.keys import Key, Keys
from tenon.serve.http.server import is_loopback, listen
from tenon.serve.http.service import Service

MAY = {
    "any": Key("wide", "", frozenset({"*"})),
    "infer": Key("wide", "", frozenset({"*"})),
    "admin": Key("boss", "", admin=True),
    "metrics": Key("meter", "", metrics=True),
}


def known(key: Key) -> Key:
    return Key(key.name, hashlib.sha256(key.name.encode()).hexdigest(), key.infer, key.admin,
               key.metrics)  # fmt: skip


@pytest.fixture(scope="module")
def locked(reading, root):
    narrow = Key("plain", "", frozenset({"mood"}))
    named = {key.name: known(key) for key in (*MAY.values(), narrow)}
    keys = Keys(tuple(named.values()))
    with loopback.serving(reading, keys=keys, root=root / "root") as answering:
        yield answering


def flat(listed):
    """Give all routes; later versions of FastAPI keep those of a router together."""
    for route in listed:
        held = getattr(route, "original_router", None)
        yield from [route] if held is None else flat(held.routes)


def every_route(service):
    """Give methods and paths of all routes that the app has, the page among them."""
    found = [
        (method, re.sub(r"\{[^}]*\}", "absent", route.path))
        for route in flat(routes(service).routes)
        for method in sorted(route.methods)
    ]
    assert len(found) >= 17
    return found


class TestKeys:
    def test_every_route_but_liveness_answers_401_without_a_key(self, locked):
        with locked.client() as client:
            for method, path in every_route(locked.service):
                for headers in (
                    {},
                    {"authorization": "Bearer wrong"},
                    {"authorization": "Basic a"},
                ):
                    answer = client.request(method, path, headers=headers)
                    assert answer.status_code == (200 if path == OPEN else 401), (method, path)
                    if path not in (OPEN, "/") and method != "HEAD":
                        assert answer.json()["error"]["type"] == "authentication_error"
                        assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_every_route_answers_403_beyond_the_scope(self, locked):
        for method, path in every_route(locked.service):
            for right, key in MAY.items():
                with locked.client(key.name) as client:
                    status = client.request(method, path).status_code
                wanted = needed(path)
                assert (status == 403) == (wanted != "any" and not key.may(wanted)), (path, right)

    def test_paths_that_are_no_routes_need_a_key_as_well(self, locked):
        with locked.client() as client:
            for path in ("/nothing", "//admin/adapters", "/livez/", "/livez/..%2fmetrics", "/v1"):
                assert client.get(path).status_code == 401
        with locked.client("plain") as client:
            assert client.get("/nothing").status_code == 404

    def test_the_page_is_shown_to_who_has_no_key_yet(self, locked):
        with locked.client() as client:
            answer = client.get("/")
        assert answer.status_code == 401
        assert answer.text.startswith("<!doctype html>")
        assert "mood" not in answer.text

    def test_a_key_asks_its_adapters_alone_and_does_not_learn_of_others(self, locked):
        ask = {"input": loopback.TEXT}
        with locked.client("plain") as client:
            assert client.post("/v1/classify", json={"model": "mood", **ask}).status_code == 200
            here = client.post("/v1/classify", json={"model": "tone", **ask})
            nowhere = client.post("/v1/classify", json={"model": "none", **ask})
            both = client.post("/v1/classify", json={"adapters": ["mood", "tone"], **ask})
            listed = [each["id"] for each in client.get("/v1/models").json()["data"]]
            near = client.post("/v1/classify", json={"model": "mood@00000000", **ask})
        assert [a.status_code for a in (here, nowhere, both)] == [403, 403, 403]
        assert here.text.replace("tone", "X") == nowhere.text.replace("none", "X")
        assert listed == ["mood"]
        assert near.status_code == 404

    def test_two_keys_in_one_request_are_none(self, locked):
        key = ("authorization", "Bearer plain")
        answer = httpx.get(f"{locked.url}/readyz", headers=[key, key])
        assert answer.status_code == 401


class TestElsewhere:
    """Without keys a server answers this machine alone, and no page from elsewhere."""

    def test_a_host_that_is_not_this_machine_is_refused(self, reader):
        with reader.client() as client:
            for host in (
                "evil.example",
                "evil.example:80",
                "localhost.evil.example",
                "",
                "[::1",
                "[",
            ):
                answer = client.get("/v1/models", headers={"host": host})
                assert answer.status_code in (400, 403), host
            assert client.get("/v1/models", headers={"host": "localhost:1"}).status_code == 200

    def test_a_page_from_elsewhere_is_refused(self, reader):
        with reader.client() as client:
            for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://["):
                assert client.get("/v1/models", headers={"origin": origin}).status_code == 403
            assert client.get("/v1/models", headers={"origin": reader.url}).status_code == 200

    def test_another_address_needs_keys(self):
        for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
            with pytest.raises(PlanError, match="no keys"):
                listen(host, 0, keys=False)
        assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")

    def test_an_address_that_is_taken_is_told(self):
        with listen("127.0.0.1", 0, keys=False) as first:
            first.listen()
            with pytest.raises(RunError, match="cannot be listened on"):
                listen("127.0.0.1", first.getsockname()[1], keys=False)

    def test_headers_that_every_response_has(self, reader):
        with reader.client() as client:
            for path in ("/", "/livez", "/nothing", "/v1/models"):
                headers = client.get(path).headers
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["cache-control"] == "no-store"
                assert len(headers["x-request-id"]) == 32
                assert "server" not in headers


def test_a_scope_is_needed_wherever_something_is_asked(reading):
    for _, path in every_route(Service(reading)):
        if path.startswith(("/v1/", "/admin/", "/metrics")):
            assert needed(path) != "any"
