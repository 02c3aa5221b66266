"""Drives the sender (``shared/forward/sender.py``): streams of one account of this server, to whoever hears on
``$PHL.UP.<device>``.

Whether there is a hub is seen from interest in that subject: it comes over the link with the hub's other interest and
goes with the link, whatever stands in between. Work is done when something was stored, when something came, and when
the sender has said it is due.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from phloem.edge.forward.log_stream import SAMPLES, LogStream
from phloem.edge.forward.squeeze import SAMPLES_MIN, Dictionaries
from phloem.shared.forward.entries import Allowance, Entry
from phloem.shared.forward.messages import (
    Ack,
    Again,
    Malformed,
    Pause,
    Welcome,
    decode,
    down_subject,
    up_subject,
)
from phloem.shared.forward.sender import Bounce, Confirmed, Effect, HubTime, Noticed, Send, Sender
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.link_meter import CONTROL

if TYPE_CHECKING:
    import asyncio

    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.forward")

LOOK_NS = SECOND_NS // 5  # how often it is looked whether there is a hub, while there is none
DISK_NS = SECOND_NS // 50  # and whether the epochs are on the disk


class Forwarder:
    """Streams of one account on their way."""

    def __init__(
        self,
        server: "Server",
        account: str,
        streams: Mapping[str, LogStream],
        entries: Sequence[Entry],
        *,
        boot: int,
        allowance: Allowance,
    ) -> None:
        self._server = server
        self._js = server.jetstream
        assert self._js is not None
        self._account = server.account(account)
        self.streams = streams
        self.dictionaries = Dictionaries(self._js.store)
        device = server.name
        self.sender = Sender(
            device, entries, streams, boot=boot, squeeze=self.dictionaries, allowance=allowance
        )
        self._up, self._down = up_subject(device), down_subject(device)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._is_up = False
        self._seen: tuple[int, ...] = ()  # what was stored when it was looked last
        self._sub = server.kernel.subscribe(self._account, self._down, None, self._heard)
        self._js.watchers.append(self._stored)
        self._wake(LOOK_NS)

    def stop(self) -> None:
        """No more is sent; what was confirmed is written down."""
        if self._timer is not None:
            self._timer.cancel()
        assert self._js is not None
        self._js.watchers.remove(self._stored)
        self._server.kernel.unsubscribe(self._sub)
        for stream in self.streams.values():
            stream.settle(self._now(), at_once=True)

    # --- what happens ----------------------------------------------------------------------------------

    def _stored(self) -> None:
        """After each tick: something may have become visible."""
        seen = tuple(stream.last_seq for stream in self.streams.values())
        if seen != self._seen:
            self._seen = seen
            if self._is_up:
                self.work()
                self._server.kernel.settle()

    def _heard(self, _subject: bytes, _reply: bytes, _header: bytes, payload: bytes) -> None:
        try:
            message = decode(payload)
        except Malformed as error:
            log.warning("the hub said something that is not understood: %s", error)
            return
        if isinstance(message, Welcome | Ack | Again | Pause):
            self._do(
                self.sender.received(message, self._now(), self._server.clock.wall_ns(), self._session())
            )
            self.work()

    def _due(self) -> None:
        self._timer = None
        self.work()

    def work(self) -> None:
        """Whatever is due."""
        self._look()
        if self._is_up:
            self._do(
                self.sender.work(
                    self._now(), self._server.clock.wall_ns(), self._second_of_day(), self._session()
                )
            )
        wake = [self.sender.due_ns] if self._is_up else [self._now() + LOOK_NS]
        wake += [stream.settle(self._now()) for stream in self.streams.values()]
        self._wake_at(min(filter(None, wake), default=0))

    def _look(self) -> None:
        """Whether there is a hub."""
        assert self._js is not None
        heard = self._server.kernel.interested(self._account, self._up)
        if self._is_up and not heard:
            self._is_up = False
            self.sender.link_down()
            log.info("the hub is away; messages are kept")
        elif heard and not self._is_up:
            if not self._js.store.settled:  # the epochs have to be on the disk first
                self._wake(DISK_NS)
                return
            self._is_up = True
            self._learn()
            self._do(self.sender.link_up(self._session(), self._now(), self._server.clock.wall_ns()))

    def _learn(self) -> None:
        """Train dictionaries that are not there and can be."""
        for name, stream in self.streams.items():
            if not self.dictionaries.ident(name) and stream.stream.log.messages >= SAMPLES_MIN * 2:
                samples = stream.samples()
                if len(samples) >= min(SAMPLES_MIN, SAMPLES):
                    self.dictionaries.train(name, samples)

    # --- what is done ----------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(data, cls):
                    self._server.kernel.publish(self._account, self._up, body=data)
                    self._server.leafs.meter.charge(CONTROL if cls is None else cls.name.lower(), len(data))
                case Confirmed(name, seq):
                    self.streams[name].confirm(seq)
                case Noticed(name, text):
                    log.warning("%s%s", f"{name}: " if name else "", text)
                case Bounce(why):
                    log.warning("the link is up and nothing moves (%s); connecting anew", why)
                    for uplink in self._server.uplinks:
                        uplink.bounce(why)
                case HubTime():
                    self.hub_time(effect)

    def hub_time(self, time: HubTime) -> None:
        """What the hub's clock says."""

    def _now(self) -> int:
        return self._server.clock.monotonic_ns()

    def _session(self) -> int:
        return self._server.rng.getrandbits(32) | 1

    def _second_of_day(self) -> int | None:
        """As the link's own hours count it."""
        when = self._server.leafs.meter.when()
        return when.second if when.trusted else None

    def _wake(self, wait_ns: int) -> None:
        self._wake_at(self._now() + wait_ns)

    def _wake_at(self, ns: int) -> None:
        if ns == 0 or (self._timer is not None and self._timer_ns <= ns and self._timer_ns > self._now()):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = ns
        self._timer = self._server.call_later(max(ns - self._now(), 0) / SECOND_NS, self._due)
