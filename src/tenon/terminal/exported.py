"""Exported page: what an adapter was written as, and what was taken in."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from tenon.terminal.adapter import adapter_page
from tenon.terminal.number import size
from tenon.terminal.report import paths
from tenon.terminal.sheet import heading, notes, page, sheet
from tenon.verbs.adopt import Imported
from tenon.verbs.export import Exported
from tenon.verbs.exportable import Exportable
from tenon.verbs.publish import Published

SHOWN_MODULES = 3
STYLES = {"yes": "green", "no": "red", "open": "yellow"}


def exported_page(written: Exported) -> RenderableType:
    """Lay out the files, the proof and the modules that changed most."""
    proof = written.proof
    facts = [
        ("read again", f"scores differ by {written.error:.1e} of their size"),
        ("allowed", f"{proof.tolerance:.0e} ({proof.dtype}), on {proof.texts} texts"),
    ]
    if proof.modules:
        facts.insert(0, ("merged", f"scores differ by {proof.error:.1e} of their size"))
        facts.append(("the adapter changes", f"{proof.change:.1e} of the scores' size"))
        facts += [
            ("differs most" if not place else "", f"{module.module}  {module.error:.1e}")
            for place, module in enumerate(proof.modules[:SHOWN_MODULES])
        ]
    if proof.dequantized:
        told = f"the base, {proof.dequantized}, was written as {proof.dtype}: it takes more bytes"
        facts.append(("dequantised", told))
    rows = [(Text(name, style="dim"), Text(text)) for name, text in facts]
    files = [(Text(name), Text(size(count))) for name, count in written.files.items()]
    return page(
        heading(f"exported to {written.to}", written.how),
        sheet("", "", rows=rows),
        sheet("file", "size", rows=files, numbers=("size",)),
        notes(written.notes) if written.notes else None,
        # A command is copied: it stays on one line, however long that is.
        *(Text(f"  {line}", no_wrap=True, overflow="ignore") for line in written.commands),
        paths([(written.to, str(written.out))]),
    )


def published_page(published: Published) -> RenderableType:
    """Lay out the repository, the files and what has to be known of them."""
    seen = "private" if published.private else "public"
    files = [(Text(name), Text(size(count))) for name, count in published.files.items()]
    return page(
        heading(f"published as {published.repo}", f"{seen}, commit {published.commit[:12]}"),
        sheet("file", "size", rows=files, numbers=("size",)),
        notes(("downloaded again: every byte is as it is here", *published.notes)),
        Text(f"  {published.url}", no_wrap=True, overflow="ignore"),
    )


def exportable_page(found: Exportable) -> RenderableType:
    """Lay out each target with its answer and the reason."""
    rows = [
        (Text(each.to), Text(each.state, style=STYLES[each.state]), Text(each.why or each.what))
        for each in found.targets
    ]
    return page(
        heading(f"{found.name}, {found.kind} for {found.task}", f"over {found.base}"),
        sheet("--to", "can it", "why", rows=rows),
    )


def imported_page(imported: Imported) -> RenderableType:
    """Lay out the adapter, what is not known of it, and where it lies."""
    told = ("the base is not proven to be the one that it was trained on", *imported.notes)
    return page(
        adapter_page(imported.manifest),
        notes(told),
        paths([("adapter", str(imported.out))]),
    )
