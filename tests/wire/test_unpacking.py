"""Compressed bodies: what clients send is read, and no small body becomes a large one."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable

import httpx2
import pytest

from llmtest import Script, say
from llmtest.errors import expect_violation
from llmtest.langchain.providers import scripted_providers
from llmtest.wire import scripted_server
from llmtest.wire.api import BadBody
from llmtest.wire.unpacking import MAX_LAYERS, MAX_MEMBERS, unpack

BODY = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}).encode()
NO_HEADER = "Error -3 while decompressing data: incorrect header check"
CHAT = "https://api.openai.com/v1/chat/completions"


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip, as it was named": ("X-GZIP", gzip.compress),
    "gzip of several members": ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]) + b"\0\0"),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "both": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body), mtime=0)),
    "neither": ("identity", lambda body: body),
}


@pytest.mark.parametrize("how", PACKED)
def test_a_compressed_body_is_unpacked(how: str) -> None:
    encoding, pack = PACKED[how]

    assert unpack(pack(BODY), encoding) == BODY


@pytest.mark.parametrize("how", PACKED)
def test_a_compressed_request_is_answered_in_this_process_and_over_the_socket(how: str) -> None:
    encoding, pack = PACKED[how]
    with scripted_providers({"openai:gpt-5": "Hello"}), scripted_server("Hello") as server:
        headers = {"content-encoding": encoding, "authorization": f"Bearer {server.token}"}
        urls = (CHAT, f"{server.url}/v1/chat/completions")
        answers = [httpx2.post(url, content=pack(BODY), headers=headers).json() for url in urls]

    assert [answer["choices"][0]["message"]["content"] for answer in answers] == ["Hello", "Hello"]


@pytest.mark.parametrize(
    ("body", "encoding", "problem"),
    [
        (BODY, "br", "the header `content-encoding` is gzip, deflate or identity; got 'br'"),
        (b"\x1f\x8b\x08", "gzip", "the body says that it is gzip, and ends too early"),
        (
            b"nothing",
            "gzip",
            f"the body says that it is gzip, and is damaged: {NO_HEADER}",
        ),
        (gzip.compress(BODY, mtime=0)[:-9], "gzip", "the body says that it is gzip, and ends too early"),
        (
            gzip.compress(b"a" * 2_000, mtime=0),
            "gzip",
            "the body of a request has at most 1,000 bytes here, also when it is unpacked; this one has more",
        ),
        (BODY, ", ".join(["gzip"] * (MAX_LAYERS + 1)), "a body is compressed at most 3 times; got 4: gzip, gzip, gzip, gzip"),
        (gzip.compress(b"", mtime=0) * (MAX_MEMBERS + 1), "gzip", "a gzip body has at most 100 members here"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_told_with_words(body: bytes, encoding: str, problem: str) -> None:
    with pytest.raises(BadBody) as caught:
        unpack(body, encoding, 1_000)

    assert str(caught.value) == problem


def test_a_small_body_does_not_become_a_large_one() -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 300_000_000), mtime=0)
    tracemalloc.start()
    try:
        with pytest.raises(BadBody):
            unpack(bomb, "gzip, gzip")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 90_000_000


def test_a_bomb_is_a_violation_and_the_server_goes_on() -> None:
    with (
        expect_violation("bad request") as caught,
        scripted_server(Script(say("Hello")), max_body_bytes=10_000) as server,
    ):
        headers = {"content-encoding": "gzip", "authorization": f"Bearer {server.token}"}
        url = f"{server.url}/v1/chat/completions"
        refused = httpx2.post(url, content=gzip.compress(b" " * 1_000_000, mtime=0), headers=headers)
        answered = httpx2.post(url, content=gzip.compress(BODY, mtime=0), headers=headers)

    assert (refused.status_code, answered.status_code) == (400, 200)
    assert "at most 10,000 bytes here, also when it is unpacked" in caught[0].text
