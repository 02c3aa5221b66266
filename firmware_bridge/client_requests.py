"""Requests over one connection of nats-py, for who sends thousands of messages a second.

nats-py makes a future and a timer for each request. Here all messages of a group are one write (``client_write.py``),
and all answers come to one subscription.

Who asks nothing subscribes to nothing. A server that takes groups (``shared/server/jetstream/groups.py``) is asked for
that once, when there is the first, without anybody waiting for the answer: nats-server gives none.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.client_write import operations, write
from phloem.firmware_bridge.headers import Encoded
from phloem.firmware_bridge.timers import CallLater
from phloem.firmware_bridge.waiting import Waiting
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

_PLACE = "$JS.API.PHLOEM.PLACE"
_NOBODY = "503"
Done = Callable[[bytes | None], None]


class ClientRequests:
    """From the beginning of a connection to its end. ``Requests`` and ``Groups`` say what is promised."""

    def __init__(self, client: Client, clock: Clock, call_later: CallLater) -> None:
        self._client, self._call_later = client, call_later
        self._root = client.new_inbox()
        self._numbers = itertools.count(1)
        self._waiting = Waiting[Done](
            limits.CONFIRM_TIMEOUT_S * SECOND_NS, clock, call_later, lambda _, done: done(None)
        )
        self._opening: asyncio.Task[None] | None = None  # what listens for answers
        self._held: list[bytes] | None = []  # until it does
        self._groups: bool | None = None
        self._begun = 0  # rows of groups, each of which has 2^32 numbers of its own
        self._sent: dict[tuple[str, str], int] = {}  # the number of the last group, by stream and pattern
        self._encoder = msgspec.msgpack.Encoder()

    async def close(self, *, tell: bool) -> None:
        """The connection is gone; with ``tell`` whoever waits hears that nobody knows."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        waiting = self._waiting.clear()
        if tell:
            for done in waiting.values():
                done(None)

    def ask(self, messages: Sequence[Encoded], done: Done) -> None:
        """As ``Requests`` has it."""
        most = self._client.max_payload
        if any(len(header) + len(payload) > most for _, header, payload in messages):
            self._call_later(0, lambda: done(None))  # the server would end the connection over it
            return
        *before, (subject, header, payload) = messages
        reply = f"{self._root}.{next(self._numbers)}"
        self._waiting.add(reply, done)
        self._write(operations([*before, (subject + b" " + reply.encode(), header, payload)]))

    def group(
        self, stream: str, pattern: str, after: int | None, messages: Sequence[Encoded], done: Done
    ) -> bool:
        """As ``Groups`` has it."""
        if self._groups is None:
            self._groups = False
            self._write(operations([(f"{_PLACE}.- {self._root}.0".encode(), b"", b"")]))
        if not self._groups:
            return False
        if after is None and (stream, pattern) not in self._sent:
            return False
        self._begun += after is not None
        number = self._begun << 32 if after is not None else self._sent[stream, pattern] + 1
        body = self._encoder.encode((pattern, number, after, messages))
        if len(body) > self._client.max_payload:
            return False
        if len(self._sent) >= limits.GROUP_PATTERNS_MAX:
            self._sent.clear()
        self._sent[stream, pattern] = number
        self.ask([(f"{_PLACE}.{stream}".encode(), b"", body)], done)
        return True

    async def _heard(self, message: Msg) -> None:
        answer = None if (message.headers or {}).get("Status") == _NOBODY else message.data
        done = self._waiting.pop(message.subject)
        if done is not None:
            done(answer)
        elif message.subject == f"{self._root}.0":
            self._groups = answer == b"{}"  # not an error, as a later nats-server may answer

    async def _open(self) -> None:
        with suppress(nats.errors.Error):  # whoever waits hears it from ``close``
            await self._client.subscribe(
                f"{self._root}.*", cb=self._heard, pending_msgs_limit=limits.ANSWERS_PENDING_MAX
            )
            held, self._held = self._held or [], None
            self._write(b"".join(held))

    def _write(self, data: bytes) -> None:
        if self._held is None:
            write(self._client, data)
            return
        self._held.append(data)
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open(), name="bridge answers")
