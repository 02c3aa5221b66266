"""Inputs for the targets ``device`` and ``hub``: what both ends of store-and-forward say to each other, nearly right.

A session is made as it should be, and then now and then something in it is another: a number, a text, bytes of the
whole, the order. Steps ``hear`` have a message as it is published; ``time`` are milliseconds.
"""

import json
from random import Random
from typing import Any

import msgspec
import zstandard

from phloem.shared.forward.messages import (
    HISTORICAL,
    SOON,
    VERSION,
    WITH_DICTIONARY,
    WITH_HISTORY,
    ZSTD,
    Ack,
    Again,
    Clocks,
    Dictionary,
    Epoch,
    Gap,
    Hello,
    Message,
    Offer,
    Parcel,
    Pause,
    Place,
    Status,
    Welcome,
    encode,
    encode_parcel,
    history,
    ident_of,
)
from tests.fuzz import columns
from tests.fuzz.making import spoil
from tests.fuzz.steps import Step, Steps
from tests.fuzz.stored import HUGE, NUMBERS, any_number

DEVICES = ("dev1", "dev2")
NAMES = ("tele", "alarm", "tele", "", "a.b", "x" * 65, "*", "tele/0000000000000007")
TEXTS = (
    "",
    "x",
    "FLEET_tele",
    "KV_fleet_ledger",
    "FLEET_other",
    "x" * 5_000,
    "\0\x1b[2J",
    "a\r\nb",
    "ä" * 300,
)
FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
TRAINED = zstandard.train_dictionary(
    1_024, [b'{"v":%d,"t":%d,"name":"thermometer"}' % (i % 17, i * 1_000) for i in range(2_000)], level=3
).as_bytes()
WRONG = 0.08  # of the messages have something else in them


def other(r: Random, value: Any) -> Any:
    """Another value in one place, or a value of another kind."""
    if isinstance(value, list | tuple) and value and r.random() < 0.9:
        at = r.randrange(len(value))
        found = [*value]
        if r.random() < 0.1:
            del found[at]
        elif r.random() < 0.1:
            found[at:at] = [found[at]] * r.choice((1, 2, 70))
        else:
            found[at] = other(r, found[at])
        return found
    if isinstance(value, dict) and value and r.random() < 0.9:
        key = r.choice(list(value))
        return {**value, (key if r.random() < 0.9 else r.choice(TEXTS)): other(r, value[key])}
    if isinstance(value, int) and r.random() < 0.8:
        return r.choice((value + 1, value - 1, -value, -1, 0, any_number(r), -(1 << 63), *NUMBERS, *HUGE))
    if isinstance(value, str) and r.random() < 0.8:
        return r.choice((*TEXTS, *NAMES))
    return r.choice((None, True, -1, 1.5, float("inf"), "x", b"x", [], {}, [[]] * 3, any_number(r)))


def said(r: Random, message: Message, wrong: float = WRONG) -> bytes:
    """As it goes over the wire, or something like it."""
    data = encode(message)
    if r.random() < wrong:
        value = msgspec.msgpack.decode(data[1:])
        for _ in range(r.choice((1, 1, 2, 4))):
            value = other(r, value)
        data = data[:1] + msgspec.msgpack.encode(value)
    return spoil(r, data) if r.random() < wrong / 8 else data


# --- a device --------------------------------------------------------------------------------------------


class _Lane:
    def __init__(self, r: Random, number: int) -> None:
        self.number = number
        self.name = r.choice(NAMES[:2] if r.random() < 0.95 else NAMES)
        self.to = r.choice(("", "", "FLEET_tele", *TEXTS)) if r.random() < 0.2 else ""
        self.store = r.choice((7, 7, 8, any_number(r)))
        idents = r.sample(range(70, 76), r.choice((1, 1, 2, 3)))
        starts = sorted({1, *(r.randint(1, 40) for _ in idents[1:])})
        self.epochs = tuple(
            Epoch(
                ident,
                first,
                1,
                r.choice((0, 5 * 10**9)),
                r.choice((0, 1_600_000_000 * 10**9)),
                r.choice((-1, 0, 9)),
            )
            for ident, first in zip(idents, starts, strict=False)
        )
        self.next_seq, self.history, self.dictionary = 1, b"", 0

    def offer(self, r: Random) -> Offer:
        last = self.next_seq + r.choice((0, 5, 500))
        ident = ident_of(TRAINED) if r.random() < 0.3 else 0
        return Offer(self.number, self.name, self.to, self.store, self.epochs, 1, last, r.randrange(3), ident)


class _Session:
    def __init__(self, r: Random) -> None:
        self.r = r
        self.ident = r.choice((1, 5, r.getrandbits(32) | 1))
        self.order = 0
        self.lanes = [_Lane(r, number) for number in range(r.choice((1, 1, 2, 3)))]

    def next(self) -> int:
        self.order += 1 if self.r.random() < 0.98 else self.r.choice((0, 2))
        return self.order

    def hello(self, device: str) -> bytes:
        offers = tuple(lane.offer(self.r) for lane in self.lanes)
        hello = Hello(VERSION, device if self.r.random() < 0.98 else "dev9", self.ident, 1, 0, offers)
        return said(self.r, hello)

    def parcel(self, lane: _Lane) -> bytes:
        r = self.r
        made = columns._made(r)
        covered = min(made.number >> 63, 1 << 21)
        plain, flags = made.data, r.choice((0, SOON, SOON, HISTORICAL))
        begin = (
            lane.next_seq if r.random() < 0.9 else r.choice((1, lane.next_seq + 1, max(lane.next_seq - 3, 1)))
        )
        pressed, more = self._pressed(lane, plain)
        if r.random() < 0.04:
            flags ^= 1 << r.randrange(8)
        epoch = max(i for i, one in enumerate(lane.epochs) if one.first_seq <= max(begin, 1))
        numbers = [self.ident, self.next(), lane.number, epoch, begin, begin + covered]
        if r.random() < WRONG / 2:
            at = r.randrange(6)
            numbers[at] = r.choice((0, numbers[at] + 1, any_number(r), 1 << 65, *HUGE))
        lane.next_seq = begin + covered
        lane.history = history(lane.history, plain, flags | more)
        numbers[5] = max(numbers[5], numbers[4])
        data = encode_parcel(Parcel(flags | more, *numbers, pressed))
        return spoil(r, data) if r.random() < WRONG / 8 else data

    def _pressed(self, lane: _Lane, plain: bytes) -> tuple[bytes, int]:
        r, past, more = self.r, None, 0
        dice = r.random()
        if dice < 0.3:
            return plain, 0
        if dice < 0.5:
            past, more = (
                zstandard.ZstdCompressionDict(lane.history, dict_type=zstandard.DICT_TYPE_RAWCONTENT),
                WITH_HISTORY,
            )
        elif dice < 0.7 and lane.dictionary:
            past, more = zstandard.ZstdCompressionDict(TRAINED), WITH_DICTIONARY
        plain = b"\0" * r.choice((1 << 20, 32 << 20, 33 << 20)) if r.random() < 0.01 else plain
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, format=FORMAT, write_checksum=False, write_dict_id=False, write_content_size=r.random() < 0.98
        )
        made = zstandard.ZstdCompressor(dict_data=past, compression_params=parameters).compress(plain)
        if r.random() < 0.02:  # a frame that says it is large
            made = (
                bytes([made[0] | 0xC0])
                + r.choice((1 << 20, 1 << 40, 1 << 62)).to_bytes(8, "little")
                + made[2:]
            )
        return made, ZSTD | more

    def say(self) -> bytes:
        """Anything."""
        lane, dice = self.r.choice(self.lanes), self.r.random()
        if dice < 0.55:
            return self.parcel(lane)
        if dice < 0.68:
            return self.gap(lane)
        if dice < 0.78:
            return self.dictionary_of(lane)
        return self.status() if dice < 0.9 else self.clocks(lane)

    def gap(self, lane: _Lane) -> bytes:
        r, first = self.r, lane.next_seq
        last = first + r.choice((0, 0, 3, 1 << 20))
        lane.next_seq = last + 1
        count = r.choice((last - first + 1, -1, 0))
        return said(r, Gap(self.ident, self.next(), lane.number, first, last, count, r.choice(TEXTS)))

    def dictionary_of(self, lane: _Lane) -> bytes:
        r = self.r
        data = TRAINED if r.random() < 0.8 else r.choice((b"", b"x" * 9, TRAINED[:200], spoil(r, TRAINED)))
        lane.dictionary = ident_of(data)
        ident = lane.dictionary if r.random() < 0.9 else r.choice((0, 1, *HUGE))
        return said(r, Dictionary(self.ident, self.next(), lane.number, ident, data), WRONG / 2)

    def status(self) -> bytes:
        r = self.r
        streams = {
            lane.name: [r.randrange(9), r.randrange(999), r.randrange(99), lane.next_seq, "event", ""]
            for lane in self.lanes
        }
        link = {"up": True, "bytes": 5, "what": "x", "rtt": 1.5}
        return said(r, Status(self.ident, {"s": streams, "l": link, "h": {"disk_full": False}}), 0.4)

    def clocks(self, lane: _Lane) -> bytes:
        return said(self.r, Clocks(self.ident, lane.number, lane.epochs), 0.3)


def device(r: Random) -> Steps:
    """What one or two devices say, and time."""
    steps: list[Step] = []
    for _ in range(r.choice((1, 1, 2, 3))):
        who = int(r.random() < 0.2)
        session = _Session(r)
        steps.append(Step("hear", who, 0, session.hello(DEVICES[who])))
        for _ in range(r.randint(1, 10)):
            steps.append(Step("hear", who, 0, session.say()))
            if r.random() < 0.2:
                steps.append(Step("time", 0, r.choice((1, 60, 1_100, 6_000, 70_000))))
        if r.random() < 0.2:
            steps.append(Step(r.choice(("away", "again")), who))
    return tuple(steps)


# --- a hub -----------------------------------------------------------------------------------------------


def _of_phloem(r: Random) -> Steps:
    """``answer``: WELCOME and what follows, in the session that the device has; ``number`` is a place in it."""
    steps = [Step("phloem", 0, r.randrange(3))]
    for _ in range(r.randint(2, 14)):
        dice = r.random()
        number, order, pause = r.randrange(3), r.randrange(1, 8), ()
        message: Message
        if dice < 0.35:
            places = tuple(
                Place(at, r.choice((1, 1, 5, 20, 61)), r.choice(("", "", "", *TEXTS)), (), r.random() < 0.3)
                for at in range(r.choice((1, 2, 3)))
            )
            message = Welcome(VERSION, 0, 1_600_000_000 * 10**9, "hub", places)
        elif dice < 0.75:
            if r.random() < 0.3:
                pause = (Pause(0, number, order, "no space", 5),)
            message = Ack(0, order, 1_600_000_000 * 10**9, pause)
        elif dice < 0.85:
            message = Again(0, r.choice(TEXTS))
        else:
            message = Pause(0, number, order, r.choice(TEXTS), r.choice((5, 0, -1, any_number(r))))
        steps.append(Step("hear", 0, int(r.random() < 0.97), said(r, message, 0.25)))
        if r.random() < 0.4:
            steps.append(Step("time", 0, r.choice((1, 900, 11_000, 70_000))))
        if r.random() < 0.2:
            steps.append(Step("publish", r.randrange(2), r.choice((1, 3, 300))))
        if r.random() < 0.04:
            steps.append(Step("again"))
    return tuple(steps)


_INFO: dict[str, Any] = {
    "config": {
        "subjects": ["fleet.tele.>"],
        "allow_atomic": True,
        "max_msg_size": -1,
        "duplicate_window": 120 * 10**9,
    },
    "state": {"first_seq": 1, "last_seq": 40},
    "created": "2026-01-01T00:00:00Z",
    "ts": "2026-01-01T00:00:00Z",
}
_ERRORS = (10059, 10058, 10037, 10071, 10164, 10060, 10054, 10097, 10174, 10176, 10199, 10210, 1)


def _of_jetstream(r: Random) -> Steps:
    """Answers of a JetStream; ``number`` says how the token of what was asked is changed."""
    steps = [Step("jetstream", 0, r.randrange(8))]
    for _ in range(r.randint(2, 20)):
        dice = r.random()
        header = b"" if r.random() < 0.97 else b"NATS/1.0 503\r\n\r\n"
        document: dict[str, Any]
        if dice < 0.15:
            document = {"error": {"code": 400, "err_code": r.choice(_ERRORS), "description": r.choice(TEXTS)}}
        elif dice < 0.35:
            document = _INFO
        elif dice < 0.65:
            seq = r.choice((*HUGE, "9" * 5_000, -1, "x")) if r.random() < 0.1 else r.randrange(70)
            store, epoch = (r.choice(("MINE", "MINE", "else", "")) for _ in range(2))
            line = f"NATS/1.0\r\nPhloem-Origin: {store}.{epoch} {seq} 7 ?\r\n\r\n"
            document = {
                "message": {"subject": "fleet.tele.d.x", "seq": r.randrange(1, 50), "hdrs": line, "time": "x"}
            }
        else:
            document = {"stream": "FLEET_tele", "seq": r.randrange(1, 60), "duplicate": r.random() < 0.1}
        document = other(r, document) if r.random() < 0.2 else document
        data = json.dumps(document, default=str).encode()
        if r.random() < 0.02:
            data = r.choice((b"[" * 100_000, b'{"config":{"mirror":' + b'{"a":' * 50_000))
        steps.append(
            Step(
                "answer",
                r.randrange(4),
                r.randrange(3),
                header + b"|" + (spoil(r, data) if r.random() < 0.03 else data),
            )
        )
        if r.random() < 0.3:
            steps.append(Step("time", 0, r.choice((1, 900, 2_100, 11_000, 70_000))))
        if r.random() < 0.2:
            steps.append(Step("publish", 0, r.choice((1, 3, 300))))
    return tuple(steps)


def hub(r: Random) -> Steps:
    """What a hub of phloem's says, or one that only has JetStream."""
    return _of_phloem(r) if r.random() < 0.5 else _of_jetstream(r)
