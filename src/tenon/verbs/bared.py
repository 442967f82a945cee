"""Bared: a workspace whose base carries no adapter any more, for the next one."""

from __future__ import annotations

from dataclasses import replace

from peft import PeftModel

from tenon.core.errors import PlanError
from tenon.model.rack import Rack
from tenon.verbs.workspace import Workspace, load_trunk


def bared(mine: Workspace, peft: PeftModel, space: Workspace) -> Workspace:
    """Take an adapter off the base; where its kind does not come off, load the base again.

    Args:
        mine: of the adapter.
        peft: the PEFT model around the base.
        space: to be given back, with the same base or the one that was loaded.
    """
    adapter = mine.plan.adapter
    try:
        Rack(mine.trunk).keep(adapter.name, adapter.kind, peft)
    except PlanError:
        return replace(space, trunk=load_trunk([mine.plan], mine.base, mine.trunk.start[1:]))
    return space
