"""Engine: many adapters over one base answer as each was evaluated, whatever happens around."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch

import models
from served import CLASSES, SPREAD, TAGS, TASKS, evaluated, rows, same, saved
from tenon.core.errors import AdapterError, Busy, FileError, Late, RequestError, RunError
from tenon.serve.asked import Features, Rows
from tenon.serve.engine import Engine
from tenon.serve.settings import EngineSettings

KINDS = tuple(SPREAD)


@pytest.fixture(scope="module")
def bert(folder_of):
    return folder_of("bert")


@pytest.fixture(scope="module")
def engine(bert):
    with Engine(str(bert)) as made:
        yield made


@pytest.fixture(scope="module")
def moods(bert, tmp_path_factory):
    """Classifiers of the same kind with other weights, which answer otherwise."""
    root = tmp_path_factory.mktemp("moods")
    return [saved(CLASSES, "lora", bert, root / f"{seed}", seed=seed) for seed in range(3)]


def asked(engine: Engine, name: str, examples, **more) -> Future:
    return engine.ask(Rows(engine.handle(name), examples, form="entries", **more))


def test_served_is_evaluated_for_each_task_and_a_spread_of_kinds(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("attached.TABLES", SPREAD)
    for module in ("models", "taggers", "reading", "formed", "served"):
        monkeypatch.setattr(f"{module}.TABLES", SPREAD)
    pairs = [(TASKS[n % len(TASKS)], kind) for n, kind in enumerate(KINDS)]
    pairs += [(task, "lora") for task in TASKS]
    with Engine(str(bert)) as engine:
        folders = {
            f"{task}-{kind}": saved(task, kind, bert, tmp_path / f"{task}-{kind}")
            for task, kind in pairs
        }
        for name, folder in folders.items():
            engine.add(name, folder)
        futures = {
            name: asked(engine, name, rows(name.removesuffix(f"-{name.split('-')[-1]}")))
            for name in folders
        }
        for name, future in futures.items():
            task = engine.handle(name).manifest.task
            assert same(future.result(30), evaluated(folders[name], rows(task))), name


def test_a_request_that_fails_leaves_no_trace(engine, moods):
    engine.add("mood", moods[0])
    before = asked(engine, "mood", rows(CLASSES)).result(9)
    for bad in ((), (models.examples(("a",), ("b",))[0], *rows(CLASSES))):
        with pytest.raises(RequestError):
            asked(engine, "mood", bad).result(9)
    with pytest.raises(RequestError, match="a request of 5,000 rows"):
        asked(engine, "mood", rows(CLASSES)[:1] * 5000)
    assert asked(engine, "mood", rows(CLASSES)).result(9) == before


def test_a_replaced_adapter_answers_what_was_asked_of_it_and_no_more(engine, moods):
    first = engine.add("one", moods[0])
    expected = {}
    for mood in moods:
        handle = engine.add("one", mood)
        expected[handle.digest] = asked(engine, "one", rows(CLASSES)).result(9)
    assert len({json.dumps(answer) for answer in expected.values()}) == len(moods)
    with pytest.raises(RequestError, match="has been taken out; ask for it by name"):
        engine.ask(Rows(first, rows(CLASSES)))
    assert engine.add("one", moods[-1]) is engine.handle("one")
    stop, wrong, count = threading.Event(), [], [0]

    def ask() -> None:
        while not stop.is_set():
            handle = engine.handles["one"]
            try:
                future = engine.ask(Rows(handle, rows(CLASSES), form="entries"))
            except RequestError:
                continue  # it was replaced between the two lines above
            count[0] += 1
            if not same(future.result(9), expected[handle.digest]):
                wrong.append(handle.digest)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        engine.add("one", moods[turn % 3])
    stop.set()
    for thread in threads:
        thread.join()
    assert count[0] > 10 and not wrong
    engine.remove("one")
    assert "one" not in engine.handles


def test_adapters_may_come_and_go_at_the_same_time(engine, moods):
    expected = [evaluated(folder, rows(CLASSES)) for folder in moods]
    found: list[tuple[int, object]] = []

    def change(number: int) -> None:
        name = f"brief-{number}"
        for turn in range(4):
            place = (number + turn) % len(moods)
            engine.add(name, moods[place])
            found.append((place, asked(engine, name, rows(CLASSES)).result()))
        engine.remove(name)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 * 4
    assert all(same(entries, expected[place]) for place, entries in found)
    assert not [name for name in engine.handles if name.startswith("brief")]


def test_adapters_beyond_the_budgets_answer_as_before(bert, moods, tmp_path):
    folders = [*moods, saved(TAGS, "prefix", bert, tmp_path / "tags")]
    small = EngineSettings(slot_bytes=1, memory_bytes=1, batch_rows=2)
    with Engine(str(bert), small) as engine:
        for number, folder in enumerate(folders):
            engine.add(f"a{number}", folder)
        for _ in range(2):
            for number, folder in enumerate(folders):
                task = engine.handle(f"a{number}").manifest.task
                found = asked(engine, f"a{number}", rows(task)).result(9)
                assert same(found, evaluated(folder, rows(task)))
        at_once = [asked(engine, f"a{n}", rows(CLASSES)[:1]) for n in range(3)]
        assert len({json.dumps(future.result(9)) for future in at_once}) == 3
        handle = engine.add("gone", shutil.copytree(moods[0], tmp_path / "gone"))
        for number in range(3):
            asked(engine, f"a{number}", rows(CLASSES)).result(9)
        shutil.rmtree(handle.folder)
        shutil.copytree(moods[1], handle.folder)
        with pytest.raises(AdapterError, match="holds another adapter than when it was admitted"):
            asked(engine, "gone", rows(CLASSES)).result(9)
        shutil.rmtree(handle.folder)
        with pytest.raises(FileError):
            asked(engine, "gone", rows(CLASSES)).result(9)
        found = asked(engine, "a0", rows(CLASSES)).result(9)
        assert same(found, evaluated(moods[0], rows(CLASSES)))


def test_vectors_of_the_base_have_length_one(engine, bert):
    found = np.array(engine.ask(Features(models.TEXTS)).result(9))
    trunk = models.trunk_of(bert)
    model = models.Classifier(trunk, None, models.Head(32, 3, normalize=True, bias=True), "mean")
    batch = models.of_ids(models.renderer_of(bert).rows(models.examples()).ids)
    with torch.no_grad():
        np.testing.assert_allclose(found, model.features_BD(batch).numpy(), atol=1e-6)
    with pytest.raises(RequestError, match="text 1: is ''; expected a text"):
        engine.ask(Features(("a", "")))


def test_the_queue_is_bounded_fair_and_keeps_deadlines(bert, moods):
    with Engine(str(bert), EngineSettings(queue_requests=6, batch_rows=1)) as engine:
        engine.add("mood", moods[0])
        row, ended = rows(CLASSES)[:1], []
        held = threading.Event()
        engine._worker.queue.call(held.wait)  # noqa: SLF001 - so that requests do wait
        many = [asked(engine, "mood", row, flow="greedy") for _ in range(4)]
        one = asked(engine, "mood", row, flow="modest")
        late = asked(engine, "mood", row, flow="late", deadline=time.monotonic())
        with pytest.raises(Busy, match="6 requests wait already") as busy:
            asked(engine, "mood", row)
        assert busy.value.retry_seconds > 0
        many[3].cancel()
        for future in (*many, one, late):
            future.add_done_callback(lambda done: ended.append(done))
        held.set()
        with pytest.raises(Late, match="waited longer than it may"):
            late.result(9)
        for future in (*many[:3], one):
            future.result(9)
        assert ended.index(one) < ended.index(many[1])
    with pytest.raises(RunError, match="the engine is closed"):
        asked(engine, "mood", row)


def test_a_name_may_be_pinned_to_a_digest(engine, moods):
    handle = engine.add("pinned", moods[0])
    assert engine.handle(handle.pinned) is engine.handle(f"pinned@{handle.digest[:12]}") is handle
    for wrong in (f"pinned@{'0' * 12}", "pinned@", "pinned@ab"):
        if wrong != "pinned@":
            with pytest.raises(RequestError, match="adapter pinned: is"):
                engine.handle(wrong)
    with pytest.raises(RequestError, match="adapter pined: is not here; did you mean pinned"):
        engine.handle("pined")
