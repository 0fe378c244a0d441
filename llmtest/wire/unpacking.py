"""Bodies that a client has compressed."""

from __future__ import annotations

import zlib
from typing import Final

from llmtest.wire.api import BadBody

MAX_UNPACKED_BYTES: Final = 20_000_000
MAX_LAYERS: Final = 3
MAX_MEMBERS: Final = 100
_KNOWN: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""The window bits by which zlib knows a format."""
_RAW_DEFLATE: Final = -15
"""What some clients send as `deflate`: without the header that the standard wants."""


def unpack(body: bytes, encodings: str, max_bytes: int = MAX_UNPACKED_BYTES) -> bytes:
    """Return a body without its compression; `encodings` is the header `content-encoding`.

    It is never unpacked to more than `max_bytes`, however small it came.

    Raises:
        BadBody: it has an unknown encoding, is damaged, or is too large.
    """
    several = [name.strip().lower() for name in encodings.split(",") if name.strip().lower() not in ("", "identity")]
    if len(several) > MAX_LAYERS:
        raise BadBody(f"a body is compressed at most {MAX_LAYERS} times; got {len(several)}: {encodings[:100]}")
    for encoding in reversed(several):
        if encoding not in _KNOWN:
            raise BadBody(f"the header `content-encoding` is gzip, deflate or identity; got {encoding!r:.100}")
        body = _unpacked(body, encoding, max_bytes)
    return body


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    bits = _KNOWN[encoding]
    if encoding == "deflate" and not _has_zlib_header(body):
        bits = _RAW_DEFLATE
    whole = b""
    for _ in range(MAX_MEMBERS):  # of a gzip body, one after the other
        reader = zlib.decompressobj(bits)
        try:
            whole += reader.decompress(body, max_bytes + 1 - len(whole))
        except zlib.error as error:
            raise BadBody(f"the body says that it is {encoding}, and is damaged: {error}") from None
        if len(whole) > max_bytes:
            raise BadBody(
                f"the body of a request has at most {max_bytes:,} bytes here, also when it is unpacked; this one has more"
            )
        if not reader.eof:
            raise BadBody(f"the body says that it is {encoding}, and ends too early")
        body = reader.unused_data.lstrip(b"\0")
        if not body or encoding == "deflate":
            return whole
    raise BadBody(f"a gzip body has at most {MAX_MEMBERS} members here")


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
