"""Bare: a process that knows PEFT and what is below it, and nothing of Tenon; it forks programs.

Importing them takes seconds, and several tests ask what a process does that has not imported Tenon,
or imports it in an order of its own. The process begins with the first program, and ends as this
one does.

Run as a script it is that process: a request a line on standard input, an answer a line back.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from processes import serving


def told(program: str, *arguments: str) -> str:
    """Give what a program prints that is run in a process of its own; it must not fail."""
    parent = serving(__file__)
    assert parent.stdin
    assert parent.stdout
    parent.stdin.write(json.dumps([program, *arguments]) + "\n")
    parent.stdin.flush()
    code, out = json.loads(parent.stdout.readline())
    assert code == 0, out
    return out


def _live(asked: list[str], out: Path) -> None:
    """Be the program; never returns."""
    file = os.open(out, os.O_WRONLY | os.O_CREAT)
    code = 1
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv[1:] = asked[1:]
        exec(compile(asked[0], "program", "exec"), {"__name__": "__main__"})  # noqa: S102
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers

    transformers.logging.set_verbosity_error()
    assert "tenon" not in sys.modules
    with tempfile.TemporaryDirectory() as folder:
        for number, line in enumerate(sys.stdin):
            out = Path(folder) / str(number)
            pid = os.fork()
            if pid == 0:
                _live(json.loads(line), out)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(json.dumps([code, out.read_text(encoding="utf-8")]), flush=True)


if __name__ == "__main__":
    _serve()
