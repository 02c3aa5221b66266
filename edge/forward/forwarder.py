"""Drives the sender (``shared/forward/sender.py``): streams of one account of this server, to whoever hears on
``$PHL.UP.<device>``.

Whether there is a hub is seen from interest in that subject: it comes over the link with the hub's other interest and
goes with the link, whatever stands in between. Each tick may bring it, so it is looked after each. Work is done when
something was stored, when something came, and when the sender has said it is due.
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from phloem.edge.forward.log_stream import SAMPLES, LogStream
from phloem.edge.forward.squeeze import SAMPLES_MIN, Dictionaries
from phloem.edge.forward.status import Reporter
from phloem.edge.forward.wake import Wake
from phloem.shared.forward.effects import Alarm, Bounce, Confirmed, Effect, HubTime, Noticed, Send
from phloem.shared.forward.entries import Allowance, Entry
from phloem.shared.forward.figures import plain
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
from phloem.shared.forward.sender import Sender
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.link_meter import CONTROL

if TYPE_CHECKING:
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.forward")

ITSELF = b"="  # how a message to itself begins; no kind of the protocol's
WATCH_NS = (
    SECOND_NS  # how often it is looked whether the link is still the same one, while an answer is waited for
)


class Forwarder:
    """Streams of one account on their way."""

    def __init__(
        self,
        server: "Server",
        account: str,
        streams: dict[str, LogStream],
        entries: Sequence[Entry],
        *,
        boot: int,
        allowance: Allowance,
        renew: Callable[[], None],
    ) -> None:
        """``streams`` is kept as it is from here on; ``renew`` looks whether they are still what is there, and calls
        ``renewed``."""
        self._server = server
        self._js = server.jetstream
        assert self._js is not None
        self._account = server.account(account)
        self.streams = streams
        self.dictionaries = Dictionaries(self._js.store)
        self._entries, self._boot, self._allowance, self._renew = list(entries), boot, allowance, renew
        self.sender = self._sender()
        self._up, self._down = up_subject(server.name), down_subject(server.name)
        self._links: tuple[Link, ...] = ()  # that were up when the session began
        self._token = b""  # said to itself when the epochs are on the disk; empty: not asked yet
        self._begun = False  # they are
        self.reporter = Reporter(server, self.streams, allowance, space=space)
        self._wake = Wake(server, self.work)
        self._is_up = False
        self.stuck = ""  # why nothing moves, if all that can be done about it was in vain
        self.hears_time: Callable[[int, int, int], None] | None = None  # told what the hub's clock says
        self._seen: tuple[int, ...] = ()  # what was stored when it was looked last
        self._sub = server.kernel.subscribe(self._account, self._down, None, self._heard)
        self._js.watchers.append(self._ticked)
        self._wake.within(0)

    def _there(self) -> list[Entry]:
        """Those whose streams are, which the hub is offered."""
        there = [entry for entry in self._entries if entry.name in self.streams]
        self._offered = {entry.name for entry in there}
        return there

    def _sender(self) -> Sender:
        """For the entries whose streams are there."""
        there = self._there()
        return Sender(
            self._server.name,
            there,
            self.streams,
            boot=self._boot,
            squeeze=self.dictionaries,
            allowance=self._allowance,
        )

    def use(self, entries: Sequence[Entry], streams: dict[str, LogStream]) -> None:
        """Forward these from now on (reload). Streams that stay are the same objects; new ones are on the disk before
        the hub hears of them."""
        new = any(entry.name in streams and entry.name not in self._offered for entry in entries)
        self._entries, self.streams = list(entries), streams
        self.reporter.use(streams)
        if new:
            self._begun, self._token = False, b""
            self._ask_the_disk()
        else:
            self._use()

    def _use(self) -> None:
        there = self._there()
        now, wall = self._now(), self._server.clock.wall_ns()
        self._do(self.sender.use(there, self.streams, self._session(), now, wall))
        self._wake.within(0)

    def stop(self) -> None:
        """No more is sent; what was confirmed is written down."""
        self._wake.cancel()
        assert self._js is not None
        self._js.watchers.remove(self._ticked)
        self._server.kernel.unsubscribe(self._sub)
        for stream in self.streams.values():
            stream.settle(self._now(), at_once=True)

    # --- what happens ----------------------------------------------------------------------------------

    def _ticked(self) -> None:
        """Something may have become visible, and a hub may have come or gone."""
        seen = tuple(stream.last_seq for stream in self.streams.values())
        heard = self._server.kernel.interested(self._account, self._up)
        stored, self._seen = seen != self._seen, seen
        if (stored and self._is_up) or heard != self._is_up:
            self.work()
            self._server.kernel.settle()

    def renewed(self) -> None:
        """Streams are others than before: another session, when their epochs are on the disk."""
        self.sender = self._sender()
        self.reporter.use(self.streams)
        self._is_up, self._begun, self._token = False, False, b""
        self._wake.within(0)

    def _heard(self, _subject: bytes, _reply: bytes, _header: bytes, payload: bytes) -> None:
        if payload.startswith(ITSELF):
            if payload == self._token:  # not one of before other streams were there
                self._begun = True
                self._use()
                self.work()
            return
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

    def work(self) -> None:
        """Whatever is due."""
        self._renew()  # a timer may be before the tick's
        self._look()
        if self._is_up:
            self._do(
                self.sender.work(
                    self._now(), self._server.clock.wall_ns(), self._second_of_day(), self._session()
                )
            )
            self._report()
        wake = [self.sender.due_ns, self.reporter.next_ns] if self._is_up else [self._wake.look_ns]
        if self._is_up and not self.sender.is_idle:
            wake.append(self._now() + WATCH_NS)
        wake += [stream.settle(self._now()) for stream in self.streams.values()]
        self._wake.at(min(filter(None, wake), default=0))

    def _report(self) -> None:
        """Tell the hub how things are, now and then."""
        status = self.reporter.due(self.sender, self._now(), self._second_of_day())
        if status is not None:
            self._do(self.sender.tell(plain(status)))

    def _look(self) -> None:
        """Whether there is a hub. A link that went and came back in between is another one: what was on its way is
        gone, and nobody said so."""
        heard = self._server.kernel.interested(self._account, self._up)
        links = self._server.leafs.up
        if self._is_up and not (heard and all(link in links for link in self._links)):
            self._is_up = False
            log.info("the hub is away; messages are kept")
            self._do(self.sender.link_down(self._now()))
        if heard and not self._is_up:
            if not self._begun:  # the epochs have to be on the disk first
                self._ask_the_disk()
                return
            self._is_up, self._links = True, tuple(links)
            self._learn()
            self._do(self.sender.link_up(self._session(), self._now(), self._server.clock.wall_ns()))

    def _ask_the_disk(self) -> None:
        """By a message to itself that comes when everything written so far is durable, however much is under way."""
        assert self._js is not None
        if not self._token:
            self._token = ITSELF + self._server.rng.randbytes(16)
            self._js.engine.answer(self._account, self._down, b"", self._token, durable=True)
            self._js.engine.wake()

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
                    if (stream := self.streams.get(name)) is not None:  # it may be gone with a reload
                        stream.confirm(seq)
                case Noticed(name, text):
                    log.warning("%s%s", f"{name}: " if name else "", text)
                case Bounce(why):
                    log.warning("the link is up and nothing moves (%s); connecting anew", why)
                    for uplink in self._server.uplinks:
                        uplink.bounce(why)
                case Alarm(why):
                    self.stuck = alarm(why, self.streams.values())
                case HubTime(wall_ns, at_ns, error_ns):
                    if self.hears_time is not None:
                        self.hears_time(wall_ns, at_ns, error_ns)

    def tell_clocks(self, name: str) -> None:
        """More is known about the times of a stream: the hub hears it before what is sent next."""
        self._do(self.sender.clocks(name, tuple(self.streams[name].epochs)))

    def stepped(self, moved_ns: int) -> None:
        """The clock was set: what was live stays so, and what is stored from now on has other stamps."""
        self.sender.stepped(moved_ns)
        for name in self.streams:
            self.tell_clocks(name)

    def _now(self) -> int:
        return self._server.clock.monotonic_ns()

    def _session(self) -> int:
        return self._server.rng.getrandbits(32) | 1

    def _second_of_day(self) -> int | None:
        """As the link's own hours count it."""
        when = self._server.leafs.meter.when()
        return when.second if when.trusted else None


def space(folder: str) -> tuple[int, int]:
    """Bytes that are free for this process, and all, where the folder is. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def alarm(why: str, streams: Iterable[LogStream]) -> str:
    """For people, of whoever sends: messages wait, and nothing that was tried moves them; without a reason it is over.
    The reason."""
    if why:
        waiting = sum(stream.waiting for stream in streams)
        log.error("%d messages wait, and nothing that was tried moves them to the hub: %s", waiting, why)
    else:
        log.warning("messages move to the hub again")
    return why
