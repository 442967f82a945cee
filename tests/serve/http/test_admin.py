"""Admin: adapters come, change and go while others answer, from the served root alone."""

from __future__ import annotations

import shutil
import threading

import pytest

import loopback
import models
from tenon.core.errors import Gone
from tenon.serve.http.refusal import refused

ASK = {"model": "new", "input": loopback.TEXT}


@pytest.fixture
def client(reader):
    with reader.client() as opened:
        yield opened
        opened.delete("/admin/adapters/new")


def put(client, folder, name="new"):
    return client.put(f"/admin/adapters/{name}", json={"folder": folder})


def answer(client):
    return client.post("/v1/classify", json=ASK)


def test_an_adapter_comes_is_replaced_and_goes(client):
    assert answer(client).status_code == 404
    first = put(client, "mood")
    assert (first.status_code, first.json()["what"]) == (200, "added")
    assert first.json()["folder"] == "mood/adapter"
    mood = answer(client).json()["results"][0]
    assert put(client, "mood").json()["what"] == "kept"
    assert put(client, "tone").json()["what"] == "replaced"
    tone = answer(client).json()["results"][0]
    assert tone["digest"] != mood["digest"]
    assert tone["answers"] != mood["answers"]
    assert client.delete("/admin/adapters/new").status_code == 200
    assert answer(client).status_code == 404
    assert client.delete("/admin/adapters/new").status_code == 404


@pytest.mark.parametrize(
    ("folder", "status"),
    [
        ("../bases/bert", 400), ("mood/../tone", 400), ("/etc", 400), ("..", 400), (".", 400),
        ("a\\b", 400), ("mood\u0000", 400), ("C:/x", 400), ("~/x", 404), ("none", 404),
        ("mood/adapter/tenon.json", 404), ("out", 400), ("in", 400), ("x" * 300, 400),
        ("%2e%2e/bases", 404), ("$HOME", 404), ("m*", 404), ("x" * 2_000, 400),
    ],
)  # fmt: skip
def test_no_path_leaves_the_root(client, root, folder, status):
    for name, target in (("out", root / "bases"), ("in", root / "root" / "tone")):
        link = root / "root" / name
        if not link.is_symlink():
            link.symlink_to(target)
    found = put(client, folder)
    assert found.status_code == status, found.text
    assert str(root) not in found.text
    assert "new" not in [each["name"] for each in client.get("/admin/adapters").json()["data"]]


def test_a_wrong_adapter_is_refused_and_the_old_one_stays(client, root):
    put(client, "mood")
    before = answer(client).json()
    broken = root / "root" / "broken"
    shutil.copytree(root / "root" / "tone", broken)
    try:
        weights = broken / "adapter_model.safetensors"
        raw = bytearray(weights.read_bytes())
        raw[-1] ^= 1
        weights.write_bytes(raw)
        refused = put(client, "broken")
    finally:
        shutil.rmtree(broken)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "adapter_refused"
    assert str(root) not in refused.text
    assert answer(client).json() == before


@pytest.mark.parametrize(
    ("name", "status"), [("bert", 409), ("a@b", 400), ("x" * 65, 400), ("1a", 400), ("a.b", 400)]
)
def test_names_that_cannot_be_asked(client, name, status):
    assert put(client, "mood", name).status_code == status


def test_without_a_root_nothing_can_be_added(reading):
    with loopback.serving(reading) as answering, answering.client() as client:
        assert put(client, "mood").json()["error"]["code"] == "no_root"


def test_no_answer_is_cut_or_mixed_while_adapters_change(reader, client, root):
    """Each answer is that of the digest it names, whatever is replaced meanwhile."""
    wanted = {}
    for folder in ("mood", "tone"):
        put(client, folder)
        result = answer(client).json()["results"][0]
        wanted[result["digest"]] = result["answers"][0]["label"], result["answers"][0]
    seen, ends = [], threading.Event()

    def ask():
        with reader.client() as own:
            while not ends.is_set():
                seen.append(answer(own))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(12):
            assert put(client, ("mood", "tone")[turn % 2]).status_code == 200
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    assert {each.status_code for each in seen} == {200}
    digests = set()
    for each in seen:
        result = each.json()["results"][0]
        label, whole = wanted[result["digest"]]
        assert result["answers"][0]["label"] == label
        assert result["answers"][0]["probability"] == pytest.approx(whole["probability"], abs=1e-5)
        digests.add(result["digest"])
    assert len(digests) == 2


def test_models_are_not_the_same(root):
    """The two that replace each other differ, or the test above says nothing."""
    first, second = (loopback.places(root / "root")[name] for name in ("mood", "tone"))
    assert models.pack.digest(first) != models.pack.digest(second)


def test_what_went_between_looking_up_and_asking_is_not_here():
    assert refused(Gone("adapter mood: has been taken out")).status == 404


def test_requests_are_answered_while_as_many_adapters_wait_to_be_admitted_as_may(reading, root):
    held = threading.Event()
    with loopback.serving(reading, root=root / "root", loading=2) as server:
        for _ in range(2):
            server.service._changers.submit(held.wait)
        with server.client() as client, server.client() as other:
            coming = threading.Thread(target=put, args=(other, "mood"))
            coming.start()
            asked = {"model": "mood", "input": loopback.TEXT}
            assert {client.post("/v1/classify", json=asked).status_code for _ in range(8)} == {200}
            assert "new" not in reading.handles
            held.set()
            coming.join(30)
            assert client.delete("/admin/adapters/new").status_code == 200
