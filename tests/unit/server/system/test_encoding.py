"""Answers that are packed."""

import gzip
import random

import pytest

from phloem.shared.server.system.encoding import accepted, packed
from phloem.shared.wire.s2 import Decoder

HEAD = b"NATS/1.0\r\n"


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (b"", ""),
        (HEAD + b"\r\n", ""),
        (HEAD + b"Accept-Encoding:\r\n\r\n", ""),
        (HEAD + b"Accept-Encoding:gzip\r\n\r\n", "gzip"),
        (HEAD + b"A: b\r\nAccept-Encoding:  GZip \r\nC: d\r\n\r\n", "gzip"),
        (HEAD + b"X-Accept-Encoding: gzip\r\n\r\n", ""),
        (HEAD + b"Accept-Encoding: gzip, S2\r\n\r\n", "snappy"),
        (HEAD + b"Accept-Encoding: deflate\r\n\r\n", "identity"),
    ],
)
def test_what_is_accepted(header: bytes, encoding: str) -> None:
    assert accepted(header) == encoding


def test_nothing_is_done_without_a_wish() -> None:
    assert packed(b"body", "") == (b"", b"body")


@pytest.mark.parametrize("size", [0, 1, 300, 65_536, 65_537, 300_000])
def test_bodies_of_any_size_come_back(size: int) -> None:
    chance = random.Random(size)
    body = bytes(chance.choice(b"abcdef{}") for _ in range(size))
    header, small = packed(body, "gzip")
    assert header == HEAD + b"Content-Encoding: gzip\r\n\r\n"
    assert gzip.decompress(small) == body
    header, small = packed(body, "snappy")
    assert header == HEAD + b"Content-Encoding: snappy\r\n\r\n"
    assert small.startswith(b"\xff\x06\x00\x00sNaPpY")
    decoder = Decoder()
    decoder.feed(small)
    parts = []
    while block := decoder.block():
        parts.append(block)
    assert b"".join(parts) == body
    assert decoder.between_chunks
    assert packed(body, "identity") == (HEAD + b"Content-Encoding: identity\r\n\r\n", body)
