"""A small HTTP/1.1 server for pages that are made at once: monitoring, nothing that streams.

h11 knows the protocol and asyncio streams carry the bytes; what is here is the bounds. A handler gets the
path and the query, nothing else: bodies of requests are read up to a bound and thrown away. Rules that hold:

* a connection costs at most ``MAX_HEAD_BYTES`` and one answer; there are at most ``MAX_CONNECTIONS``
* each request has to arrive, and each answer to leave, within a time; nobody holds a connection by silence
* whatever the peer sends, it gets an answer or the end, never words from inside the server
* after ``stop`` no task and no descriptor is left

An error in a handler is answered with 500, goes to the loop's exception handler, and ends that connection.
RFC 9110, RFC 9112.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

import h11

from phloem.shared.clock import Clock
from phloem.shared.dates import utc
from phloem.shared.net.listener import Listener

if TYPE_CHECKING:
    import ssl

MAX_HEAD_BYTES = 16 << 10  # what common servers accept; the longest request of monitoring is a few hundred
MAX_BODY_BYTES = 64 << 10  # no page reads a body, so this only spares a careless client the reset
MAX_CONNECTIONS = 64  # some dashboards and a probe; also bounds how many answers are in memory
READ_BYTES = 4 << 10

PLAIN_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)


class Timeouts(NamedTuple):
    """How long a peer may take, in seconds."""

    request_s: float = 30.0  # from the last answer to the end of the next request
    response_s: float = 30.0  # to take an answer
    linger_s: float = 0.5  # to read an answer to what was not read in full, as Go's server does


class Request(NamedTuple):
    """What was asked for. ``path`` is decoded (bytes that are no UTF-8 as surrogates), ``query`` is not."""

    method: str
    path: str
    query: bytes


class Response(NamedTuple):
    """An answer; Date, Content-Length and what protects browsers is added."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = PLAIN_TEXT


Handler = Callable[[Request], Response]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def http_date(seconds: int) -> str:
    """As in RFC 9110 5.6.7; the module ``email`` has it, too, and takes half a megabyte."""
    at = utc(seconds)
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} {at:%H:%M:%S} GMT"


class HttpServer:
    """Answers requests with what ``handler`` returns, from ``start`` to ``stop``."""

    def __init__(
        self,
        handler: Handler,
        clock: Clock,
        *,
        timeouts: Timeouts | None = None,
        max_connections: int = MAX_CONNECTIONS,
        tls: "Callable[[], ssl.SSLContext] | None" = None,
    ) -> None:
        """``tls`` gives the context for each connection: certificates may change."""
        self.handler = handler
        self.clock = clock
        self.timeouts = timeouts or Timeouts()
        self._max_connections = max_connections
        self._tls = tls
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, host: str, port: int) -> None:
        """Listen on ``host``; port 0 is any free one.

        Raises:
            PortInUse: The address is taken or not allowed.
        """
        listener = Listener(self._accept)
        listener.listen_tcp(host, port)
        self._listener = listener

    @property
    def port(self) -> int:
        """The port that was bound; 0 when nothing listens."""
        return self._listener.port if self._listener else 0

    async def stop(self) -> None:
        """Stop listening and cut every connection. May be called more than once."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, sock: socket.socket, ip: str, port: int) -> None:
        if len(self._tasks) >= self._max_connections:
            with contextlib.closing(sock), contextlib.suppress(OSError):
                sock.send(_BUSY)
            return
        task = asyncio.get_running_loop().create_task(self._serve(sock), name=f"http {ip}:{port}")
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, sock))

    def _ended(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        sock.close()  # for a task that was cancelled before it began
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": f"error in {task.get_name()}", "exception": error, "task": task}
            )

    async def _serve(self, sock: socket.socket) -> None:
        try:
            reader, writer = await self._streams(sock)
        except OSError:  # no handshake: ssl.SSLError is one
            return
        try:
            with contextlib.suppress(OSError):  # TimeoutError is one
                await _Exchanges(self, reader, writer).run()
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _streams(self, sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._tls is None:
            return await asyncio.open_connection(sock=sock, limit=READ_BYTES)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        async with asyncio.timeout(self.timeouts.request_s):
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=self._tls())
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Refused(Exception):
    """A request that no handler sees."""

    def __init__(self, status: int) -> None:
        self.status = status


class _Exchanges:
    """The requests and answers of one connection."""

    def __init__(
        self, server: HttpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        writer.transport.set_write_buffer_limits(high=0)  # drain() waits until all is with the kernel

    async def run(self) -> None:
        """Until the peer leaves, errs, or is too slow (OSError)."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
        except (_Refused, h11.RemoteProtocolError) as error:
            status = error.status if isinstance(error, _Refused) else error.error_status_hint
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await self._send(_plain(status), "", close=True)
                await self._linger()

    async def _exchange(self) -> bool:
        """One request and its answer; whether there may be another."""
        async with asyncio.timeout(self._server.timeouts.request_s):
            request = await self._receive()
        if request is None:
            return False
        response = _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        try:
            response = self._server.handler(request)
        finally:
            await self._send(response, request.method, close=False)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _receive(self) -> Request | None:
        """The next request when it is whole; ``None`` at the end of the connection."""
        request: Request | None = None
        body_bytes = 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(READ_BYTES))
            elif isinstance(event, h11.Request):
                request = _request(event)
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._writer.write(self._http.send(go_on) or b"")
            elif isinstance(event, h11.Data):
                body_bytes += len(event.data)
                if body_bytes > MAX_BODY_BYTES:
                    raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:
                return None

    async def _send(self, response: Response, method: str, *, close: bool) -> None:
        headers = [
            *response.headers,
            ("Date", http_date(self._server.clock.wall_ns() // 1_000_000_000)),
            ("Content-Length", str(len(response.body))),
            ("X-Content-Type-Options", "nosniff"),  # error texts repeat what the peer sent
            *([("Connection", "close")] if close else []),
        ]
        reason = HTTPStatus(response.status).phrase
        parts = [self._http.send(h11.Response(status_code=response.status, headers=headers, reason=reason))]
        if method != "HEAD":
            parts.append(self._http.send(h11.Data(data=response.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self._writer.write(b"".join(part for part in parts if part))
        async with asyncio.timeout(self._server.timeouts.response_s):
            await self._writer.drain()

    async def _linger(self) -> None:
        """Reads on for a moment: closing with unread input resets the connection, and the answer is lost."""
        if self._writer.can_write_eof():  # TLS has no half of a connection
            self._writer.write_eof()
        async with asyncio.timeout(self._server.timeouts.linger_s):
            while await self._reader.read(READ_BYTES):
                pass


def _plain(status: int) -> Response:
    """An answer that says what the status means, as Go's server does."""
    return Response(status, f"{status:d} {HTTPStatus(status).phrase}".encode())


def _request(event: h11.Request) -> Request:
    """What a handler sees of ``event``.

    Raises:
        _Refused: Another version, or a target that names no page.
    """
    if event.http_version not in (b"1.0", b"1.1"):
        raise _Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    target = bytes(event.target)
    if target.lower().startswith((b"http://", b"https://")):  # RFC 9112 3.2.2: proxies write the whole URL
        target = b"/" + target.split(b"//", 1)[1].partition(b"/")[2]
    if not target.startswith(b"/") or event.method == b"CONNECT":
        raise _Refused(HTTPStatus.BAD_REQUEST)
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return Request(event.method.decode(), unquote_to_bytes(path).decode("utf-8", "surrogateescape"), query)
