"""Drives EdgeLink: sessions of ports, and the ledger that all of them share.

A port's session ends when its device is lost, and with it nothing: frames that were handed up go on to the stream, and
the next session asks where the ring begins.
"""

import logging
from collections.abc import Callable
from random import Random
from typing import Protocol, assert_never

import msgspec

from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.edgelink import effects as up
from phloem.firmware_bridge.edgelink import ledger, limits
from phloem.firmware_bridge.edgelink.messages import Hello
from phloem.firmware_bridge.edgelink.records import Records, pattern_of
from phloem.firmware_bridge.edgelink.schema import Dictionary
from phloem.firmware_bridge.edgelink.session import Session
from phloem.firmware_bridge.edgelink.stream import Found, JetStream, Kept
from phloem.firmware_bridge.edgelink.twins import Twins
from phloem.firmware_bridge.headers import clock_line
from phloem.firmware_bridge.publisher import Publisher, Respond
from phloem.firmware_bridge.requests import Requests
from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.shared.clock import Clock

logger = logging.getLogger("phloem.bridge")

_BELIEVED_NS = (
    1_735_689_600 * limits.SECOND_NS
)  # 2025: an edge whose clock is before that tells no board the time
_COMMAND_NS = 30 * limits.SECOND_NS  # how long a command is tried
_STATUS = {0: "done", 1: "unknown_command", 2: "failed", 4: "refused"}


class _Alarm:
    """One timer that is set to the earliest time that anybody wants."""

    def __init__(self, clock: Clock, call_later: CallLater, ring: Callable[[], None]) -> None:
        self._clock, self._call_later, self._ring = clock, call_later, ring
        self._timer: Timer | None = None
        self._at_ns = 0

    def set(self, at_ns: int | None) -> None:
        if at_ns is None or (self._timer is not None and self._at_ns <= at_ns):
            return
        self.cancel()
        self._at_ns = at_ns
        self._timer = self._call_later(at_ns - self._clock.monotonic_ns(), self._rang)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rang(self) -> None:
        self._timer = None
        self._ring()


class Station:
    """What the ports of a bridge share."""

    def __init__(
        self,
        publisher: Publisher,
        requests: Requests,
        clock: Clock,
        rng: Random,
        call_later: CallLater,
        quality: Callable[[], str],
    ) -> None:
        self.publisher, self.clock, self.rng, self.quality = publisher, clock, rng, quality
        self.call_later = call_later
        self.schemas: dict[int, Dictionary] = {}
        self._ledger = ledger.Ledger()
        self._stream = JetStream(requests, lambda: f"{rng.getrandbits(96):024x}")
        self._subjects: dict[bytes, str] = {}  # of a board: its port's
        self._links: list[Link] = []
        self._alarm = _Alarm(clock, call_later, self._expire)
        self._stuck: dict[bytes, str] = {}  # of a board: why it cannot be stored, said once
        self._twins = Twins()

    def link(self, name: str, subject: str, command_subject: str) -> "Link":
        """One port's."""
        link = Link(self, name, subject, command_subject)
        self._links.append(link)
        return link

    def stop(self) -> None:
        """No timer fires any more."""
        self._alarm.cancel()
        for link in self._links:
            link.closed()

    def heard(self, uid: bytes, port: str) -> None:
        """A frame that is certainly of this board came."""
        if others := self._twins.heard(uid, port, self._now()):
            ports = " and ".join(sorted(others))
            logger.warning("two boards say that they are %s, on %s: one of them has to go", uid.hex(), ports)

    def locate(self, uid: bytes, epoch: int, subject: str) -> None:
        """As ``Locate`` says; ``subject`` is the port's."""
        self._subjects[uid] = subject
        if len(self._subjects) > 2 * limits.BOARDS_MAX:
            for forgotten in self._subjects.keys() - self._ledger.boards - {uid}:
                del self._subjects[forgotten]
                self._stuck.pop(forgotten, None)
            self._stream.forget()
        self._do(self._ledger.locate(uid, epoch, self._now()))

    def put(self, frames: list[up.Taken], records: Records) -> None:
        """Frames of one ring, in order, on their way to the stream."""
        now_ns = self._now()
        messages = records.of(frames, self.clock.wall_ns() - now_ns, self.quality())
        seqs = [frame.seq for frame in frames]
        self._do(self._ledger.put(frames[0].uid, frames[0].epoch, zip(seqs, messages, strict=True), now_ns))

    def put_gap(self, gap: up.Gap, records: Records) -> None:
        """Frames that are gone, on their way to the stream."""
        message = records.of_gap(gap, self.clock.wall_ns(), self.quality())
        last = (gap.next - 1) % (1 << 32)
        self._do(self._ledger.put(gap.uid, gap.epoch, [(last, [message])], self._now()))

    def subject_of(self, uid: bytes) -> str:
        """What the subjects of a board begin with: those of the port where it was located last."""
        return self._subjects[uid]

    def _now(self) -> int:
        return self.clock.monotonic_ns()

    def _expire(self) -> None:
        self._do(self._ledger.expire(self._now()))

    def _do(self, tasks: list[ledger.Task]) -> None:
        for task in tasks:
            match task:
                case ledger.Store(uid, number, after, messages):
                    placed = self._stream.store(
                        pattern_of(self._subjects[uid], uid),
                        after,
                        messages,
                        lambda kept, uid=uid, number=number: self._stored(uid, number, kept),  # type: ignore[misc]
                    )
                    if placed is not None:
                        self._do(self._ledger.placed(uid, number, placed, self._now()))
                case ledger.Find(uid):
                    self._stream.last(
                        pattern_of(self._subjects[uid], uid),
                        lambda found, uid=uid: self._found(uid, found),  # type: ignore[misc]
                    )
                case ledger.Located() | ledger.Durable():
                    for link in self._links:
                        link.told(task)
                case _:
                    assert_never(task)
        self._alarm.set(self._ledger.due_ns)

    def _stored(self, uid: bytes, number: int, kept: Kept) -> None:
        if not kept.overtaken:  # that is no trouble
            self._judge(uid, kept.why)
        self._do(self._ledger.stored(uid, number, kept.stream_seq, self._now(), overtaken=kept.overtaken))

    def _found(self, uid: bytes, found: Found) -> None:
        self._judge(uid, found.why)
        if found.why:
            self._do(self._ledger.not_found(uid, self._now()))
        else:
            self._do(self._ledger.found(uid, found.position, self._now()))

    def _judge(self, uid: bytes, why: str) -> None:
        """One warning for a trouble; the board keeps its readings meanwhile."""
        if why and self._stuck.get(uid) != why:
            logger.warning("board %s: its readings cannot be stored: %s; trying again", uid.hex(), why)
        if why:
            self._stuck[uid] = why
        else:
            self._stuck.pop(uid, None)


class Watching(Protocol):
    """Who wants to know of a port's board and of its image."""

    def joined(self, hello: Hello) -> None:
        """A board was welcomed, also one that began anew."""
        ...

    def left(self) -> None:
        """No board is there; perhaps none was."""
        ...

    def image_whole(self) -> None:
        """The board has all of the image and starts it."""
        ...

    def image_ended(self, how: up.ImageEnd, why: str) -> None:
        """What became of the image; perhaps there was none."""
        ...


class _Nobody:
    def joined(self, hello: Hello) -> None:
        pass

    def left(self) -> None:
        pass

    def image_whole(self) -> None:
        pass

    def image_ended(self, how: up.ImageEnd, why: str) -> None:
        pass


class Link:
    """One port: bytes in, bytes out. ``session`` is there while the device is open."""

    def __init__(self, station: Station, name: str, subject: str, command_subject: str) -> None:
        self.name, self.subject, self.command_subject = name, subject, command_subject
        self.session: Session | None = None
        self._station = station
        self._write: Callable[[bytes], bool] = lambda data: False
        self._alarm = _Alarm(station.clock, station.call_later, self._expire)
        self._unserve: Callable[[], None] | None = None
        self._served = b""  # the board whose commands are taken
        self._waiting: dict[int, Respond] = {}
        self._tickets = 0
        self._before = Counters()  # of sessions that have ended
        self._readings = 0
        self._records: tuple[tuple[bytes, int, str], Records] | None = None
        self.frame_mono_ns = -1  # when the last frame came
        self.board: Watching = _Nobody()

    def opened(self, write: Callable[[bytes], bool]) -> None:
        """The device is open; ``write`` takes bytes, or says that it has no room, and then they are repeated."""
        self._write = write
        self.session = Session(
            self._station.rng.getrandbits(32), self._station.schemas, self._station.clock.monotonic_ns()
        )
        self._expire()

    def closed(self) -> None:
        """The device is lost. What was handed up goes on."""
        self._alarm.cancel()
        self.count(self._before)
        was_open, self.session = self.session is not None, None
        self._stop_serving("the port was closed")
        if was_open:
            self.board.left()
            self.board.image_ended(up.ImageEnd.GONE, "the port was closed")

    def received(self, data: bytes) -> None:
        """Bytes from the device."""
        if self.session is not None:
            now_ns, frames = self._station.clock.monotonic_ns(), self.session.reader.frames
            certain = self.session.certain
            self._do(self.session.receive(data, now_ns))
            if self.session is not None and self.session.reader.frames > frames:
                self.frame_mono_ns = now_ns
            if self.session is not None and self.session.certain > certain and self.session.hello is not None:
                self._station.heard(self.session.hello.uid, self.name)

    def count(self, counters: Counters) -> None:
        """Set what a port of frames counts of its frames."""
        before, session = self._before, self.session
        counters.readings = self._readings
        if session is not None:
            reader = session.reader
            counters.frames = before.frames + reader.frames
            counters.resyncs = counters.damaged = before.damaged + reader.noises
            counters.dropped_bytes = before.dropped_bytes + reader.noise_bytes
            counters.undecodable = (
                before.undecodable + session.counters.malformed + session.counters.unreadable
            )

    def install(self, image: bytes, version: str) -> None:
        """As ``Session.install`` has it; ``board`` hears what becomes of it.

        Raises:
            ValueError: It cannot be begun.
        """
        if self.session is None:
            raise ValueError("no board that takes images is there")
        self._do(self.session.install(image, version, self._station.clock.monotonic_ns()))

    def give_up_image(self) -> None:
        """Nobody wants it any more."""
        if self.session is not None:
            self.session.give_up_image()

    def told(self, task: ledger.Located | ledger.Durable) -> None:
        """What the ledger says of a board, perhaps of another port's."""
        if self.session is None or self._uid() != task.uid:
            return
        now_ns = self._station.clock.monotonic_ns()
        if isinstance(task, ledger.Located):
            self._do(self.session.located(task.uid, task.epoch, task.next, now_ns))
        else:
            self._do(self.session.durable(task.uid, task.epoch, task.next, now_ns))

    def _expire(self) -> None:
        if self.session is not None:
            clock = self._station.clock
            wall_ns, now_ns = clock.wall_ns(), clock.monotonic_ns()
            self.session.wall_ahead_ns = wall_ns - now_ns if wall_ns > _BELIEVED_NS else None
            self._do(self.session.expire(now_ns))

    def _do(self, effects: list[up.Effect]) -> None:
        taken: list[up.Taken] = []
        for effect in effects:
            if isinstance(effect, up.Taken):
                taken.append(effect)
                continue
            self._put(taken)
            self._carry_out(effect)
        self._put(taken)
        if self.session is not None:
            self._alarm.set(self.session.due_ns)

    def _put(self, taken: list[up.Taken]) -> None:
        """What of a read is to become durable goes on its way together."""
        if taken:
            self._readings += sum(len(frame.read.values) for frame in taken if frame.read)
            self._station.put(taken[:], self._records_of(taken[0]))
            taken.clear()

    def _records_of(self, what: up.Upward) -> Records:
        """The ones of the ring that is here; a read is of one ring only."""
        ring = what.uid, what.epoch, self._station.subject_of(what.uid)
        if self._records is None or self._records[0] != ring:
            self._records = ring, Records(*ring, self.name)
        return self._records[1]

    def _carry_out(self, effect: up.Aside) -> None:
        station = self._station
        match effect:
            case up.Send(data):
                self._write(data)
            case up.Locate(uid, epoch):
                station.locate(uid, epoch, self.subject)
            case up.Gap(uid, _, first, next_):
                logger.warning("board %s: frames %d to %d of its ring are gone", uid.hex(), first, next_ - 1)
                station.put_gap(effect, self._records_of(effect))
            case up.Joined(hello):
                logger.info("serial port %s: board %s, %s", self.name, hello.uid.hex(), hello.firmware)
                self._serve(hello.uid)
                self.board.joined(hello)
                self._tell(hello.uid, "board", {"event": "joined", "firmware": hello.firmware,
                                                "boot": hello.boot, "reason": hello.reason})  # fmt: skip
            case up.Left(uid, why):
                logger.warning("serial port %s: board %s is gone: %s", self.name, uid.hex(), why)
                self._stop_serving(why)
                self.board.left()
                self._tell(uid, "board", {"event": "left", "why": why})
            case up.Said(text, level):
                self._tell(self._uid(), "log", {"text": text, "level": level})
            case up.Outcome():
                self._answer(effect)
            case up.ImageProgress(offset, size):
                logger.debug("serial port %s: %d of %d bytes of an image", self.name, offset, size)
                if effect.whole:
                    self.board.image_whole()
            case up.ImageEnded(_, how, why):
                self.board.image_ended(how, why)
            case up.Noticed(text):
                logger.warning("serial port %s: %s", self.name, text)
                self._tell(self._uid(), "board", {"event": "trouble", "why": text})
            case _:
                assert_never(effect)

    def _uid(self) -> bytes:
        """Of the board that is there, if it has said that."""
        there = self.session.hello if self.session is not None else None
        return there.uid if there is not None else b""

    def _tell(self, uid: bytes, what: str, content: dict[str, object]) -> None:
        """Beside the readings, below subjects that are no board's: the last message of a board is always a reading."""
        station = self._station
        headers = {
            "Phloem-Port": self.name,
            "Phloem-Time": str(station.clock.wall_ns()),
            **clock_line(station.quality()),
        }
        subject = f"{self.subject}.${what}" + (f".{uid.hex()}" if uid else "")
        station.publisher.publish(subject, msgspec.json.encode(content), headers)

    def _serve(self, uid: bytes) -> None:
        if self._served == uid:
            return
        self._stop_serving("another board is here")
        if self.command_subject:
            self._served = uid
            subject = f"{self.command_subject}.{uid.hex()}"
            self._unserve = self._station.publisher.serve(subject, self._command)

    def _stop_serving(self, why: str) -> None:
        if self._unserve is not None:
            self._unserve()
            self._unserve, self._served = None, b""
        for ticket in list(self._waiting):
            self._answer(up.Outcome(ticket, None, why=why))

    def _command(self, payload: bytes, respond: Respond) -> None:
        name, _, argument = payload.partition(b" ")
        self._tickets += 1
        ticket = self._tickets
        self._waiting[ticket] = respond
        try:
            text = name.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or self.session is None:
            why = "a command is a name, and behind a blank its argument" if self.session else "no board"
            self._answer(up.Outcome(ticket, None, why=why))
            return
        now_ns = self._station.clock.monotonic_ns()
        self._do(self.session.command(ticket, text, argument, _COMMAND_NS, now_ns))

    def _answer(self, outcome: up.Outcome) -> None:
        respond = self._waiting.pop(outcome.ticket, None)
        if respond is None:
            return
        if outcome.status is None:
            respond(outcome.why.encode(), {"Phloem-Status": "unknown"})
        else:
            status = _STATUS.get(outcome.status, str(outcome.status))
            respond(outcome.result, {"Phloem-Status": status})
