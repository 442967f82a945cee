"""Apart: work on what strangers wrote, in a process of its own that ends when its time is over.

A pattern can take longer than the age of the world, and a pickle is a program. Both are met here
and nowhere else: the process gets no more than its input, and is killed when it is late.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tenon.core.errors import AdapterError

PATTERN_SECONDS = 5.0
PICKLE_SECONDS = 600.0
MATCHER = """
import json, re, sys
pattern, names = json.load(sys.stdin)
json.dump([name for name in names if re.fullmatch(pattern, name)], sys.stdout)
"""
UNPICKLER = """
import sys, torch
from safetensors.torch import save_file
held = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
named = held.items() if isinstance(held, dict) else [(None, None)]
if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in named):
    sys.exit("it holds more than names and tensors")
save_file({k: v.detach().to_dense().clone().contiguous() for k, v in named}, sys.argv[2])
"""


def matching(where: str, pattern: str, names: Sequence[str]) -> list[str]:
    """Give the names that a stranger's pattern matches as a whole.

    Args:
        where: the pattern stands, for messages.

    Raises:
        AdapterError: it is no pattern, or takes longer than some seconds.
    """
    given = json.dumps([pattern, list(names)])
    shown = repr(pattern) if len(pattern) <= 60 else f"{pattern[:57]!r}..."  # noqa: PLR2004
    try:
        done = _run(MATCHER, [], given, PATTERN_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AdapterError(
            f"{where}: the pattern {shown} was not matched within {PATTERN_SECONDS:.0f} seconds; "
            "write the names of the modules instead"
        ) from error
    if done.returncode:
        raise AdapterError(
            f"{where}: {shown} is no pattern ({_last(done.stderr)}); write the names of the modules"
        )
    return cast(list[str], json.loads(done.stdout))


def unpickled(path: Path) -> bytes:
    """Give the tensors of a torch file as safetensors, through torch's reader of weights alone.

    Raises:
        AdapterError: the reader refuses it, or it holds anything but names and tensors.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tensors"
        try:
            done = _run(UNPICKLER, [str(path.resolve()), str(out)], "", PICKLE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise AdapterError(
                f"{path}: was not read within {PICKLE_SECONDS:.0f} seconds"
            ) from error
        if done.returncode:
            raise AdapterError(
                f"{path}: torch's reader of weights refuses it ({_last(done.stderr)}); ask its "
                "author for safetensors"
            )
        return out.read_bytes()


def _run(
    code: str, words: list[str], given: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run Python code without the environment's paths, and kill it when it is late."""
    command = [sys.executable, "-I", "-W", "ignore", "-c", code, *words]
    return subprocess.run(  # noqa: S603 - the code is ours, what it is given is data
        command, input=given, capture_output=True, text=True, timeout=seconds, check=False
    )


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if "UnpicklingError" in line), lines[-1] if lines else "")
    return told[:120] or "no reason given"
