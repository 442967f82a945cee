"""ChatTemplate: how a base writes a conversation, and which tokens are the template's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from tenon.core.errors import DataError, Fault, PlanError
from tenon.data.gold import Turn

PLAIN = (
    "{{ beginning }}"
    "{% for message in messages %}"
    "{{ '' if loop.first else '\\n' }}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}"
    "{% endfor %}"
    "{{ '\\nAssistant:' if add_generation_prompt else '' }}"
)
MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
SIGN_BEGIN, SIGN_END = "\ufdd0", "\ufdd1"


class Refused(DataError):
    """A conversation that the base's chat template cannot be trained on as it stands.

    Args:
        fault: where, what and remedy.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class ChatTemplate:
    """How a base writes a conversation.

    Args:
        tokenizer: of the base.
        source: the template, in Jinja; `PLAIN` for a base that has none.
        beginning: what `PLAIN` begins with, the token that the tokenizer puts before a text.
    """

    tokenizer: PreTrainedTokenizerBase
    source: str
    beginning: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the base has no template of its own."""
        return self.source == PLAIN

    @property
    def digest(self) -> str:
        """Identify the template: sha256 of its text."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @cached_property
    def added(self) -> dict[str, int]:
        """The tokens that stand outside of the tokenizer's vocabulary of text, blanks aside."""
        known: Any = self.tokenizer.added_tokens_decoder
        names = {token.content: place for place, token in known.items() if token.content.strip()}
        last = self.tokenizer.eos_token_id
        return names | ({str(self.tokenizer.eos_token): last} if isinstance(last, int) else {})

    @cached_property
    def controls(self) -> frozenset[int]:
        """Tokens that only the template may write: special ones, and those that it names."""
        return self.specials | {place for name, place in self.added.items() if name in self.source}

    @cached_property
    def specials(self) -> frozenset[int]:
        """Tokens that not even an answer may write: special ones, and what ends a turn."""
        known: Any = self.tokenizer.added_tokens_decoder
        marked = {place for place, token in known.items() if token.special}
        return frozenset(marked | set(self.tokenizer.all_special_ids) | set(self.stop_ids))

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens at which an answer ends: the template's end of a turn, then end of sequence.

        Raises:
            PlanError: the template ends an answer with no token.
        """
        asked = [Turn("user", "a")]
        try:
            whole = self.write([*asked, Turn("assistant", sign(0))], ask=False)
        except TemplateError:
            whole = ""
        end = self.end_in(whole.partition(sign(0))[2])
        if end is None:
            raise PlanError(
                "base: its chat template ends an answer with no token, so that an answer would "
                "never end; use another base, or mend its chat template"
            )
        last = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([end[0], *([last] if isinstance(last, int) else [])]))

    def end_in(self, tail: str) -> tuple[int, int] | None:
        """Give the first added token in what follows an answer: its id, and where it ends."""
        found = [(tail.find(name), -len(name), place) for name, place in self.added.items()]
        first = min((hit for hit in found if hit[0] >= 0), default=None)
        return None if first is None else (first[2], first[0] - first[1])

    def write(self, turns: Sequence[Turn], *, ask: bool) -> str:
        """Write a conversation.

        Args:
            turns: at least one.
            ask: whether it ends where the base shall answer.

        Raises:
            TemplateError: the template refuses it.
        """
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        written: Any = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=ask,
            beginning=self.beginning,
        )
        return written

    def marked(self, turns: Sequence[Turn]) -> list[tuple[int, int]]:
        """Give what the template marks as written by the base; nothing where it has no marks."""
        if not MARKED.search(self.source):
            return []
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        names: Any = self.tokenizer.special_tokens_map
        found: Any = render_jinja_template(
            conversations=[messages],
            chat_template=self.source,
            return_assistant_tokens_mask=True,
            **names,
        )
        return list(found[1][0])


def sign(turn: int, text: str = "") -> str:
    """Give what stands in place of a turn's text, such as nobody types."""
    return f"{text}{SIGN_BEGIN}{turn}{SIGN_END}"


def refuse(origin: str, what: str, remedy: str) -> Refused:
    """Make the error of one conversation."""
    return Refused(Fault(origin, what, remedy))
