"""Drives the publisher (``shared/forward/publisher.py``): streams of one account of this server, to streams of a hub
that has JetStream and does not speak phloem's own protocol, such as nats-server.

The hub is seen by interest in its API, which comes over the link. Another link, even at the same time, is another
session: what was under way on the one before may be lost.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from phloem.edge.forward.forwarder import alarm
from phloem.edge.forward.log_stream import LogStream
from phloem.edge.forward.wake import Wake
from phloem.shared.forward.effects import Alarm, Bounce, Confirmed, Noticed
from phloem.shared.forward.entries import Allowance, Entry
from phloem.shared.forward.hub_stream import Note
from phloem.shared.forward.lanes import Ask, Effect, Post, Remember
from phloem.shared.forward.messages import up_subject
from phloem.shared.forward.publisher import Publisher as Machine
from phloem.shared.jetstream.identity import text_of
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.link_meter import CONTROL

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.forward")

KEY = b"fu/"
DISK_NS = SECOND_NS // 50  # how often it is looked whether the epochs are on the disk
AUTO_NS = 2 * SECOND_NS  # a link is up for so long without phloem's own hub before JetStream is used
AUTO_AGAIN_NS = SECOND_NS // 4  # the same, when it was used before
NOTE_NS = 5 * SECOND_NS  # notes are written so often; an old one is as good as long as the hub keeps messages


class Publisher:
    """Streams of one account on their way to streams of a hub. ``auto``: only while no hub of phloem's is heard of."""

    def __init__(
        self,
        server: "Server",
        account: str,
        streams: Mapping[str, LogStream],
        entries: Sequence[Entry],
        *,
        allowance: Allowance,
        auto: bool,
    ) -> None:
        self._server = server
        js = server.jetstream
        assert js is not None
        self._js = js
        self._account = server.account(account)
        self._auto = auto
        self.streams = dict(streams)
        device = self._device = server.name
        self._api = ""  # what the hub's API begins with; without it the hub cannot be asked
        self._own = js.options.domain
        self._anything, self._asks = self._any(entries), self._asked(entries)
        self._up_subject = up_subject(device)
        self._keys = self._keys_of(streams)
        self._noted: dict[str, Note] = {}  # not written yet
        self._written_ns = 0
        there = [entry for entry in entries if entry.name in streams]
        self.machine = Machine(device, there, streams, self._notes(), allowance=allowance)
        inbox = f"_INBOX_{device}.{text_of(server.rng.randbytes(12), 12)}."
        self._inbox = inbox.encode()
        self._sub = server.kernel.subscribe(self._account, self._inbox + b">", None, self._heard)
        self._wake = Wake(server, self.work)
        self._link: tuple[int, ...] = ()  # what the session goes over
        self._since_ns = 0  # the hub is heard of since
        self._is_up = False
        self.stuck = ""  # as in ``Forwarder``
        self._said = ""
        self._auto_ns = AUTO_NS
        self._wishes: list[Entry] = []  # of a reload, that wait for the disk
        self._seen: tuple[int, ...] = ()
        js.watchers.append(self._ticked)
        self._wake.within(0)

    def _any(self, entries: Sequence[Entry]) -> bytes:
        return f"fleet.{entries[0].name}.{self._device}.any".encode()

    def _asked(self, entries: Sequence[Entry]) -> list[str]:
        """What is asked for first: it may be all of the hub's API that this device's permissions allow."""
        return [f"STREAM.INFO.{entry.to}" for entry in entries]

    def _keys_of(self, streams: Mapping[str, LogStream]) -> dict[str, bytes]:
        return {name: KEY + f"{self._account.name}/{name}".encode() for name in streams}

    def use(self, entries: Sequence[Entry], streams: Mapping[str, LogStream]) -> None:
        """Publish these from now on. Streams that stay are the same objects, and new ones are on the disk before
        anything of them is sent. Of those that are gone, or are others now, nothing is asked any more."""
        self._write_notes(at_once=True)
        stay = {name: stream for name, stream in streams.items() if self.streams.get(name) is stream}
        self.machine.use([e for e in entries if e.name in stay], stay, self._notes(), self._now())
        self.streams = dict(streams)
        self._anything, self._asks = self._any(entries), self._asked(entries)
        self._keys = self._keys_of(streams)
        self._wishes = [entry for entry in entries if entry.name in streams]
        self._settle_first()

    def _settle_first(self) -> None:
        """Epochs of new streams go to the disk, then the machine gets them."""
        if not self._js.store.settled:
            self._js.engine.wake()
            self._wake.within(DISK_NS)
            return
        self.machine.use(self._wishes, self.streams, self._notes(), self._now())
        self._wishes = []
        self._wake.within(0)

    def _notes(self) -> dict[str, Note]:
        found = {name: self._js.store.get(key) for name, key in self._keys.items()}
        return {name: msgspec.msgpack.decode(data, type=Note) for name, data in found.items() if data}

    def stop(self) -> None:
        """No more is sent; what was confirmed is written down."""
        self._wake.cancel()
        self._js.watchers.remove(self._ticked)
        self._server.kernel.unsubscribe(self._sub)
        self._write_notes(at_once=True)
        for stream in self.streams.values():
            stream.settle(self._now(), at_once=True)

    # --- what happens ----------------------------------------------------------------------------------

    def _ticked(self) -> None:
        """Something may have become visible, and a hub may have come or gone."""
        seen = tuple(stream.last_seq for stream in self.streams.values())
        stored, self._seen = seen != self._seen, seen
        if (stored and self._is_up) or self._heard_over() != self._link:
            self.work()
            self._server.kernel.settle()

    def _heard(self, subject: bytes, _reply: bytes, header: bytes, payload: bytes) -> None:
        if self._is_up:
            self._do(self.machine.received(subject[len(self._inbox) :], header, payload, self._now()))
            if not self.machine.is_partial:
                self.work()

    def work(self) -> None:
        """Whatever is due."""
        if self._wishes:
            self._settle_first()
        self._look()
        now = self._now()
        wake = [self._wake.look_ns]
        if self._link and not self._is_up:  # phloem's own hub may yet be heard of
            wake.append(max(self._since_ns + (self._auto_ns if self._auto else 0), now + DISK_NS))
        if self._is_up:
            wall_ns = self._server.clock.wall_ns()
            when = self._server.leafs.meter.when()
            self._do(self.machine.work(now, wall_ns, when.second if when.trusted else None))
            wake.append(self.machine.due_ns)
        self._write_notes()
        if self._noted:
            wake.append(self._written_ns + NOTE_NS)
        wake += [stream.settle(now) for stream in self.streams.values()]
        self._wake.at(min(filter(None, wake), default=0))

    def _look(self) -> None:
        """Whether there is a hub, and whether it is for this to serve it."""
        link = self._heard_over()
        if link != self._link:
            if self._is_up:
                log.info("the hub is away; messages are kept")
                self.machine.link_down()
            self._link, self._is_up, self._since_ns = link, False, self._now()
        if not link or self._is_up:
            return
        if self._auto and self._now() - self._since_ns < self._auto_ns:
            return
        if not self._js.store.settled:  # the epochs have to be on the disk first
            return
        self._is_up = True
        self._auto_ns = AUTO_AGAIN_NS
        log.info("the hub is there; messages go to its JetStream (%s)", self._api or "which cannot be asked")
        session = self._server.rng.getrandbits(32)
        blind = not self._api
        sizes = [up.peer_max_payload for up in self._server.leafs.up if up.peer_max_payload]
        most = min([self._server.options.max_payload, *sizes])
        self.machine.link_up(session, self._now(), self._server.clock.wall_ns(), most, blind=blind)

    def _heard_over(self) -> tuple[int, ...]:
        """The links, if the hub can be heard of over them; none, if it cannot or is phloem's own."""
        interested = self._server.kernel.interested
        links = self._server.leafs.up
        domain = self._server.options.phloem.hub_domain or next((up.domain for up in links if up.domain), "")
        if domain and domain == self._own:
            self._complain(
                f'"{domain}" is the JetStream domain of this device and of its hub: they have to differ'
            )
            return ()
        self._api = f"$JS.{domain}.API." if domain else ""
        if not domain and self._auto:  # any subscriber would look like a hub
            return ()
        heard = [f"{self._api}{what}".encode() for what in self._asks] if domain else [self._anything]
        if not any(interested(self._account, subject) for subject in heard):
            return ()
        if self._auto and interested(self._account, self._up_subject):  # a hub of phloem's
            return ()
        return tuple(up.conn.cid for up in links)

    def _complain(self, text: str) -> None:
        if text != self._said:
            self._said = text
            log.error("forward: %s", text)

    # --- what is done ----------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        publish, account = self._server.kernel.publish, self._account
        meter = self._server.leafs.meter
        for effect in effects:
            match effect:
                case Post(messages, cls, size):
                    inbox = self._inbox
                    meter.charge(cls.name.lower(), size)
                    for subject, token, header, payload in messages:
                        publish(account, subject, inbox + token if token else b"", header, payload)
                case Ask(api, token, body):
                    subject = f"{self._api}{api}".encode()
                    publish(account, subject, self._inbox + token, b"", body)
                    meter.charge(CONTROL, len(subject) + len(body))
                case Confirmed(name, seq):
                    if (stream := self.streams.get(name)) is not None:  # it may be gone with a reload
                        stream.confirm(seq)
                case Remember(name, note):
                    if name in self.streams:
                        self._noted[name] = note
                case Noticed(name, text):
                    log.warning("%s: %s", name, text)
                case Bounce(why):
                    log.warning("the link is up and nothing moves (%s); connecting anew", why)
                    for uplink in self._server.uplinks:
                        uplink.bounce(why)
                case Alarm(why):
                    self.stuck = alarm(why, self.streams.values())

    def _write_notes(self, *, at_once: bool = False) -> None:
        now = self._now()
        if self._noted and (at_once or now - self._written_ns >= NOTE_NS):
            for name, note in self._noted.items():
                self._js.store.put(self._keys[name], msgspec.msgpack.encode(note))
            self._noted, self._written_ns = {}, now

    def _now(self) -> int:
        return self._server.clock.monotonic_ns()
