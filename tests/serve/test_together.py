"""Adapters that are asked together answer as each alone, and a text goes through no layer twice."""

from __future__ import annotations

import shutil
import threading

import pytest

import models
from attached import FAMILY, TABLES
from served import ANSWER, CLASSES, LABELS, NUMBER, TAGS, evaluated, rows, same, saved
from tenon.core.errors import AdapterError, Busy, FileError, Gone
from tenon.serve import shared
from tenon.serve.asked import Features, Rows
from tenon.serve.engine import Engine
from tenon.serve.settings import EngineSettings
from writers import causal_folder

DEPTH = 4
UPPER = {
    "lora": {**TABLES["lora"], "layers": "last:1"},
    "houlsby": {**TABLES["houlsby"], "layers": "last:2"},
    "prefix": {**TABLES["prefix"], "layers": "last:2"},
    "dora": {"kind": "dora.v1", "layers": "last:3"},
    "ia3": {"kind": "ia3.v1"},
    "behind": {**FAMILY["adapterplus"], "layers": "last:1"},
}
ASKED = {
    "lora": CLASSES, "houlsby": LABELS, "prefix": NUMBER, "dora": TAGS, "ia3": CLASSES,
    "behind": TAGS,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _tables():
    with pytest.MonkeyPatch.context() as patch:
        for module in ("models", "taggers", "reading", "formed", "served"):
            patch.setattr(f"{module}.TABLES", UPPER)
        patch.setitem(shared.LEAST, "cpu", 0)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bases.LAYERS", DEPTH)
        from folders import base_folder

        return base_folder(tmp_path_factory.mktemp("deep"), "bert")


@pytest.fixture(scope="module")
def folders(base, tmp_path_factory):
    root = tmp_path_factory.mktemp("upper")
    made = {name: saved(task, name, base, root / name) for name, task in ASKED.items()}
    return {**made, "reader": saved(ANSWER, "houlsby", base, root / "reader")}


@pytest.fixture(scope="module")
def engine(base, folders):
    with Engine(str(base)) as made:
        for name, folder in folders.items():
            made.add(name, folder)
        yield made


def together(engine: Engine, names, examples) -> list:
    asked = [Rows(engine.handle(name), tuple(examples), form="entries") for name in names]
    return engine.ask_together(asked)


def test_equal_texts_of_all_tasks_are_answered_as_by_each_alone(engine, folders):
    before = engine.tally
    texts = models.examples()[:3]
    futures = together(engine, ASKED, texts)
    for name, future in zip(ASKED, futures, strict=True):
        found, expected = future.result(30), evaluated(folders[name], texts)
        assert same(found, expected), name
    tally, ids = engine.tally, models.renderer_of(engine.base.folder).rows(texts).ids
    tokens = sum(map(len, ids))
    # From below, `ia3` and one other go through the first layer, and each layer adds what begins in
    # it: `dora`, then `houlsby` and `prefix`, and one of `lora` and `behind`, as one went through.
    assert tally.computed - before.computed == (2 + 3 + 5 + 6) * tokens
    assert tally.spared - before.spared == (4 + 3 + 1 + 0) * tokens


def test_questions_and_the_base_itself_share_as_well(engine, folders):
    asked = rows(ANSWER)
    assert same(*(f.result(30) for f in together(engine, ["reader", "reader"], asked)))
    alone = together(engine, ["reader"], asked)[0].result(30)
    assert same(alone, evaluated(folders["reader"], asked))
    texts, before = models.TEXTS[:2], engine.tally
    alone = engine.ask(Features(texts)).result(30)
    middle = engine.tally
    examples = tuple(models.examples()[:2])
    both = [Features(texts), Rows(engine.handle("lora"), examples, form="entries")]
    vectors, entries = (future.result(30) for future in engine.ask_together(both))
    assert same(vectors, alone)
    assert same(entries, evaluated(folders["lora"], examples))
    tokens = (middle.computed - before.computed) // DEPTH
    assert engine.tally.computed - middle.computed == (DEPTH + 1) * tokens


def test_texts_that_are_too_many_for_a_pass_share_in_each(base, folders):
    names, texts = ("lora", "houlsby", "behind"), models.examples()
    with Engine(str(base), EngineSettings(batch_rows=4)) as engine:
        for name in names:
            engine.add(name, folders[name])
        before = engine.tally
        for name, future in zip(names, together(engine, names, texts), strict=True):
            assert same(future.result(30), evaluated(folders[name], texts)), name
        tokens = (engine.tally.computed - before.computed) // (1 + 1 + 2 + 3)
        assert engine.tally.spared - before.spared == (2 + 2 + 1) * tokens > 0


def test_layers_are_not_shared_where_it_is_not_wanted(base, folders):
    with Engine(str(base), EngineSettings(share_layers=False)) as engine:
        for name in ("lora", "houlsby"):
            engine.add(name, folders[name])
        before = engine.tally.spared
        texts = models.examples()
        pair = ("lora", "houlsby")
        for name, future in zip(pair, together(engine, pair, texts), strict=True):
            assert same(future.result(30), evaluated(folders[name], texts))
        assert engine.tally.spared == before == 0


def test_one_that_fails_leaves_the_others_and_no_trace(base, folders, tmp_path):
    texts, small = models.examples(), EngineSettings(slot_bytes=1, memory_bytes=1)
    with Engine(str(base), small) as engine:
        engine.add("lora", folders["lora"])
        gone = engine.add("gone", shutil.copytree(folders["houlsby"], tmp_path / "gone"))
        engine.add("dora", folders["dora"])
        engine.ask(Rows(engine.handle("lora"), tuple(texts))).result(30)
        shutil.rmtree(gone.folder)
        for _ in range(2):
            first, wrong, last = together(engine, ("lora", "gone", "dora"), texts)
            with pytest.raises((AdapterError, FileError)):
                wrong.result(30)
            assert same(first.result(30), evaluated(folders["lora"], texts))
            assert same(last.result(30), evaluated(folders["dora"], texts))
        assert engine.waiting == 0


def test_all_are_asked_or_none(base, folders):
    texts = tuple(models.examples()[:1])
    with Engine(str(base), EngineSettings(queue_requests=3)) as engine:
        first = engine.add("lora", folders["lora"])
        second = engine.add("houlsby", folders["houlsby"])
        seats = [engine._seats[handle][1] for handle in (first, second)]  # noqa: SLF001
        held, waits = threading.Event(), threading.Event()
        engine._worker.queue.call(lambda: (waits.set(), held.wait()))  # noqa: SLF001
        waits.wait()
        asked = [Rows(handle, texts) for handle in (first, second)]
        taken = engine.ask_together(asked)
        assert engine.waiting == 2
        with pytest.raises(Busy, match="2 requests wait already"):
            engine.ask_together(asked)
        assert engine.waiting == 2 and [seat._asked for seat in seats] == [1, 1]  # noqa: SLF001
        held.set()
        assert all(future.result(30) for future in taken)
        many = engine.ask_together(asked * 2)
        assert len([future.result(30) for future in many]) == 4, "alone, more may be asked at once"
        engine.remove("houlsby")
        with pytest.raises(Gone):
            engine.ask_together(asked)
        assert [seat._asked for seat in seats] == [0, 0]  # noqa: SLF001


def test_classifiers_on_a_base_that_writes_share_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr("bases.LAYERS", DEPTH)
    base = causal_folder(tmp_path, "llama")
    made = {name: saved(CLASSES, name, base, tmp_path / name) for name in ("lora", "houlsby")}
    with Engine(str(base)) as engine:
        for name, folder in made.items():
            engine.add(name, folder)
        before, texts = engine.tally, models.examples()
        for name, future in zip(made, together(engine, made, texts), strict=True):
            assert same(future.result(30), evaluated(made[name], texts))
        computed = engine.tally.computed - before.computed
        assert engine.tally.spared - before.spared == computed * 2 // 6 > 0
