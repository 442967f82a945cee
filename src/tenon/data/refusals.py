"""Refusals: answers that decline what was asked, told by how they begin."""

from __future__ import annotations

import re

_LOOKED_AT = 160
_REFUSALS = re.compile(
    r"as an ai\b|as a (?:large )?language model|i(?:'m| am) (?:just )?an ai\b|"
    r"i(?:'m| am) (?:very |really |so )?sorry,? (?:but )?(?:as an\b|i (?:can't|cannot|can not|"
    r"won't|don't have|do not have)|i(?:'m| am) (?:unable|not able|just an|only an|an ai))|"
    r"i apologi[sz]e,? but|sorry,? (?:but )?i (?:can't|cannot|can not|am unable|am not able|won't)|"
    r"^i (?:can't|cannot|can not|am unable to|am not able to|'m unable to|'m not able to|won't) "
    r"(?:help|assist|provide|answer|fulfil|comply|do that|create|generate|write|discuss|share)|"
    r"i(?:'m| am) (?:unable|not able) to (?:help|assist|provide|answer|fulfil|comply)|"
    r"against my (?:programming|guidelines)|"
    r"作为(?:一个|一名|一款)?(?:人工智能|ai|大?语言模型|智能助手)|"
    r"我是(?:一个|一名)?(?:人工智能|ai|语言模型)|"
    r"^(?:很|非常|十分)?(?:抱歉|对不起|遗憾)[，,。！! ]+.{0,12}?"
    r"(?:无法|不能|没法|不便|不会|没有办法)|"
    r"我(?:无法|不能)(?:回答|提供|协助|帮助|满足|完成)|"
    r"无法(?:回答|提供|满足)(?:您|你)",
    re.IGNORECASE,
)


def is_refusal(answer: str) -> bool:
    """Tell whether an answer declines, in English or Chinese."""
    beginning = answer[:_LOOKED_AT].replace("’", "'").strip()
    return _REFUSALS.search(beginning) is not None
