"""The OpenAPI document: nothing that is sent by it, or against it, is answered by an error of ours.

`make fuzz-serve` sends thousands: TENON_FUZZ is how many to each operation, of either sort.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

CASES = int(os.environ.get("TENON_FUZZ", "3"))
CHECKS = [not_a_server_error, response_schema_conformance]
ASKED = {
    "/v1/classify": "mood",
    "/v1/tag": "names",
    "/v1/answer": "finder",
    "/v1/embeddings": "bert",
}
"""The route to who answers it."""
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.mark.timeout(7_200)
def test_no_case_is_an_error_of_ours(reader, capsys):
    schema = schemathesis.openapi.from_url(f"{reader.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    sent: Counter[int] = Counter()
    for operation in operations:
        for mode in MODES:
            send(operation, mode, sent)
    with capsys.disabled():
        if "TENON_FUZZ" in os.environ:
            print(f"\n{sent.total():,} cases: {dict(sorted(sent.items()))}")
    assert len(operations) >= 15
    assert sent.total() >= CASES * len(operations)
    assert not [status for status in sent if status >= 500]


def send(operation, mode, sent):
    """Send cases of an operation, and count what they are answered by."""

    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case):
        known = ASKED.get(case.path)
        if known and mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            # A name that is made up is answered 404, whatever else is asked.
            case.body = {**case.body, "model": known}
            case.body.pop("adapters", None)
        answer = case.call(timeout=60)
        sent[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # a request without parts cannot be a wrong one
        one()
