"""A publisher for any NATS server, on nats-py.

* A message leaves the backlog when the server has answered a PING sent after it. What was under way
  when a connection broke is sent again: a subscriber may see a message twice (same ``Phloem-Seq``) and
  loses none to a server that is restarted.
* While the server is away messages wait in the backlog (``backlog.py`` says which are dropped when it
  is full); the first one that is dropped is a warning.
* A server that is away is one warning, tried again for ever with back-off.

nats-py's own reconnecting is off: it gives up for good when a server answers with an error (a restart
with other users, a connection limit), keeps a second queue, and has no say in when to warn. Here every
attempt is a fresh client.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Any, NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.backlog import Backlog
from phloem.firmware_bridge.backoff import Backoff
from phloem.firmware_bridge.client_requests import ClientRequests
from phloem.firmware_bridge.client_write import confirm, operations
from phloem.firmware_bridge.headers import Encoded, encode_headers
from phloem.firmware_bridge.publisher import Respond
from phloem.firmware_bridge.timers import CallLater, loop_call_later, pause
from phloem.firmware_bridge.unix_socket import client_of
from phloem.shared.clock import Clock, SystemClock

logger = logging.getLogger("phloem.bridge")

# ValueError: what nats-py makes of a peer that does not speak NATS.
_LOST = (OSError, nats.errors.Error, ValueError)


class _Interest(NamedTuple):
    subject: str
    callback: Callable[[bytes, str], None]  # payload and reply subject


class NatsPublisher:
    """Use as ``async with NatsPublisher(["nats://127.0.0.1:4222"], rng) as publisher``.

    Entering does not wait for the server. Leaving waits up to ``CLOSE_TIMEOUT_S`` for the backlog unless
    the server is away. A bug in here ends the block with its error, as in ``asyncio.TaskGroup``.
    """

    def __init__(
        self,
        servers: Sequence[str],
        rng: Random,
        *,
        name: str = "phloem bridge",
        backlog: Backlog | None = None,
        call_later: CallLater = loop_call_later,
        clock: Clock | None = None,
    ) -> None:
        self.backlog = Backlog() if backlog is None else backlog
        self.refused = 0
        self.payload_max = limits.PAYLOAD_BYTES
        self._servers, self._name, self._call_later = list(servers), name, call_later
        self._backoff = Backoff(limits.RETRY_MIN_NS, limits.RETRY_MAX_NS, rng)
        self._in_flight: list[Encoded] = []
        self._interests: set[_Interest] = set()
        self._requests: ClientRequests | None = None  # while it is connected
        self._clock = clock or SystemClock()
        self._wake, self._idle, self._connected = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._warned_away = self._warned_full = self._leaving = False
        self._reason = self._violation = ""
        self._group = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "NatsPublisher":
        await self._group.__aenter__()
        self._task = self._group.create_task(self._run(), name="bridge publisher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        try:
            waiting = self.backlog or self._in_flight
            if waiting and not self._warned_away and not self._task.done():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._idle.wait(), limits.CLOSE_TIMEOUT_S)
        finally:
            self._leaving = True  # for a cancellation that gets lost while connecting, see _end
            self._task.cancel()
            await self._group.__aexit__(kind, error, trace)
            if self.backlog:
                logger.warning("%d messages were not delivered", len(self.backlog))

    async def wait_idle(self) -> None:
        """Return when a server has confirmed everything: messages, subscriptions and their ends."""
        await self._idle.wait()

    @property
    def connected(self) -> bool:
        """Whether a server is connected and has all subscriptions."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return when a server is connected and has all subscriptions."""
        await self._connected.wait()

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Put a message into the backlog."""
        self.publish_all([(subject.encode(), encode_headers(headers), payload)])

    def publish_all(self, messages: Sequence[Encoded]) -> None:
        """Put many into it."""
        dropped = self.backlog.dropped
        self.backlog.put(messages)
        self._idle.clear()
        self._wake.set()
        if self.backlog.dropped > dropped and not self._warned_full:
            self._warned_full = True
            logger.warning("messages wait for a server and the backlog is full: the oldest are dropped")

    def subscribe(self, subject: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Ask for ``subject`` on this connection and every later one."""
        return self._listen(subject, lambda payload, _reply: callback(payload))

    def serve(self, subject: str, callback: Callable[[bytes, Respond], None]) -> Callable[[], None]:
        """The same for requests; answers wait as all messages do."""

        def on_request(payload: bytes, reply: str) -> None:
            if reply:
                callback(payload, lambda answer, headers: self.publish(reply, answer, headers))

        return self._listen(subject, on_request)

    def ask(self, messages: Sequence[Encoded], done: Callable[[bytes | None], None]) -> None:
        """As ``Requests`` has it. Nothing of this waits for a server: whoever asks knows what to ask again."""
        if self._requests is None:
            self._call_later(0, lambda: done(None))
        else:
            self._requests.ask(messages, done)

    def group(
        self,
        stream: str,
        pattern: str,
        after: int | None,
        messages: Sequence[Encoded],
        done: Callable[[bytes | None], None],
    ) -> bool:
        """As ``Groups`` has it."""
        return self._requests is not None and self._requests.group(stream, pattern, after, messages, done)

    def _listen(self, subject: str, callback: Callable[[bytes, str], None]) -> Callable[[], None]:
        interest = _Interest(subject, callback)
        self._interests.add(interest)
        self._idle.clear()
        self._wake.set()

        def unsubscribe() -> None:
            self._interests.discard(interest)
            self._idle.clear()
            self._wake.set()

        return unsubscribe

    async def _run(self) -> None:
        while not self._leaving:
            (client, options), closed = client_of(self._servers), asyncio.Event()
            try:
                await self._connect(client, options, closed)
                if not self._leaving:
                    await self._serve(client, closed)
            except _LOST as error:
                # nats-py ends with "no servers available" or "closed"; why, it said to on_error.
                self._away(self._reason or str(error) or type(error).__name__)
            finally:
                self._connected.clear()
                with suppress(*_LOST):
                    await client.close()
            if not self._leaving:
                await pause(self._backoff.next_ns(), self._call_later)

    async def _connect(self, client: Client, options: dict[str, Any], closed: asyncio.Event) -> None:
        self._reason = ""

        async def on_closed() -> None:
            closed.set()

        await client.connect(
            **options,
            name=self._name,
            error_cb=self._on_error,
            closed_cb=on_closed,
            allow_reconnect=False,
            # nats-py tries each server twice at least; the waiting between attempts is ours.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=limits.CONNECT_TIMEOUT_S,
        )

    async def _on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if not isinstance(error, _LOST):
            logger.error("a command could not be taken", exc_info=error)
        elif "permissions violation" not in text.lower():
            self._reason = text
        elif text != self._violation:  # comes again with every message and leaves the connection open
            self._violation = text
            logger.warning("the server does not allow this: %s", text)

    async def _serve(self, client: Client, closed: asyncio.Event) -> None:
        """Send and subscribe until the connection ends, which raises."""
        # nats-py leaves those who wait for a PONG waiting when the connection closes, hence two tasks.
        self._requests = requests = ClientRequests(client, self._clock, self._call_later)
        sending, ended = asyncio.create_task(self._send(client)), asyncio.create_task(closed.wait())
        try:
            await asyncio.wait({sending, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._requests = None
            ended.cancel()
            await _end(sending)
            await requests.close(tell=not self._leaving)
            self.backlog.put_back(self._in_flight)
            self._in_flight = []
        if not sending.cancelled():
            sending.result()
        raise nats.errors.ConnectionClosedError

    async def _send(self, client: Client) -> None:
        self.payload_max = client.max_payload - limits.HEADERS_BYTES
        subscriptions: dict[_Interest, Subscription] = {}
        while True:
            self._wake.clear()
            await self._update(client, subscriptions)
            self._in_flight = self.backlog.take()
            wanted = operations(self._sendable(self._in_flight, client.max_payload))
            await confirm(client, wanted, limits.CONFIRM_TIMEOUT_S)
            self._in_flight = []
            self._works()
            if self.backlog:
                continue
            self._warned_full = False
            if not self._wake.is_set():
                self._idle.set()
                await self._wake.wait()

    def _sendable(self, messages: list[Encoded], most: int) -> list[Encoded]:
        """Without what is too large: a server counts headers as well, and ends the connection over it, every time
        again."""
        sizes = [len(header) + len(payload) for _, header, payload in messages]
        if max(sizes, default=0) <= most:
            return messages
        for (subject, _, _), size in zip(messages, sizes, strict=True):
            if size > most:
                self._refuse(subject.decode(), size, most)
        return [message for message, size in zip(messages, sizes, strict=True) if size <= most]

    async def _update(self, client: Client, subscriptions: dict[_Interest, Subscription]) -> None:
        for interest in self._interests - subscriptions.keys():
            subscriptions[interest] = await client.subscribe(
                interest.subject,
                cb=_message_to(interest.callback),
                pending_msgs_limit=limits.COMMANDS_PENDING_MAX,
            )
        for interest in subscriptions.keys() - self._interests:
            await subscriptions.pop(interest).unsubscribe()

    def _works(self) -> None:
        if not self._connected.is_set():
            self._connected.set()
            logger.info(
                "connected to %s; %d messages wait, %d were dropped so far",
                ", ".join(map(_without_password, self._servers)),
                len(self.backlog),
                self.backlog.dropped,
            )
        self._backoff.reset()
        self._warned_away = False

    def _away(self, reason: str) -> None:
        if self._warned_away:
            return
        self._warned_away = True
        logger.warning(
            "no connection to %s: %s; messages are kept, trying again for ever",
            ", ".join(map(_without_password, self._servers)),
            reason,
        )

    def _refuse(self, subject: str, size: int, most: int) -> None:
        self.refused += 1
        if self.refused == 1:
            logger.warning(
                "%d bytes with headers for %s dropped: this server takes %d at most; lower max_frame_bytes",
                size,
                subject,
                most,
            )


async def _end(task: "asyncio.Task[None]") -> None:
    """Cancel ``task`` until it has ended.

    Once is not enough: before Python 3.12 ``asyncio.wait_for``, which nats-py waits with, forgets a
    cancellation that comes together with the result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=limits.CANCEL_AGAIN_S)


def _message_to(callback: Callable[[bytes, str], None]) -> Callable[[Msg], Awaitable[None]]:
    async def on_message(message: Msg) -> None:
        callback(message.data, message.reply)

    return on_message


def _without_password(server: str) -> str:
    scheme, found, rest = server.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else server.rpartition("@")[2]
