r"""Extractors: what of a text is its answer, before it is compared.

An extractor is a function from a text to its answer, or None where it finds none. Settings
name one by a word:

strip: the text without outer blanks.
last_number: the number after `####`, else the last one; see `last_number`.
regex:PATTERN: what the last match of PATTERN holds; its first group, if it has one.
module:function: a Python function of the user.

Patterns and functions are the user's own, from the plan file: never take them from an adapter
or any other downloaded file. A pattern is searched by Python's `re` in the last 10,000
characters; one whose alternatives nest, such as `(a+)+$`, can still take forever.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module

from tenon.core.errors import PlanError, did_you_mean

Extract = Callable[[str], str | None]
SEARCHED_CHARACTERS = 10_000

WIDE = str.maketrans("０１２３４５６７８９．－−", "0123456789.--")
NUMBER = r"(?:(?<![\w)])-)?[$€£¥]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
A_NUMBER = re.compile(NUMBER)
MARKED_NUMBER = re.compile(r"####\s*(" + NUMBER + ")")
NAMED_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


def strip(text: str) -> str:
    """Give the text without outer blanks."""
    return text.strip()


def last_number(text: str) -> str | None:
    """Give the number that a worked answer ends with, written in one way, or None.

    That is the number right after the first `####` that has one, else the last number.
    Thousands commas, a currency sign, a plus sign and zeros that change nothing are left out:
    "$1,200.50" is "1200.5", "-0.0" is "0". A minus after a word or a bracket is no sign, a
    fraction is two numbers, and powers of ten such as 1e5 are not understood.

    Source: Cobbe et al. 2021, GSM8K, for the mark.
    """
    searched = text[-SEARCHED_CHARACTERS:].translate(WIDE)
    marked = MARKED_NUMBER.search(searched)
    numbers = [marked[1]] if marked else A_NUMBER.findall(searched)
    return _plain(numbers[-1]) if numbers else None


def _plain(number: str) -> str:
    """Write a number without sign of currency, commas and needless zeros."""
    digits = number.lstrip("-$€£¥").replace(",", "")
    whole, _, part = digits.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    size = f"{whole}.{part}" if part else whole
    return f"-{size}" if number.startswith("-") and size != "0" else size


def pattern(source: str) -> Extract:
    """Make an extractor of a regular expression.

    Args:
        source: in Python's `re` syntax; `^` and `$` match at lines.

    Raises:
        PlanError: it is no regular expression.
    """
    try:
        compiled = re.compile(source, re.MULTILINE)
    except re.error as error:
        raise PlanError(
            f"extract: {source!r} is not a regular expression: {error}; mend it, and mind that "
            "a backslash in TOML needs 'single quotes'"
        ) from error

    def extract(text: str) -> str | None:
        last = None
        for last in compiled.finditer(text[-SEARCHED_CHARACTERS:]):  # noqa: B007
            pass
        if last is None:
            return None
        found = last[1] if compiled.groups else last[0]
        return None if found is None else found.strip()

    return extract


def function(name: str) -> Extract:
    """Import an extractor.

    Args:
        name: `module:function`, of a function from a text to its answer or None.

    Raises:
        PlanError: the module, or a function of that name in it, is not there. The extractor
            itself raises it where the function gives something else; what the function raises
            goes through as it is.
    """
    module_name, _, function_name = name.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise PlanError(
            f"extract: there is no module {error.name} to import; "
            f"put it on PYTHONPATH, or install what holds {name}"
        ) from error
    found = getattr(module, function_name, None)
    if not callable(found):
        near = did_you_mean(function_name, [key for key in vars(module) if key[0] != "_"])
        raise PlanError(f"extract: {module_name} has no function {function_name}; {near}")

    def extract(text: str) -> str | None:
        answer = found(text)
        if answer is not None and not isinstance(answer, str):
            raise PlanError(
                f"extract: {name} gave {answer!r}, which is {type(answer).__name__}; "
                "it must give text, or None where there is no answer"
            )
        return answer

    return extract


NAMED: dict[str, Extract] = {"strip": strip, "last_number": last_number}


def extractor(setting: str) -> Extract:
    """Give the extractor that a setting names.

    Raises:
        PlanError: it names none.
    """
    if setting in NAMED:
        return NAMED[setting]
    if setting.startswith("regex:"):
        return pattern(setting.removeprefix("regex:"))
    if NAMED_FUNCTION.fullmatch(setting):
        return function(setting)
    near = did_you_mean(setting, [*NAMED, "regex:PATTERN", "module:function"])
    raise PlanError(f"extract: {setting!r} is not an extractor; {near}")
