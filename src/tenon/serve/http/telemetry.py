"""Telemetry: the numbers of a server, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Sum(Collector):
    """A number that only grows and is kept elsewhere.

    Args:
        name, meaning: as Prometheus shows them.
        value: looks it up.
    """

    name: str
    meaning: str
    value: Callable[[], float]

    def collect(self) -> list[CounterMetricFamily]:
        """Give the number as it is now."""
        return [CounterMetricFamily(self.name, self.meaning, self.value())]


class Telemetry:
    """The numbers of one server.

    Names of routes are those of the server itself, never what a client wrote; an adapter is a
    label only where it answers.
    """

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "tenon_requests", "Requests that were answered.", ["route", "status"], registry=own
        )
        self.seconds = Histogram(
            "tenon_request_seconds", "From header to the last byte.", ["route"],
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.first = Histogram(
            "tenon_first_token_seconds", "Until an answer's first token.",
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.tokens = Counter(
            "tenon_tokens", "Tokens that were read and written.", ["sort"], registry=own
        )
        self.answers = Counter(
            "tenon_answers", "Answers that were given.", ["adapter"], registry=own
        )
        self.batch = Histogram(
            "tenon_batch_rows", "Rows that were computed at once, by what they are asked for.",
            ["sort"], buckets=ROWS, registry=own,
        )  # fmt: skip
        self.open = Gauge("tenon_open_requests", "Requests that are being answered.", registry=own)
        self.connections = Gauge("tenon_connections", "Connections that are open.", registry=own)
        self.broken = Counter(
            "tenon_broken_connections", "Connections of clients that were too slow.", ["cause"],
            registry=own,
        )  # fmt: skip

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a number that is looked up whenever numbers are asked for."""
        Gauge(f"tenon_{name}", meaning, registry=self.registry).set_function(value)

    def count(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a number that only grows, and is looked up whenever numbers are asked for."""
        self.registry.register(Sum(f"tenon_{name}", meaning, value))

    def text(self) -> bytes:
        """Give all numbers in Prometheus' text form."""
        return generate_latest(self.registry)
