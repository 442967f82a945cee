"""Real processes of `tenon`, met at a chosen moment by SIGKILL, Ctrl-C or a disk that fills up.

Starting Python with torch takes seconds, most of them imports. A nursery imports once and forks
for each command, so that a command is a process of its own that begins at once.

A moment is a time in seconds, or a count of file operations below a folder (each open, rename,
mkdir, unlink ... as Python's audit hooks tell them, just before it happens): between two of them
nothing on the disk changes but the bytes of a file that is open.

Run as a script it is the nursery: a request a line on standard input, an answer a line back.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE_OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
KILL, INTERRUPT, FULL, STOP = "kill", "interrupt", "full", "stop"
ROOM = 5
"""Bytes of a file that still fit on a disk that is full."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        code: its exit code; negative, the signal that killed it.
        err: what it said on standard error.
        out: what it said on standard output.
        operations: file operations under the folder that was watched, if it ended by itself.
        seconds: it took.
    """

    code: int
    err: str
    out: str
    operations: int
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Nursery:
    """The process that has imported everything and forks for each command."""

    def __init__(self, process: subprocess.Popen[str], folder: Path):
        self.process, self.folder = process, folder

    def run(
        self,
        *arguments: str,
        watched: Path | None = None,
        what: str = "",
        operation: int = 0,
        seconds: float = 0.0,
        environment: dict[str, str] | None = None,
    ) -> Ended:
        """Run `tenon ARGUMENTS`; `what` happens before the n-th file operation, or after seconds.

        Args:
            watched: the folder whose file operations count.
        """
        asked = {
            "arguments": arguments,
            "watched": str(watched or self.folder),
            "what": what,
            "operation": operation,
            "seconds": seconds,
            "environment": {"TENON_CACHE": str(self.folder / "cache"), **(environment or {})},
            "folder": str(self.folder),
        }
        return self.ask(asked)

    def go_on(self) -> Ended:
        """Let the process that was stopped last go on to its end."""
        return self.ask({"go_on": True})

    def ask(self, asked: dict[str, Any]) -> Ended:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


def nursery(folder: Path) -> Nursery:
    """Give the nursery, for commands whose cache and notes lie in `folder`."""
    return Nursery(serving(__file__), folder)


@cache
def serving(script: str) -> subprocess.Popen[str]:
    """Start a script that answers lines, one process for all tests; it ends with this one."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, script], text=True, env=environment, **pipes)
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)


def moments(seed: int, operations: int, seconds: float):
    """Give moments of a run without end, seeded: half of them times, half of them operations."""
    chosen = random.Random(seed)
    while True:
        yield {"operation": chosen.randint(1, operations)}
        yield {"seconds": chosen.uniform(0.0, seconds)}


def serve() -> None:
    """Answer requests until standard input ends."""
    import tenon.cli
    import tenon.verbs.target
    import tenon.verbs.train  # noqa: F401 - every command begins with these

    stopped: list[Life] = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "go_on" in asked:
            life = stopped.pop()
            os.kill(life.pid, signal.SIGCONT)
        else:
            life = born(asked)
        ended = life.wait()
        if os.WIFSTOPPED(life.status):
            stopped.append(life)
        print(json.dumps(asdict(ended)), flush=True)


@dataclass
class Life:
    """A process that was forked."""

    pid: int
    told: int
    count: Path
    begun: float
    status: int = 0

    def wait(self) -> Ended:
        """Wait until it has ended or is stopped."""
        _, self.status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(self.status):
            return Ended(0, "stopped", "", 0, 0.0)
        with os.fdopen(self.told) as end:
            err = end.read()
        operations = int(self.count.read_text()) if self.count.exists() else 0
        code = os.waitstatus_to_exitcode(self.status)
        out = self.count.with_suffix(".out").read_text()
        return Ended(code, err, out, operations, time.monotonic() - self.begun)


def born(asked) -> Life:
    """Fork a process, and let happen to it what was asked for."""
    count = Path(asked["folder"]) / f".count-{time.monotonic_ns()}"
    told, telling = os.pipe()  # a full disk is no reason to be silent
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        live(asked, telling, count)
    os.close(telling)
    if asked["seconds"]:
        time.sleep(asked["seconds"])
        os.kill(pid, signal.SIGINT if asked["what"] == INTERRUPT else signal.SIGKILL)
    return Life(pid, told, count, begun)


def live(asked, telling: int, count: Path) -> None:
    """Be `tenon ARGUMENTS`; never returns."""
    from tenon.cli import main

    os.dup2(telling, 2)
    with count.with_suffix(".out").open("w") as file:
        os.dup2(file.fileno(), 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until there is who hears it
    os.environ.update(asked["environment"])
    done = [0]
    sys.addaudithook(hook(asked, done))
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        main(asked["arguments"])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
        sys.stderr.flush()
        sys.stdout.flush()
        count.write_text(str(done[0]))
        os._exit(code)


def hook(asked, done: list[int]):
    """Make the audit hook that counts file operations and acts at the one asked for."""
    watched, number, what = asked["watched"], asked["operation"], asked["what"]

    def hear(event: str, values: tuple) -> None:
        if event not in FILE_OPERATIONS or not values:
            return
        place = values[0]
        if not isinstance(place, str | os.PathLike) or not os.fspath(place).startswith(watched):
            return
        done[0] += 1
        if done[0] == number:
            happen(what)

    return hear


def happen(what: str) -> None:
    """Let it happen to this process."""
    if what == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == INTERRUPT:
        os.kill(os.getpid(), signal.SIGINT)
    elif what == STOP:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif what == FULL:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, limit))
    else:
        raise OSError(errno.EINVAL, what)


if __name__ == "__main__":
    serve()
