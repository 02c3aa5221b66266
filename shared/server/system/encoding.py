"""How an answer is packed, if who asks has said what it can unpack (``Accept-Encoding``)."""

ACCEPT = b"\r\nAccept-Encoding:"
S2_IDENTIFIER = b"\xff\x06\x00\x00S2sTwO"
SNAPPY_IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"


def accepted(header: bytes) -> str:
    """What the header wants: ``snappy`` rather than ``gzip``, ``identity`` if it is not known, empty for nothing."""
    _, found, rest = header.partition(ACCEPT)
    wish = rest.partition(b"\r\n")[0].strip().lower() if found else b""
    if b"snappy" in wish or b"s2" in wish:
        return "snappy"
    if b"gzip" in wish:
        return "gzip"
    return "identity" if wish else ""


def packed(body: bytes, encoding: str) -> tuple[bytes, bytes]:
    """The header block and the body of an answer."""
    if not encoding:
        return b"", body
    if encoding == "gzip":
        import gzip  # noqa: PLC0415  (few ask for it)

        body = gzip.compress(body, mtime=0)
    elif encoding == "snappy":
        body = _snappy(body)
    return b"NATS/1.0\r\nContent-Encoding: " + encoding.encode() + b"\r\n\r\n", body


def _snappy(body: bytes) -> bytes:
    """What the encoder writes inside of its blocks is plain Snappy; only the stream's name is another."""
    from phloem.shared.wire.s2 import Encoder  # noqa: PLC0415  (few ask for it)

    encoder = Encoder()
    stream = encoder.feed(body) + encoder.flush()
    return SNAPPY_IDENTIFIER + stream.removeprefix(S2_IDENTIFIER)
