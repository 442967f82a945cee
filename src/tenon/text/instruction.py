"""Instruction: what is asked around a text where the user does not say it.

An encoder-decoder is asked nothing: what it knows to do is its own. A decoder is told what to do
with the text, in Chinese where answers are.
"""

from __future__ import annotations

from tenon.data.script import Script

AUTO = "auto"
CHAT: dict[str, tuple[str, str]] = {
    "translation": ("Translate: {}", "翻译：{}"),
    "summarization": ("Summarize: {}", "总结：{}"),
}
"""By task: for a chat template, in English and in Chinese."""
PLAIN: dict[str, tuple[str, str]] = {
    "translation": ("{}\nTranslation: ", "{}\n译文："),
    "summarization": ("{}\nSummary: ", "{}\n摘要："),
}
"""By task: without a template, where the answer follows right behind."""


def instruction_of(given: str, task: str, form: str, script: Script, *, seq2seq: bool) -> str:
    """Give what is asked around each text, which stands where it has `{}`; "" for the text alone.

    Args:
        given: `text.instruction`.
        task: as the hub names it.
        form: "chat" or "none".
        script: of the answers.
        seq2seq: whether the base is an encoder-decoder.
    """
    if given != AUTO:
        return given
    known = CHAT if form == "chat" else PLAIN
    if seq2seq or task not in known:
        return ""
    english, chinese = known[task]
    return chinese if script == "han" else english
