"""Brought back: adapters that left the base come into it again while others sit on its modules."""

from __future__ import annotations

from served import CLASSES, evaluated, rows, same, saved
from tenon.serve.asked import Rows
from tenon.serve.engine import Engine
from tenon.serve.settings import EngineSettings

KINDS = ("lora", "pfeiffer", "parallel", "houlsby")


def test_adapters_come_back_while_others_sit_in_the_base(folder_of, tmp_path):
    base = folder_of("bert")
    folders = {kind: saved(CLASSES, kind, base, tmp_path / kind) for kind in KINDS}
    with Engine(str(base), EngineSettings(slot_bytes=1)) as engine:
        for kind, folder in folders.items():
            engine.add(kind, folder)
        for kind in (*KINDS, *reversed(KINDS)):
            asked = Rows(engine.handle(kind), rows(CLASSES), form="entries")
            assert same(engine.ask(asked).result(9), evaluated(folders[kind], rows(CLASSES)))
