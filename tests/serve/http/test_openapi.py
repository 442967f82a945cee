"""The OpenAPI document: nothing that is sent by it, or against it, is answered by an error of ours.

`make fuzz-serve` sends thousands: TENON_FUZZ is how many to each operation.
"""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

CASES = int(os.environ.get("TENON_FUZZ", "4"))
SENT: list[int] = []


@pytest.fixture(scope="session")
def document(reader):
    return schemathesis.openapi.from_url(f"{reader.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@pytest.mark.timeout(3_600)
@schema.parametrize()
@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_case_is_an_error_of_ours(case):
    answer = case.call(timeout=60)
    SENT.append(answer.status_code)
    case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])


def test_cases_were_sent():
    counts = {status: SENT.count(status) for status in sorted({*SENT})}
    print(f"{len(SENT)} cases:", counts)
    assert len(SENT) >= 12 * min(CASES, 2)
    assert not [status for status in SENT if status >= 500]
