"""Secrets: personal data and keys in texts; told by where they stand, never shown.

Numbers that carry a checksum count only where it holds: cards (Luhn, ISO/IEC 7812), Chinese
identity numbers (GB 11643, ISO 7064 MOD 11-2) and IBAN (ISO 13616, MOD 97-10).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from tenon.data.finder import Seen, Sightings, Sort
from tenon.data.findings import Finding
from tenon.data.ledger import Ledger

_REMEDY = "remove or replace them, and ask whether these data may be used; they are not shown here"
SECRETS: dict[str, Sort] = {
    "access-keys": Sort("warning", "row", "hold what looks like a key or a password", _REMEDY),
    "card-numbers": Sort("warning", "row", "hold the number of a payment card", _REMEDY),
    "chinese-id-numbers": Sort("warning", "row", "hold a Chinese identity number", _REMEDY),
    "bank-accounts": Sort("warning", "row", "hold an IBAN", _REMEDY),
    "email-addresses": Sort("warning", "row", "hold an email address", _REMEDY),
    "phone-numbers": Sort("warning", "row", "hold a phone number", _REMEDY),
}
_NUMBER = r"(?<![A-Za-z0-9_.,/=-])"
_END = r"(?![A-Za-z0-9_]|[.,/-]\d)"
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "access-keys",
        re.compile(
            r"\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bsk-[A-Za-z0-9_-]{20,}|"
            r"\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}|\bhf_[A-Za-z]{34}\b|"
            r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----",
            re.ASCII,
        ),
    ),
    ("chinese-id-numbers", re.compile(rf"{_NUMBER}[1-8]\d{{16}}[\dXx]{_END}")),
    ("card-numbers", re.compile(rf"{_NUMBER}[2-6]\d{{3}}(?:[ -]?\d){{9,15}}{_END}")),
    (
        "bank-accounts",
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII),
    ),
    (
        "email-addresses",
        re.compile(
            r"(?<![\w.%+/=-])[A-Za-z0-9][\w.%+-]{0,63}@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b", re.ASCII
        ),
    ),
    (
        "phone-numbers",
        re.compile(
            rf"(?<![A-Za-z0-9_+])\+\d{{1,3}}[ .-]?(?:\(\d{{1,4}}\)|\d)(?:[ .-]?\d){{6,12}}{_END}"
            rf"|{_NUMBER}\(?\d{{3}}\)?[ .-]\d{{3}}[ .-]\d{{4}}{_END}"
            rf"|(?<![\d=*/+-])(?:86[ -]?)?1[3-9]\d[ -]?\d{{4}}[ -]?\d{{4}}(?![\d=*/+-])"
            rf"|(?<![\d-])0\d{{2,3}}-\d{{7,8}}(?![\d-])"
        ),
    ),
)
_NETWORKS = re.compile(r"4|5[1-5]|2[2-7]|3[47]|35|6(?:011|2|4|5)")
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_SHOWN = 2


def luhn(digits: str) -> bool:
    """Tell whether the last digit is Luhn's check of those before it."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    known = 13 <= len(digits) <= 19 and _NETWORKS.match(digits) and len(set(digits)) > 2
    return bool(known) and luhn(digits)


def is_chinese_id(number: str) -> bool:
    """Tell whether 18 characters have the check and the birthday of a Chinese identity number."""
    total = sum(int(digit) * weight for digit, weight in zip(number, _ID_WEIGHTS, strict=False))
    if "10X98765432"[total % 11] != number[17].upper():
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return 1890 <= born.year <= date.today().year


def _is_iban(text: str) -> bool:
    bare = text.replace(" ", "")
    turned = bare[4:] + bare[:4]
    return 15 <= len(bare) <= 34 and int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def _is_dialled(text: str) -> bool:
    """Tell a phone number from a round sum."""
    return len(set(re.sub(r"\D", "", text))) > 3


def _always(text: str) -> bool:
    del text
    return True


_CHECKS: dict[str, Callable[[str], bool]] = {
    "card-numbers": _is_card,
    "chinese-id-numbers": is_chinese_id,
    "bank-accounts": _is_iban,
    "phone-numbers": _is_dialled,
}
_HINTS = re.compile(r"@|\d{4}|\d[ .)-]+\d{3}|_|sk-|xox|eyJ|AKIA|AIza|-----BEGIN")


def secrets_of(text: str) -> Iterator[tuple[str, int, int]]:
    """Give the code and the place of each secret, none inside an earlier one."""
    if _HINTS.search(text) is None:
        return
    taken: list[tuple[int, int]] = []
    for code, pattern in _PATTERNS:
        proven = _CHECKS.get(code, _always)
        for match in pattern.finditer(text):
            start, end = match.span()
            if proven(match[0]) and all(end <= a or b <= start for a, b in taken):
                taken.append((start, end))
                yield code, start, end


def masked(text: str) -> str:
    """Give a text in which each secret is cut down to its first two characters."""
    for _, start, end in sorted(secrets_of(text), key=lambda found: -found[1]):
        text = f"{text[: start + _SHOWN]}…{text[end:]}"
    return text


@dataclass
class Secrets:
    """Finds rows that hold personal data or keys."""

    sightings: Sightings = field(default_factory=lambda: Sightings(SECRETS))

    def see(self, seen: Seen) -> None:
        """Take in one row."""
        met: dict[str, str] = {}
        for text in seen.texts:
            for code, start, _ in secrets_of(text):
                met.setdefault(code, f"{text[start : start + _SHOWN]}…")
        for code, shown in met.items():
            self.sightings.add(code, seen.example.origin, shown)

    def found(self, ledgers: Mapping[str, Ledger]) -> Iterator[Finding]:
        """Give a finding for each sort of secret."""
        del ledgers
        return self.sightings.findings()
