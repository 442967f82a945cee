"""Telemetry: the numbers of a server, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """The numbers of one server.

    Names of routes are those of the server itself, never what a client wrote; an adapter is a
    label only where it answers.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        known = {"registry": self.registry, "namespace": "tenon"}
        self.requests = Counter(
            "requests", "Requests that were answered.", ["route", "status"], **known
        )
        self.seconds = Histogram(
            "request_seconds", "From header to the last byte.", ["route"], buckets=SECONDS, **known
        )
        self.first = Histogram(
            "first_token_seconds", "Until an answer's first token.", buckets=SECONDS, **known
        )
        self.tokens = Counter("tokens", "Tokens that were read and written.", ["sort"], **known)
        self.answers = Counter("answers", "Answers that were given.", ["adapter"], **known)
        self.open = Gauge("open_requests", "Requests that are being answered.", **known)
        self.connections = Gauge("connections", "Connections that are open.", **known)
        self.broken = Counter(
            "broken_connections", "Connections of clients that were too slow.", ["cause"], **known
        )
        self.known = known

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a number that is looked up whenever numbers are asked for."""
        Gauge(name, meaning, **self.known).set_function(value)

    def text(self) -> bytes:
        """Give all numbers in Prometheus' text form."""
        return generate_latest(self.registry)
