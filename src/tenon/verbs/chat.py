"""Chat: a conversation with an adapter, and with its base beside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from transformers.generation.streamers import BaseStreamer

from tenon.core.errors import RequestError
from tenon.data.gold import Turn
from tenon.data.text_generation import example_of
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.generate import Writing, clipped, generate, room
from tenon.evaluate.reply import Text
from tenon.text.spelling import Spelling
from tenon.text.text_generation_render import WritingRenderer
from tenon.verbs.predict import load_adapter

ORIGIN = "what you wrote"
Told = Callable[[str], None]


@dataclass(frozen=True)
class Heard:
    """What was answered to one turn.

    Args:
        adapter: the adapter's answer.
        base: the base's own; None where it was not asked.
        forgotten: tokens of the conversation's beginning that no longer fit.
    """

    adapter: Text
    base: Text | None
    forgotten: int


@dataclass
class Chat:
    """A conversation; each side remembers its own answers.

    Args:
        answerer: the adapter on its base.
        compare: whether the base is asked as well.
        system: what the system says first; "" for nothing.
    """

    answerer: Answerer
    compare: bool = False
    system: str = ""
    turns: dict[str, list[Turn]] = field(default_factory=dict[str, list[Turn]])

    @property
    def remembers(self) -> bool:
        """Whether turns follow each other; else each is a prompt of its own, as in training."""
        return self.answerer.manifest.text.units == "turns"

    def say(self, text: str, told: Told | None = None) -> Heard:
        """Say something, and give what is answered.

        Args:
            text: the user's turn.
            told: gets the adapter's answer piece by piece.

        Raises:
            RequestError: the text is empty, or cannot be asked.
        """
        if not text.strip():
            raise RequestError(f"{ORIGIN}: is empty; write something")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            what = f"{ORIGIN}: holds {ascii(text)[:60]}, which is no text in UTF-8; write it again"
            raise RequestError(what) from error
        base = self._answer("base", text, None)[0] if self.compare else None
        adapter, forgotten = self._answer("adapter", text, told)
        return Heard(adapter, base, forgotten)

    def _answer(self, who: str, text: str, told: Told | None) -> tuple[Text, int]:
        model = cast(Writing, self.answerer.model)
        renderer = cast(WritingRenderer, self.answerer.renderer)
        begin = [Turn("system", self.system)] if self.system else []
        before = self.turns.get(who, begin) if self.remembers else begin
        asked = (*before, Turn("user", text))
        ids = renderer.rows([example_of(asked, ORIGIN)]).ids[0]
        most_new = self.answerer.manifest.text.max_new_tokens
        most = room(model, renderer.limit, most_new)
        peft = model.peft
        assert peft is not None  # noqa: S101 - an answerer always carries an adapter
        with peft.disable_adapter() if who == "base" else nullcontext():
            said = generate(
                model,
                [clipped(ids, most, cast("int | None", renderer.tokenizer.bos_token_id))],
                stop_ids=renderer.stop_ids,
                max_new_tokens=most_new,
                batch_tokens=1,
                streamer=None if told is None else Speaker(renderer, told),
            )[0]
        answer = Text(renderer.answer(said.ids), said.ended)
        if answer.text.strip():
            self.turns[who] = [*asked, Turn("assistant", answer.text)]
        return answer, max(0, len(ids) - most)


def chat(adapter: Path | str, *, base: str = "", compare: bool = False, system: str = "") -> Chat:
    """Open a conversation with an adapter.

    Args:
        adapter: the adapter directory, or a run.
        base: where the base is now, if not under the name it was trained on.
        compare: ask the base without the adapter as well.
        system: what the system says first.

    Raises:
        RequestError: the adapter writes no texts.
        AdapterError: the adapter cannot be trusted.
        FileError: something is not there.
    """
    answerer = load_adapter(adapter, base)
    if not answerer.manifest.writes:
        raise RequestError(
            f"{adapter}: is an adapter for {answerer.manifest.task}, which writes no texts; "
            "use tenon predict"
        )
    return Chat(answerer, compare, system)


class Speaker(BaseStreamer):
    """Tells an answer while it is written, in whole characters.

    Args:
        renderer: tokens to text.
        told: gets what is new.
    """

    def __init__(self, renderer: WritingRenderer, told: Told) -> None:
        self.told, self.stop_ids = told, renderer.stop_ids
        self.spelling = Spelling(renderer.answer)
        self.begun = False

    def put(self, value: Any) -> None:
        """Take in the prompt, and then token after token."""
        if not self.begun:
            self.begun = True
            return
        tokens = [token for token in value.tolist() if token not in self.stop_ids]
        self._tell("".join(self.spelling.put(token) for token in tokens))

    def end(self) -> None:
        """Tell what was held back."""
        self._tell(self.spelling.end())

    def _tell(self, text: str) -> None:
        if text:
            self.told(text)
