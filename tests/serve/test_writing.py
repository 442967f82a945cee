"""Writing through the engine: the texts that evaluation gives, many at once."""

from __future__ import annotations

import pytest

import writers
from attached import FAMILY, TABLES, shake
from tenon.core.errors import RequestError
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.generate import generate
from tenon.evaluate.running import Piece
from tenon.evaluate.sampling import Sampling
from tenon.serve.asked import Prompt
from tenon.serve.engine import Engine
from tenon.serve.settings import EngineSettings

KINDS = ("lora", "houlsby", "prefix", "mad-x")
"""In slots, in layers, and one that changes the output head, so that it writes alone."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return writers.causal_folder(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def folders(llama, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "TABLES", {**TABLES, "mad-x": FAMILY["mad-x"]})
        made = {which: writers.writer(llama, which) for which in KINDS}
        for seed, model in enumerate(made.values()):
            shake(model, seed=seed, size=2.0)
        return {
            which: writers.save(model, llama, root / which, which) for which, model in made.items()
        }


def prompts(engine: Engine, handle, count: int = 2) -> list[tuple[int, ...]]:
    rows = engine.renderer(handle).rows(writers.examples(answered=False)[:count])
    return [tuple(ids) for ids in rows.ids]


def greedy(folder, ids) -> str:
    answerer = open_answerer(folder)
    renderer = answerer.renderer
    said = generate(
        answerer.model, [ids], stop_ids=renderer.stop_ids, max_new_tokens=9, batch_tokens=1
    )[0]
    return renderer.answer(said.ids)


def text(pieces: list[Piece]) -> str:
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish is not None
    return "".join(piece.text for piece in pieces)


def test_texts_of_all_adapters_are_as_evaluated(llama, folders):
    with Engine(str(llama), EngineSettings(slot_bytes=1, batch_rows=3)) as engine:
        handles = {which: engine.add(which, folder) for which, folder in folders.items()}
        made, tickets = {}, []
        for ids in prompts(engine, handles["lora"]):
            for which in (*KINDS, None):
                pieces = made[ids, which] = []
                asked = Prompt(handles.get(which), ids, Sampling(max_new_tokens=9))
                tickets.append(engine.write(asked, pieces.append))
        for ticket in tickets:
            ticket.future.result(20)
        for (ids, which), pieces in made.items():
            if which is not None:
                assert text(pieces) == greedy(folders[which], ids), which
        assert len({text(pieces) for pieces in made.values()}) > len(KINDS)


def test_a_text_may_be_given_up_and_ends_at_a_stop_text(llama, folders):
    with Engine(str(llama)) as engine:
        handle = engine.add("lora", folders["lora"])
        ids = prompts(engine, handle)[0]
        whole: list[Piece] = []
        engine.write(Prompt(handle, ids), whole.append).future.result(20)
        said = text(whole)
        for asked in (handle, engine.add("alone", folders["mad-x"])):
            pieces: list[Piece] = []
            stop = said[2:4] if asked is handle else greedy(folders["mad-x"], ids)[2:4]
            sampling = Sampling(stop=(stop,))
            engine.write(Prompt(asked, ids, sampling), pieces.append).future.result(20)
            assert stop not in text(pieces) and pieces[-1].finish == "stop"
        pieces = []
        ticket = engine.write(
            Prompt(handle, ids, Sampling(max_new_tokens=40)),
            lambda piece: (pieces.append(piece), ticket.cancel()),
        )
        assert ticket.future.result(20).finish == "cancelled"
        assert len(pieces[-1].ids) < 40
        with pytest.raises(RequestError, match="writes the likeliest tokens, one text after"):
            asked = Prompt(engine.handle("alone"), ids, Sampling(temperature=1.0))
            engine.write(asked, print).future.result(20)
        with pytest.raises(RequestError, match="the prompt has 0 tokens"):
            engine.write(Prompt(handle, ()), print)


def test_one_who_fails_while_told_ends_alone(llama, folders):
    with Engine(str(llama)) as engine:
        handle = engine.add("lora", folders["lora"])
        ids, pieces = prompts(engine, handle)[0], []
        bad = engine.write(Prompt(handle, ids), lambda _: 1 / 0)
        good = engine.write(Prompt(handle, ids), pieces.append)
        with pytest.raises(ZeroDivisionError):
            bad.future.result(20)
        good.future.result(20)
        assert text(pieces) == greedy(folders["lora"], ids)
