"""Encoding: whether bytes are UTF-8, and what they are likely to be where they are not."""

from __future__ import annotations

from tenon.core.errors import Faults

BOM = b"\xef\xbb\xbf"
_WIDE_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_CJK_FIRST, _CJK_LAST = "\u4e00", "\u9fff"


def wide_encoding(head: bytes) -> str:
    """Name the 16- or 32-bit encoding that `head`, the first bytes of a file, is in; "" if none.

    Without a byte order mark, text in UTF-16 shows itself by zero bytes in every second place.
    """
    for mark, name in _WIDE_MARKS:
        if head.startswith(mark):
            return name
    sample = head[: len(head) // 2 * 2][:4096]
    if len(sample) < 4:
        return ""
    half = len(sample) // 2
    if sample[1::2].count(0) > 0.4 * half and sample[0::2].count(0) == 0:
        return "UTF-16LE"
    if sample[0::2].count(0) > 0.4 * half and sample[1::2].count(0) == 0:
        return "UTF-16BE"
    return ""


def likely_encoding(raw: bytes) -> str:
    """Name the encoding in which `raw`, which is not UTF-8, most likely was written."""
    high = sum(byte >= 0x80 for byte in raw)
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    chinese = sum(_CJK_FIRST <= character <= _CJK_LAST for character in text)
    if chinese >= 2 and chinese * 2 >= 0.8 * high:
        return "GB18030"
    if any(0x80 <= byte < 0xA0 for byte in raw):
        return "Windows-1252"
    return "ISO-8859-1"


def refuse_bytes(
    raw: bytes, error: UnicodeDecodeError, where: str, path: str, faults: Faults
) -> None:
    """Record that the line `raw` is not UTF-8: which byte, what it likely is, how to convert it.

    Args:
        raw: one line's bytes.
        error: what decoding `raw` as UTF-8 raised.
        where: origin of the line, `file:line`.
        path: the file, for the remedy's command.
        faults: where the fault goes.
    """
    byte = raw[error.start]
    body = raw.rstrip(b"\r\n")
    if error.reason == "unexpected end of data" and error.start >= len(body) - 3 and body == raw:
        faults.add(
            where,
            f"the file ends within a character (byte {error.start + 1} of the line, 0x{byte:02X})",
            "the file was cut short; fetch or write it again",
        )
        return
    name = likely_encoding(raw)
    shown = raw[max(0, error.start - 12) : error.start + 12].decode(name, "replace").strip()
    faults.add(
        where,
        f"byte {error.start + 1} of the line is 0x{byte:02X}, which is not UTF-8; "
        f"read as {name} it says {shown!r}",
        f"save the file as UTF-8: {conversion(name, path)}",
    )


def refuse_wide(name: str, where: str, path: str, faults: Faults) -> None:
    """Record that a whole file is in the 16- or 32-bit encoding `name`."""
    faults.add(
        where,
        f"byte 1 begins a file in {name}, not UTF-8",
        f"save it as UTF-8: {conversion(name, path)}",
    )


def conversion(name: str, path: str) -> str:
    """Give the command that converts the file `path` from the encoding `name`."""
    return f"iconv -f {name} -t UTF-8 {path} > utf8-{path.rsplit('/', 1)[-1]}"
