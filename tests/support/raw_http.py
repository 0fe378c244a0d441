"""A client that sends bytes over a socket, good HTTP or bad, and reads what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LIMIT_S = 20.0


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as plug:
        yield plug


def sent(port: int, *pieces: bytes) -> bytes:
    """Everything that the server says to `pieces` until it closes the connection."""
    with connected(port) as plug:
        for piece in pieces:
            plug.sendall(piece)
        return rest(plug)


def rest(plug: socket.socket) -> bytes:
    said = b""
    while piece := plug.recv(65536):
        said += piece
    return said


def until(plug: socket.socket, end: bytes) -> bytes:
    """What the server says up to `end`. It closes the connection too early: AssertionError."""
    said = b""
    while end not in said:
        piece = plug.recv(65536)
        assert piece, said
        said += piece
    return said


def request(path: str = "/", body: bytes = b"", *headers: str, method: str = "POST", version: str = "1.1") -> bytes:
    """The bytes of a request; its connection stays open unless a header says otherwise."""
    lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *headers]
    if body and not any(header.lower().startswith("transfer-encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chat(model: str = "gpt-5", text: str = "hi", **more: Any) -> bytes:
    """The body of a request for a chat completion."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


CLOSE = "Connection: close"
