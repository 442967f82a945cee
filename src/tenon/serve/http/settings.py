"""ServerSettings: where a server listens, and how much a client may ask of it."""

from __future__ import annotations

from pydantic import Field

from tenon.core.settings import Settings

MIB = 1 << 20


class ServerSettings(Settings):
    """Limits of a server.

    Args:
        body_bytes: of a request's body.
        bodies_bytes: of all bodies that are held at once.
        json_depth: lists and objects of a body within each other.
        messages: turns of a conversation.
        texts: of one request.
        fan_out: adapters of one request.
        answers: texts times adapters of one request.
        prompt_tokens: of a conversation or prompt; a base may read fewer.
        new_tokens: of an answer that is written.
        waiting_pieces: of a stream that its client has not taken yet; a client that is further
            behind loses its answer.
        connections: at once.
        header_seconds: within which a request's header must be here.
        body_seconds: within which its body must be here.
        write_seconds: within which a client must take something of what it is sent.
        answer_seconds: within which a request must be answered.
        template_seconds: within which a conversation must be written in the base's chat template.
        template_bytes: of memory that writing it may take beyond what the writer begins with.
        drain_seconds: that are left for open requests once the server is told to stop.
        loading: adapters that are admitted at once; more wait.
    """

    body_bytes: int = Field(default=MIB, ge=1)
    bodies_bytes: int = Field(default=64 * MIB, ge=1)
    json_depth: int = Field(default=16, ge=1, le=100)
    messages: int = Field(default=128, ge=1)
    texts: int = Field(default=256, ge=1)
    fan_out: int = Field(default=64, ge=1)
    answers: int = Field(default=1024, ge=1)
    prompt_tokens: int = Field(default=32_768, ge=1)
    new_tokens: int = Field(default=4096, ge=1)
    waiting_pieces: int = Field(default=1024, ge=1)
    connections: int = Field(default=1024, ge=1)
    header_seconds: float = Field(default=10.0, gt=0)
    body_seconds: float = Field(default=20.0, gt=0)
    write_seconds: float = Field(default=20.0, gt=0)
    answer_seconds: float = Field(default=120.0, gt=0)
    template_seconds: float = Field(default=5.0, gt=0)
    template_bytes: int = Field(default=512 * MIB, ge=MIB)
    drain_seconds: float = Field(default=30.0, ge=0)
    loading: int = Field(default=8, ge=1)
