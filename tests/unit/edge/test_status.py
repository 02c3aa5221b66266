"""When a device tells its hub how it is, and what that costs a metered link."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from phloem.edge.forward.status import IDLE_NS, METERED_IDLE_NS, METERED_NS, MOVING_NS, SOON_NS, Reporter
from phloem.shared.forward.entries import Class, Entry
from phloem.shared.forward.figures import DeviceStatus, plain
from phloem.shared.forward.messages import Epoch, Status, encode
from phloem.shared.leaf.hours import Window
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.options import Options
from phloem.shared.server.options_link import LinkOptions
from phloem.shared.server.options_phloem import PhloemOptions
from phloem.shared.store.log import Log
from phloem.shared.testing import ManualClock

DAY_NS = 86_400 * SECOND_NS
PACKET = 52 + 9 + 30  # TCP and IP with time stamps; what a WebSocket-less LMSG line needs; subject and sizes
ANSWER = 52  # the bare acknowledgement


@dataclass
class FakeStream:
    """A stream of the device, over a log in memory."""

    entry: Entry
    log: Log = field(default_factory=Log)
    confirmed: int = 0
    epochs: tuple[Epoch, ...] = (Epoch(1, 1),)

    @property
    def stream(self) -> "FakeStream":
        return self

    @property
    def first_seq(self) -> int:
        return self.log.first_seq

    @property
    def last_seq(self) -> int:
        return self.log.last_seq

    def bytes_from(self, seq: int) -> int:
        return (self.last_seq + 1 - seq) * 100


@dataclass
class FakeSender:
    is_open: bool = True
    sent_parcels: int = 0


@dataclass
class FakeLinks:
    bounded: bool = False
    used_up: str = ""

    def shown(self) -> Any:
        totals = Counter({"telemetry": 1000})
        return msgspec.defstruct(
            "Shown", ["today", "this_month", "total", "per_day", "per_month", "used_up"]
        )(totals, totals, totals, 5000, 0, self.used_up)

    def wait_ns(self, _cls: Class, _now_ns: int) -> int:
        return 1 if self.used_up else 0

    def room(self, _cls: Class, most: int) -> int:
        return most


@dataclass
class FakeStore:
    stats: dict[str, int] = field(default_factory=lambda: {"journal_bytes": 1000, "lmdb_bytes": 2000})
    out_of_space: bool = False
    folder: str = "/"
    accounts: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> "FakeStore":
        return self


class Bench:
    """A reporter and what it depends on."""

    def __init__(self, *, metered: bool = False, hours: tuple[Window, ...] = ()) -> None:
        self.clock = ManualClock()
        self.meter = FakeLinks(bounded=metered)
        self.js = FakeStore()
        self.sender = FakeSender()
        self.stream = FakeStream(Entry(name="tele", stream="T", hours=hours))
        server: Any = type("FakeServer", (), {})()
        server.clock, server.start_ns, server.uplinks = self.clock, 0, []
        server.device_figures = lambda: {"disk": {"shed": {"debug": 3, "event": 0}}, "clock": {"steps": 0}}
        server.options = Options(phloem=PhloemOptions(link=LinkOptions(metered=metered)))
        server.leafs, server.jetstream = type("FakeLeafs", (), {"meter": self.meter})(), self.js
        streams: Any = {"tele": self.stream}
        self.reporter = Reporter(server, streams, self.meter, space=lambda _: (1 << 30, 1 << 40))

    def due(self) -> DeviceStatus | None:
        sender: Any = self.sender
        return self.reporter.due(sender, self.clock.monotonic_ns(), 0)

    def store(self, count: int) -> None:
        for _ in range(count):
            self.stream.log.append(b"tele", b"", b"x", self.clock.wall_ns())

    def run(self, length_ns: int, *, traffic: bool = False, step_ns: int = SECOND_NS) -> list[DeviceStatus]:
        """What is told in this time."""
        told = []
        for _ in range(length_ns // step_ns):
            self.clock.advance(step_ns)
            self.sender.sent_parcels += traffic
            if traffic or self.clock.monotonic_ns() >= self.reporter.next_ns:
                status = self.due()
                told += [status] if status is not None else []
        return told


def test_the_first_word_says_all() -> None:
    bench = Bench()
    bench.store(3)
    bench.clock.advance(100 * SECOND_NS)
    status = bench.due()
    assert status is not None
    stream = status.streams["tele"]
    assert (stream.backlog, stream.bytes, stream.age_s, stream.last_seq) == (3, 300, 100, 3)
    assert (stream.cls, stream.waits) == ("telemetry", "")
    assert status.link == {"metered": False, "telemetry_bytes": 1000}
    health = status.health
    assert (health["written_bytes"], health["disk_full"], health["clock_synced"]) == (3000, False, False)
    assert (health["disk_free_bytes"], health["disk_total_bytes"]) == (1 << 30, 1 << 40)
    assert bench.due() is None


def test_an_idle_device_says_little() -> None:
    bench = Bench()
    assert bench.due() is not None
    assert len(bench.run(DAY_NS // 24)) == 6
    assert bench.reporter.next_ns - bench.clock.monotonic_ns() <= IDLE_NS


def test_traffic_alone_is_no_news() -> None:
    bench = Bench()
    assert bench.due() is not None
    told = bench.run(10 * MOVING_NS, traffic=True)
    assert len(told) == 10
    assert [bool(status.health) for status in told].count(True) == 1


def test_what_changes_is_told_soon_and_not_too_often() -> None:
    bench = Bench()
    assert bench.due() is not None
    bench.js.out_of_space = True
    bench.clock.advance(SOON_NS - 1)
    assert bench.due() is None
    bench.clock.advance(1)
    status = bench.due()
    assert status is not None
    assert status.health["disk_full"] is True
    bench.store(100)
    bench.clock.advance(60 * SECOND_NS)
    status = bench.due()  # it has become a backlog
    assert status is not None
    assert status.streams["tele"].backlog == 100
    bench.stream.confirmed = 100
    told = bench.run(10 * SECOND_NS, traffic=True)
    assert [one.streams["tele"].backlog for one in told] == [0]


def test_each_session_begins_with_all_of_it() -> None:
    bench = Bench()
    assert bench.due() is not None
    bench.sender.is_open = False
    assert bench.due() is None
    assert bench.reporter.next_ns == 0
    bench.sender.is_open = True
    status = bench.due()
    assert status is not None
    assert status.health


def test_why_it_waits() -> None:
    bench = Bench(hours=(Window(10, 20),))
    bench.store(1)
    status = bench.due()
    assert status is not None
    assert status.streams["tele"].waits == "it is not sent at this hour"
    bench = Bench(metered=True)
    bench.store(1)
    bench.meter.used_up = "day"
    status = bench.due()
    assert status is not None
    assert status.streams["tele"].waits == "the link's allowance is used up"
    assert status.link["used_up"] == "day"
    assert (status.link["today_bytes"], status.link["per_day_bytes"]) == (1000, 5000)


def test_an_idle_day_of_a_metered_link() -> None:
    """Of 50 KB in all a fifth at most, with the headers of TCP and IP, for five streams."""
    bench = Bench(metered=True)
    for number in range(5):
        bench.reporter._streams[f"readings{number}"] = bench.stream  # type: ignore[index]
    first = bench.due()
    assert first is not None
    told = bench.run(DAY_NS, step_ns=60 * SECOND_NS)
    assert len(told) == DAY_NS // METERED_IDLE_NS
    wire = sum(len(encode(Status(1 << 31, plain(status)))) + PACKET + ANSWER for status in (first, *told))
    assert wire < 15_000


def test_a_busy_metered_link() -> None:
    bench = Bench(metered=True)
    assert bench.due() is not None
    assert len(bench.run(METERED_IDLE_NS * 4, traffic=True)) == 4  # traffic is no news
    bench.js.out_of_space = True
    assert bench.run(METERED_NS - 2 * SECOND_NS, traffic=True) == []
    told = bench.run(METERED_IDLE_NS, traffic=True)
    assert [one.health["disk_full"] for one in told] == [True]
    bench.sender.is_open = False
    bench.due()
    bench.sender.is_open = True
    assert bench.due() is None  # a link that flaps does not make it talk


def test_what_waits_for_company_is_no_backlog() -> None:
    bench = Bench()
    bench.stream.entry = msgspec.structs.replace(bench.stream.entry, linger_ns=1000 * SECOND_NS)
    assert bench.due() is not None
    bench.store(100)
    bench.clock.advance(500 * SECOND_NS)
    assert bench.due() is None
    bench.clock.advance(100 * SECOND_NS)
    assert bench.due() is not None  # by the clock
