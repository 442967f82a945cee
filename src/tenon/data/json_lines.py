"""JSON lines: one row a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tenon.core.errors import Faults
from tenon.data.example import Row
from tenon.data.lines import REFUSED, Lines
from tenon.data.strict_json import BLANKS, DEEP, Decoder, Unreadable, columns_of, kind_of, too_deep
from tenon.data.tables import excerpt

_BRIEF = 2 * 64
"""A line shorter than this cannot nest deeper than the limit and close again."""


def json_line_rows(lines: Lines) -> Iterator[Row]:
    """Read one JSON object, or list of fields, a line.

    Yields:
        Every line that is a row; every other one is a fault.
    """
    decoder, faults, where = Decoder(), lines.faults, lines.where
    blank = 0
    for number, line in enumerate(lines, 1):
        body = line.strip(BLANKS)
        if not body:
            blank += 1
            continue
        if line == REFUSED:
            continue
        origin = f"{where}:{number}"
        if len(body) >= _BRIEF and too_deep(body):
            faults.add(origin, *DEEP)
            continue
        try:
            value, end = decoder.decode(body)
        except json.JSONDecodeError as error:
            decoder.taken()
            _refuse(body, error, origin, lines, ended=line.endswith("\n"))
        except Unreadable as error:
            decoder.taken()
            faults.add(origin, *error.problem)
        else:
            columns = value if type(value) is dict else columns_of(value)
            if end == len(body) and not decoder.problems and columns is not None:
                yield Row(columns, origin)
            else:
                _judge(body, end, value, origin, decoder, faults)
    if blank:
        lines.notes.append(f"{where}: {blank:,} blank lines are passed over")


def _judge(
    body: str, end: int, value: object, origin: str, decoder: Decoder, faults: Faults
) -> None:
    """Record why a line that begins with a JSON value is no row."""
    for problem in decoder.taken():
        faults.add(origin, *problem)
    if end < len(body):
        rest = body[end:].lstrip(BLANKS)
        if rest[0] in "{[":
            faults.add(origin, "two values stand on one line", "put each row on its own line")
        else:
            faults.add(
                origin,
                f"column {end + 1}: {excerpt(rest)} follows the row",
                "remove it; a line holds one row",
            )
    elif columns_of(value) is None:
        faults.add(
            origin,
            f"the line is {kind_of(value)}, {excerpt(body)}, not a row",
            'write an object: {"text": ..., "label": ...}',
        )


def _refuse(
    body: str, error: json.JSONDecodeError, origin: str, lines: Lines, *, ended: bool
) -> None:
    if not ended and error.pos >= len(body) - 1 or (not ended and "Unterminated" in error.msg):
        lines.faults.add(
            origin,
            f"the last line ends within a row: {excerpt(body)}",
            "the file was cut short; fetch or write it again",
        )
        return
    lines.faults.add(
        origin,
        f"column {error.pos + 1}: not JSON ({reason(error)}): {excerpt(body[error.pos :] or body)}",
        hint(body, error),
    )


def reason(error: json.JSONDecodeError) -> str:
    """Give the decoder's message without its capital and trailing place."""
    message = error.msg.removesuffix(" at").removesuffix(": starting")
    return message[0].lower() + message[1:].removesuffix(" starting").removesuffix(":")


def hint(body: str, error: json.JSONDecodeError) -> str:
    """Say what most likely went wrong in a value that is not JSON."""
    rest = body[error.pos :]
    before = body[: error.pos].rstrip(BLANKS)
    if rest.startswith("'"):
        return "JSON quotes with double marks; write the rows with json.dumps, not with str()"
    if rest.startswith(("True", "False", "None")):
        return "write true, false or null; json.dumps does"
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return "remove the comma before the bracket"
    if "control character" in error.msg.lower():
        return r"write a line break or tab within a text as \n or \t"
    if "escape" in error.msg.lower():
        return r"write a backslash as \\"
    return "mend the line; json.dumps writes rows that can be read"
