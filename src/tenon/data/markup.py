"""Markup: what is left in a text of the page that it was taken from."""

from __future__ import annotations

import re

_TAG = re.compile(
    r"</?(?:a|abbr|b|blockquote|body|br|button|center|code|div|em|font|form|h[1-6]|head|hr|html|i|"
    r"iframe|img|input|li|link|meta|ol|option|p|pre|script|section|small|span|strong|style|sub|"
    r"sup|table|tbody|td|th|thead|title|tr|u|ul|video)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|copy|reg|hellip|mdash|ndash|[lr][sd]quo|#\d{2,6}|#x[0-9a-f]{2,5});",
    re.IGNORECASE,
)


def holds_markup(text: str) -> bool:
    """Tell whether a text holds a tag or an entity of HTML."""
    return ("<" in text and _TAG.search(text) is not None) or (
        "&" in text and _ENTITY.search(text) is not None
    )
