"""Body: the form of a request; a field that is unknown, or would have no effect, is refused."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from tenon.core.errors import did_you_mean

SHOWN = 60
"""Characters of a name that is not known."""
NOTHING: tuple[object, ...] = (None,)
Unsupported = dict[str, tuple[tuple[object, ...], str]]
"""Field to the values of it that ask for nothing, and the reason why others are refused."""
Model = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
"""A text that is not blank."""


def _fault(field: str, told: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{field} {told}", {"field": field, "told": told})


class Body(BaseModel):
    """What every body of a request has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    unsupported: ClassVar[Unsupported] = {}

    @model_validator(mode="before")
    @classmethod
    def _told(cls, given: object) -> object:
        """Take out fields that ask for nothing; tell why others are not taken."""
        if not isinstance(given, dict):
            return given
        fields = cast("dict[str, Any]", given)
        kept: dict[str, Any] = {}
        for name, value in fields.items():
            if name in cls.model_fields:
                kept[name] = value
                continue
            neutral, reason = cls.unsupported.get(name, ((), ""))
            if not reason:
                shown = name[:SHOWN]
                near = did_you_mean(shown, cls.model_fields)
                raise _fault(shown, f"is not known; {near}")
            if not any(type(value) is type(one) and value == one for one in neutral):
                raise _fault(name, f"is not supported: {reason}")
        return kept


WRITING: Unsupported = {
    "best_of": ((None, 1), "one answer is written; ask again with another seed"),
    "echo": ((None, False), "the prompt is not repeated"),
    "frequency_penalty": ((None, 0, 0.0), "tokens are drawn as the adapter weighs them"),
    "function_call": (NOTHING, "functions are not called here"),
    "functions": (NOTHING, "functions are not called here"),
    "logit_bias": ((None, {}), "tokens are drawn as the adapter weighs them"),
    "metadata": ((None, {}), "nothing of a request is kept"),
    "modalities": ((None, ["text"]), "text alone is written"),
    "n": ((None, 1), "one answer is written; ask again with another seed"),
    "audio": (NOTHING, "text alone is written"),
    "parallel_tool_calls": ((None,), "tools are not called here"),
    "prediction": (NOTHING, "answers are not guessed ahead"),
    "presence_penalty": ((None, 0, 0.0), "tokens are drawn as the adapter weighs them"),
    "reasoning_effort": (NOTHING, "an adapter answers as it was trained"),
    "response_format": ((None, {"type": "text"}), "answers are not forced into a form"),
    "service_tier": ((None, "auto", "default"), "there is one tier"),
    "store": ((None, False), "nothing of a request is kept"),
    "suffix": (NOTHING, "answers are written forwards"),
    "tool_choice": ((None, "none"), "tools are not called here"),
    "tools": ((None, []), "tools are not called here"),
    "user": (NOTHING, "the key says who asks"),
    "verbosity": (NOTHING, "an adapter answers as it was trained"),
}
"""Of routes that write."""


class StreamOptions(Body):
    """How a stream ends.

    Args:
        include_usage: tell of the tokens in a last event.
    """

    unsupported: ClassVar[Unsupported] = {
        "include_obfuscation": ((None, False), "events are not padded"),
    }
    include_usage: bool = False


class Part(Body):
    """A part of a message; text alone is read."""

    type: Annotated[str, Field(pattern="^text$")]
    text: str


class Message(Body):
    """A turn of a conversation."""

    unsupported: ClassVar[Unsupported] = {
        "name": (NOTHING, "roles alone say who speaks"),
        "refusal": (NOTHING, "answers have none"),
        "tool_calls": ((None, []), "tools are not called here"),
        "function_call": (NOTHING, "functions are not called here"),
        "audio": (NOTHING, "text alone is read"),
        "annotations": ((None, []), "text alone is read"),
    }
    role: Annotated[str, Field(pattern="^(system|user|assistant)$")]
    content: Text | Annotated[list[Part], Field(min_length=1, max_length=64)]

    @property
    def text(self) -> str:
        """Give what is said."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class WritingBody(Body):
    """What both routes that write take.

    Args:
        temperature: 0, the default, takes the likeliest token each time, as evaluation does.
        max_tokens: of the answer; as many as in training unless given.
    """

    unsupported: ClassVar[Unsupported] = WRITING
    model: Model
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=100_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _effective(self) -> WritingBody:
        """Refuse what would have no effect."""
        if not self.temperature:
            for name, neutral in (("top_p", 1.0), ("top_k", 0)):
                if getattr(self, name) not in (None, neutral):
                    raise _fault(
                        name,
                        "has no effect at temperature 0, which is the default here; give one",
                    )
        if self.stream_options is not None and not self.stream:
            raise _fault("stream_options", "has no effect without stream; leave it out")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """Give the texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatBody(WritingBody):
    """What /v1/chat/completions takes."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> ChatBody:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise _fault("max_tokens", "is max_completion_tokens under its old name; give one")
        if self.top_logprobs is not None and not self.logprobs:
            raise _fault("top_logprobs", "has no effect without logprobs; set that to true")
        if self.messages[-1].role != "user":
            raise _fault("messages", "do not end with the user's, so that nothing is asked")
        return self


class CompletionBody(WritingBody):
    """What /v1/completions takes."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def text(self) -> str:
        """Give the prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class EmbeddingBody(Body):
    """What /v1/embeddings takes."""

    unsupported: ClassVar[Unsupported] = {
        "dimensions": (NOTHING, "a vector is as long as the base makes it"),
        "user": (NOTHING, "the key says who asks"),
    }
    model: Model
    input: Text | Annotated[list[Text], Field(min_length=1)]
    encoding_format: Annotated[str, Field(pattern="^(float|base64)$")] = "float"

    @property
    def texts(self) -> list[str]:
        """Give the texts."""
        return [self.input] if isinstance(self.input, str) else self.input


class PairOfTexts(Body):
    """Two texts for an adapter that was trained on pairs."""

    text: Text
    pair: Text


class Question(Body):
    """A question, and the context in which its answer is looked for."""

    question: Text
    context: Text


class HeadBody(Body):
    """What the routes of adapters with heads take.

    Args:
        model: the adapter; or
        adapters: several, each of which answers all texts.
    """

    model: Model | None = None
    adapters: Annotated[list[Model], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> HeadBody:
        if (self.model is None) == (self.adapters is None):
            raise _fault("model", "or adapters is needed, and not both")
        if self.adapters is not None and len({*self.adapters}) < len(self.adapters):
            raise _fault("adapters", "names one twice; name each once")
        return self

    @property
    def names(self) -> list[str]:
        """Give the adapters that are asked."""
        return [self.model] if self.model is not None else list(self.adapters or ())


class ClassifyBody(HeadBody):
    """What /v1/classify takes."""

    input: (
        Text
        | PairOfTexts
        | Annotated[list[Text], Field(min_length=1)]
        | Annotated[list[PairOfTexts], Field(min_length=1)]
    )

    @property
    def texts(self) -> list[tuple[str, str | None]]:
        """Give the texts, or pairs."""
        items = self.input if isinstance(self.input, list) else [self.input]
        return [(item, None) if isinstance(item, str) else (item.text, item.pair) for item in items]


class TagBody(HeadBody):
    """What /v1/tag takes."""

    input: Text | Annotated[list[Text], Field(min_length=1)]

    @property
    def texts(self) -> list[tuple[str, str | None]]:
        """Give the texts."""
        items = self.input if isinstance(self.input, list) else [self.input]
        return [(item, None) for item in items]


class AnswerBody(HeadBody):
    """What /v1/answer takes."""

    input: Question | Annotated[list[Question], Field(min_length=1)]

    @property
    def texts(self) -> list[tuple[str, str | None]]:
        """Give the questions with their contexts."""
        items = self.input if isinstance(self.input, list) else [self.input]
        return [(item.question, item.context) for item in items]


class FolderBody(Body):
    """What an adapter is added by.

    Args:
        folder: under the served root, with / between its parts.
    """

    folder: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
