"""Command line: argv to a verb, its value to the terminal. Only here are words printed.

Flags say how to run; settings are `key=value` arguments. Nothing heavy is
imported before a command is known to be well-formed.

Exit codes: 0 done, 1 our fault (with a traceback), 2 the user can mend it
(with a message), 130 interrupted.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from tenon.commands import adapter, chat, data, run, serve, show, sweep
from tenon.commands.app import app, command_name
from tenon.core.errors import TenonError
from tenon.terminal.place import short

USER, INTERRUPTED = 2, 130
REFUSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.ENOSPC)
"""What the operating system says of a path that the user can mend, wherever it is met."""

MODULES = (data, run, sweep, adapter, chat, serve, show)
"""Each adds its commands to the app."""

ORDER = (
    "init", "check", "plan", "train", "sweep", "eval", "compare", "compose", "predict", "chat",
    "serve", "export", "import", "show", "demo",
)  # fmt: skip
"""In which the help lists the commands."""

UNASKED = ("torchao", "bitsandbytes", "torch.utils._pytree")
"""Loggers that warn of kernels for other machines as soon as PEFT finds these packages."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the exit code says how it ended.

    Args:
        arguments: those of the process unless given.
    """
    if not sys.warnoptions:
        # What libraries below us tell their developers is nothing that a user can act on.
        warnings.simplefilter("ignore", FutureWarning)
    for name in UNASKED:
        logging.getLogger(name).setLevel(logging.ERROR)
    app.registered_commands.sort(key=lambda command: ORDER.index(command_name(command)))
    try:
        app(arguments)
    except TenonError as error:
        print(f"tenon: {short(str(error))}", file=sys.stderr)
        sys.exit(USER)
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in REFUSED or error.filename is None:
            raise
        what = f"{error.filename}: {error.strerror}; check the path, and who may use it"
        print(f"tenon: {short(what)}", file=sys.stderr)
        sys.exit(USER)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _interrupted()
        raise


def _interrupted() -> int:
    print("tenon: interrupted; the same command goes on from here", file=sys.stderr)
    return INTERRUPTED
