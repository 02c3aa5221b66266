"""A client that speaks bytes: what a test sends is what goes out, what it expects is compared byte for byte.

Rules. Nothing is awaited by sleeping: silence is proven by sending PING and requiring PONG as the
very next thing. A PING of the server's own may come at any message boundary (the first after two
seconds, wire.md 1.5); unless a test expects it, it is answered and taken out of the stream, so that
a slow machine does not change a result. Nothing else is taken out.
"""

import asyncio
import json
import re
import ssl
from collections import Counter
from types import TracebackType
from typing import Any, Self

from tests.support.s2 import S2Layer
from tests.support.tls import Tls

TIMEOUT_S = 10.0
INFO = re.compile(rb"INFO (\{.*?\}) ?\r\n")
BARRIER = b"PING\r\n"
ANSWER = b"PONG\r\n"
ACCEPTED = re.compile(rb"(?:\+OK\r\n)?PONG\r\n")


class Incoming(asyncio.Protocol):
    """Collects what arrives. Bytes that came before a reset stay readable, unlike with StreamReader."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = False
        self.news = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self.tls: Tls | None = None
        self.s2: S2Layer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.tls is not None:
            try:
                data, answer = self.tls.received(data)
            except ssl.SSLError:  # an alert: the end
                self.closed = True
                answer = data = b""
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(answer)
        self.data += self.s2.received(data) if self.s2 is not None else data
        self.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.tls is not None:
            self.tls.failed(ConnectionResetError("the peer left"))
        self.news.set()


def _common_length(one: bytes, two: bytes) -> int:
    """How many bytes from the start are the same."""
    shorter = min(len(one), len(two))
    return next((at for at in range(shorter) if one[at] != two[at]), shorter)


class RawClient:
    """One connection. ``info`` is the last INFO read by :meth:`expect_info`."""

    # Lines that may come unasked between two messages and are taken out: pattern and what answers it.
    noise: tuple[tuple[re.Pattern[bytes], bytes], ...] = ((re.compile(rb"PING\r\n"), b"PONG\r\n"),)

    def __init__(self, incoming: Incoming) -> None:
        self._in = incoming
        self.info: dict[str, Any] = {}

    @classmethod
    async def connect(cls, host: str, port: int = 0) -> Self:
        """Connect to ``host:port``, or to a Unix socket if ``host`` is ``unix:/path``."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT_S):
            if host.startswith("unix:"):
                _, incoming = await loop.create_unix_connection(Incoming, host.removeprefix("unix:"))
            else:
                _, incoming = await loop.create_connection(Incoming, host, port)
        return cls(incoming)

    async def start_tls(self, context: ssl.SSLContext, name: str = "localhost") -> Tls:
        """Shake hands; ssl.SSLError or OSError if nothing comes of it, and then the connection is cut. What is sent
        from then on is sealed.
        """
        self._in.tls = tls = Tls(context, name)
        self._transport.write(tls.start())
        try:
            if self._in.closed:
                raise ConnectionResetError("the peer left")
            async with asyncio.timeout(TIMEOUT_S):
                await tls.done
        except BaseException:
            self.close()
            raise
        return tls

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _transport(self) -> asyncio.Transport:
        assert self._in.transport is not None
        return self._in.transport

    def close(self) -> None:
        """Cut the connection, sending nothing more."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """Stop taking bytes from the socket: be a slow consumer."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def send(self, data: bytes | str) -> None:
        """Send bytes as they are; a str is for protocol lines and goes out as UTF-8."""
        data = data.encode() if isinstance(data, str) else data
        data = self._in.s2.sealed(data) if self._in.s2 is not None else data
        self._transport.write(self._in.tls.sealed(data) if self._in.tls is not None else data)

    async def send_bytewise(self, data: bytes) -> None:
        """Send one byte at a time, each in a write of its own."""
        for at in range(len(data)):
            self._transport.write(data[at : at + 1])
            await asyncio.sleep(0)

    async def handshake(self, connect: str) -> None:
        """Read INFO, send CONNECT (the JSON is ``connect``), and see that it was accepted, ``+OK`` or not."""
        await self.expect_info()
        self.send(f"CONNECT {connect}\r\nPING\r\n")
        await self.expect(ACCEPTED)

    async def expect(self, wanted: bytes | str | re.Pattern[bytes]) -> bytes:
        """The next bytes are exactly ``wanted`` (or match it from their start); what was read."""
        if isinstance(wanted, re.Pattern):
            return (await self._match(wanted))[0]
        data = wanted.encode() if isinstance(wanted, str) else wanted
        while not self._in.data.startswith(data):
            if data.startswith(self._in.data):
                await self._more(data)
            else:
                await self._take_out_noise(data)
        del self._in.data[: len(data)]
        return data

    async def expect_in_any_order(self, *wanted: bytes | str) -> None:
        """The next bytes are these messages, each as often as given, in whatever order."""
        rest = Counter(w.encode() if isinstance(w, str) else w for w in wanted)
        while rest:
            found = next((w for w in rest if self._in.data.startswith(w)), None)
            if found is not None:
                del self._in.data[: len(found)]
                rest -= Counter([found])
            elif any(w.startswith(self._in.data) for w in rest):
                await self._more(dict(rest))
            else:
                await self._take_out_noise(b"", dict(rest))

    async def expect_info(self) -> dict[str, Any]:
        """The next bytes are an INFO; its JSON, also kept in ``self.info``."""
        self.info = json.loads((await self._match(INFO))[1])
        return self.info

    async def expect_silence_until_pong(self) -> None:
        """Everything sent before has been handled and nothing came of it: PONG is the next thing."""
        self.send(BARRIER)
        await self.expect(ANSWER)

    async def expect_close(self) -> None:
        """The server closes, having sent nothing more."""
        while self._in.data or not self._in.closed:
            if self._in.data:
                await self._take_out_noise(b"", "close")
            else:
                await self._more("close")

    async def read_until_close(self) -> bytes:
        """All that is left, up to the close."""
        while not self._in.closed:
            await self._more("close")
        return bytes(self._in.data)

    async def expect_error(self, text: str, closes: bool) -> None:
        """``-ERR 'text'``, then a close, or a link that still works."""
        await self.expect(f"-ERR '{text}'\r\n")
        await (self.expect_close() if closes else self.expect_silence_until_pong())

    async def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        while True:
            found = pattern.match(bytes(self._in.data))
            if found:
                del self._in.data[: found.end()]
                return found
            if self._in.data:
                await self._take_out_noise(b"", pattern.pattern, else_wait=True)
            else:
                await self._more(pattern.pattern)

    async def _more(self, wanted: object) -> None:
        """Wait until more has come, or the connection has closed."""
        if self._in.closed:
            self._fail(wanted)
        self._in.news.clear()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._in.news.wait()
        except TimeoutError:
            self._fail(wanted)

    async def _take_out_noise(self, expected: bytes, wanted: object = None, else_wait: bool = False) -> None:
        """Take out the line at which the stream leaves ``expected``, if such a line may come unasked."""
        data = bytes(self._in.data)
        line_start = data.rfind(b"\r\n", 0, _common_length(data, expected))
        at = line_start + 2 if line_start >= 0 else 0
        if b"\n" not in data[at:]:
            await self._more(wanted or expected)
            return
        for pattern, answer in self.noise:
            found = pattern.match(data, at)
            if found:
                del self._in.data[at : found.end()]
                self.send(answer)
                return
        if not else_wait:
            self._fail(wanted or expected)
        await self._more(wanted or expected)

    def _fail(self, wanted: object) -> None:
        end = " (closed)" if self._in.closed else ""
        raise AssertionError(f"wanted {wanted!r}\n   got {bytes(self._in.data[:400])!r}{end}")
