"""Page: the page at `/`: one file, which asks nobody but the server that it came from."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from tenon.serve.http.refusal import Answer

SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
STYLES = ("page.css", "parts.css")
"""Of the reports' pages, which this one looks like."""


@cache
def page() -> Answer:
    """Give the page; nothing runs in it but its own script, which is known by its digest."""
    text = (files("tenon.serve.http") / "page.html").read_text(encoding="utf-8")
    templates = files("tenon.evaluate") / "templates"
    for name in STYLES:
        text = text.replace(f"/* {name} */", (templates / name).read_text(encoding="utf-8"))
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()}'"
        for found in SCRIPT.findall(text)
    )
    body = text.encode()
    policy = (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(body)),
        "content-security-policy": policy,
    }
    return Answer(200, body, headers)
