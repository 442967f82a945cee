"""Copyist: a process that writes conversations as a base's chat template does, and does no more.

A chat template is a program that came with a base. It runs here, in a process that its parent
kills when it is late, and whose memory is bounded; it gets a line of JSON, and gives one.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tenon.core.errors import TenonError
from tenon.data.gold import Turn
from tenon.data.text_generation import example_of
from tenon.text.chat import encode_prompt
from tenon.text.seq2seq import speak
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokenizer import load_tokenizer

ORIGIN = "messages"
READY = {"ready": True}
STATM = Path("/proc/self/statm")


def main() -> None:
    """Answer lines of standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tokenizer = load_tokenizer(Path(sys.argv[1]))
    _bound(int(sys.argv[2]))
    _say(READY)
    for line in sys.stdin.buffer:
        _say(_answered(tokenizer, json.loads(line)))


def written(tokenizer: PreTrainedTokenizerBase, asked: dict[str, Any]) -> dict[str, Any]:
    """Give the token ids of what is asked, and how many tokens were cut.

    Args:
        tokenizer: of the base; it is told the languages.
        asked: `raw`, a prompt as it is; or `turns`, each a role and a text, with the `form` in
            which the adapter's rows were written: the fields of `WritingRenderer`; and the codes
            of the `languages`.

    Raises:
        TenonError: it cannot be written.
    """
    speak(tokenizer, *asked["languages"])
    if asked.get("raw") is not None:
        return {"ids": encode_prompt(tokenizer, asked["raw"], "prompt").ids, "cut": 0}
    turns = tuple(Turn(role, text) for role, text in asked["turns"])
    renderer = WritingRenderer(tokenizer, **asked["form"])
    rendered = renderer.rows([example_of(turns, ORIGIN)])
    return {"ids": rendered.ids[0], "cut": rendered.cut[0]}


def _answered(tokenizer: PreTrainedTokenizerBase, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return written(tokenizer, asked)
    except TenonError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": f"{ORIGIN}: take more memory to write than they may; send less"}


def _bound(more_bytes: int) -> None:
    """Let this process take no more memory than it has and so much; where Linux tells what it has.

    Args:
        more_bytes: of address space.
    """
    if STATM.is_file():
        pages = int(STATM.read_text().split()[0])
        most = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _say(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(value).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
