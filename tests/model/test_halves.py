"""Halves: a processor's instructions for bfloat16 are read from what Linux tells of it."""

from __future__ import annotations

import pytest

from tenon.model.halves import instructions

EPYC = "processor\t: 0\nmodel name\t: a\nflags\t\t: fpu avx512f avx512_bf16 sse\nbugs\t\t: x\n\n"


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (EPYC, ("avx512_bf16",)),
        (EPYC * 2, ("avx512_bf16",)),
        ("flags\t\t: amx_tile amx_bf16 avx512_bf16\n", ("amx_bf16", "avx512_bf16")),
        ("flags\t\t: avx512f avx512_bf16_of_another_name\n", ()),
        ("vmx flags\t: avx512_bf16\nflags\t\t: avx2\n", ()),
        ("Features\t: fp asimd bf16\n", ()),
        ("flags\t\t:\n", ()),
        ("flags", ()),
        ("", ()),
    ],
)
def test_they_are_told_among_the_flags(tmp_path, told, found):
    (tmp_path / "cpuinfo").write_text(told)
    assert instructions(tmp_path / "cpuinfo") == found


def test_nothing_told_is_none(tmp_path):
    assert instructions(tmp_path / "absent") == ()
