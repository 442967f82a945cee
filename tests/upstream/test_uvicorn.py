"""What the server reads of uvicorn that it does not promise; see tenon/serve/http/watch.py."""

from __future__ import annotations

import asyncio
import inspect

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import Server


def test_a_protocol_has_what_is_looked_at():
    """`Watch` reads `cycle`, `cycle.response_complete` and `transport` of each connection."""
    source = inspect.getsource(H11Protocol)
    for name in ("self.cycle", "self.transport", "self.connections.add(self)"):
        assert name in source
    assert "self.response_complete = " in inspect.getsource(RequestResponseCycle)
    assert hasattr(asyncio.Transport, "get_write_buffer_size")


def test_a_server_holds_its_connections_in_one_set():
    server = uvicorn.Server(uvicorn.Config(lambda *_: None, log_config=None))
    assert server.server_state.connections == set()
    assert server.should_exit is False


def test_a_signal_is_raised_again_at_the_end():
    """`tenon serve` takes it then, so that draining ends in exit code 0."""
    assert "signal.raise_signal" in inspect.getsource(Server.capture_signals)
