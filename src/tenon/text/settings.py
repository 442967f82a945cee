"""TextSettings: how texts become token ids."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.core.settings import Settings

PLACE = "{}"
"""Where the prompt stands in an instruction."""


class TextSettings(Settings):
    """The length policy.

    Args:
        max_tokens: most tokens of a row, longer ones are cut; 0 takes what the base and
            `train.micro_batch_tokens` can hold.
        cut: the side on which a text that is too long loses tokens; of a pair, the longer text
            loses them first; of a text to translate or sum up, what is asked around it stays.
        template: how prompts and conversations are written for a base that writes answers: "chat"
            as its chat template does, "none" as they are; "auto" takes the template it has.
        instruction: what is asked around each prompt, which stands where it has {}, such as
            "Translate into German: {}"; "" for the prompt alone; "auto" asks decoders to translate
            or to sum up, in those tasks.
        source_language: code of the language that is read, for encoder-decoders whose tokenizer
            has such codes (mBART, NLLB).
        target_language: code of the language that is written, likewise.
        answer_tokens: most tokens of an answer that is looked for in a context; a longer one is
            neither learned nor given; 0 takes what 99 of 100 answers of train have.
    """

    max_tokens: int = Field(default=0, ge=0)
    cut: Literal["right", "left"] = "right"
    template: Literal["auto", "chat", "none"] = "auto"
    instruction: str = "auto"
    source_language: str = ""
    target_language: str = ""
    answer_tokens: int = Field(default=0, ge=0)
