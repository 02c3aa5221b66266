"""Snapshots and restores in memory: windows, stalls, turns, and what is done with what makes no sense."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from phloem.shared import limits
from phloem.shared.jetstream import archive
from phloem.shared.jetstream.archive import ConsumerDocument, Entry, Reader, State
from phloem.shared.jetstream.errors import error
from phloem.shared.server.jetstream.snapshot import Restore, Snapshot, SnapshotRequest
from phloem.shared.store.log import Damaged
from phloem.shared.testing.manual_clock import ManualClock
from phloem.shared.wire.s2 import Decoder, Encoder

SECOND_NS = 1_000_000_000


class Turn:
    def __init__(self, due_ns: int, work: Callable[[], None]) -> None:
        self.due_ns, self.work = due_ns, work
        self.off = False

    def cancel(self) -> None:
        self.off = True


class FakeLine:
    """Messages in lists, turns when the test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sent: list[tuple[str, str, bytes, bytes]] = []
        self.answers: list[tuple[bytes, bytes]] = []
        self.callbacks: dict[int, Callable[[bytes, bytes, bytes, bytes], None]] = {}
        self.turns: list[Turn] = []
        self.listening = 1
        self.by_wildcard = False

    def publish(self, subject: str, reply: str, header: bytes, body: bytes) -> int:
        if self.listening:
            self.sent.append((subject, reply, header, body))
        return self.listening

    def listened(self, subject: str) -> bool:
        return bool(self.listening and not self.by_wildcard)

    def answer(self, reply: bytes, body: bytes) -> None:
        self.answers.append((reply, body))

    def subscribe(self, subject: str, callback: Callable[[bytes, bytes, bytes, bytes], None]) -> int:
        self.callbacks[len(self.callbacks)] = callback
        return len(self.callbacks) - 1

    def unsubscribe(self, ident: int) -> None:
        del self.callbacks[ident]

    def call_later(self, delay_ns: int, work: Callable[[], None]) -> Turn:
        self.turns.append(Turn(self.clock.monotonic_ns() + delay_ns, work))
        return self.turns[-1]

    def run(self, for_ns: int = 0) -> int:
        """Everything that is due within this time; how many turns that were."""
        end, count = self.clock.monotonic_ns() + for_ns, 0
        while True:
            self.turns = [t for t in self.turns if not t.off]
            due = min(self.turns, key=lambda t: t.due_ns, default=None)
            if due is None or due.due_ns > end:
                return count
            self.turns.remove(due)
            self.clock.advance(max(due.due_ns - self.clock.monotonic_ns(), 0))
            due.work()
            count += 1


class Source:
    name = "S"

    def __init__(self, bodies: list[bytes], damaged: int = 0) -> None:
        self.bodies, self.damaged, self.given = bodies, damaged, 0

    def documents(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        yield archive.STATE, {"messages": len(self.bodies), "last_seq": len(self.bodies)}

    def entries(self, size: int) -> bytes:
        found = b""
        while len(found) < size and self.given < len(self.bodies):
            if self.given + 1 == self.damaged:
                raise Damaged(3)
            self.given += 1
            found += archive.entry(b"s.x", 77, self.given, b"", self.bodies[self.given - 1])
        return found


def noise(count: int) -> list[bytes]:

    rng = random.Random(2)
    return [rng.randbytes(1000) for _ in range(count)]


def started(line: FakeLine, source: Source, **request: int) -> tuple[Snapshot, list[str]]:
    ends: list[str] = []
    return Snapshot(line, source, SnapshotRequest("D", **request), "NUID", ends.append), ends  # type: ignore[arg-type]


def test_no_more_than_the_window_is_on_its_way() -> None:
    line = FakeLine()
    _, ends = started(line, Source(noise(100)), chunk_size=1024, window_size=4096)
    line.run()
    assert [reply.rsplit(".", 1)[1] for _, reply, _, _ in line.sent] == ["1", "2", "3", "4"]
    assert line.sent[0][1] == "$JS.SNAPSHOT.ACK.S.NUID.1024.1"
    line.callbacks[0](b"", b"", b"", b"")
    line.run()
    assert len(line.sent) == 5
    while not ends:
        line.callbacks[0](b"", b"", b"", b"")
        line.run()
    assert ends == [""]
    assert line.sent[-1] == ("D", "", b"NATS/1.0 204\r\n\r\n", b"")
    assert line.sent[-2][1] == ""
    assert line.callbacks == {}
    decoder, reader = Decoder(), Reader(1 << 20)
    decoder.feed(b"".join(body for *_, body in line.sent))
    found: list[Entry] = []
    while block := decoder.block():
        reader.feed(block)
        found += list(reader.entries())
    assert [e.body for e in found[1:]] == noise(100)
    assert reader.done


def test_a_receiver_that_does_not_acknowledge() -> None:
    line = FakeLine()
    _, ends = started(line, Source(noise(100)), chunk_size=1024, window_size=1024)
    line.run(limits.SNAPSHOT_STALL_NS - 1)
    assert ends == []
    line.run(limits.SNAPSHOT_STALL_NS + 1)
    assert ends == ["no flow response"]
    assert line.sent[-1][2] == b"NATS/1.0 408 No Flow Response\r\n\r\n"
    assert not [t for t in line.turns if not t.off]


def test_nobody_listens() -> None:
    line = FakeLine()
    line.listening = 0
    _, ends = started(line, Source(noise(100)), chunk_size=1024)
    line.run(SECOND_NS)
    assert ends == []
    line.run(2 * SECOND_NS)
    assert ends == ["no interest"]


def test_somebody_comes_late() -> None:
    line = FakeLine()
    line.listening = 0
    _, ends = started(line, Source(noise(100)), chunk_size=1024)
    line.run(SECOND_NS)
    line.listening = 1
    line.run(SECOND_NS)
    assert ends == [""]
    assert line.sent[0][1].endswith(".1024.1")


def test_a_wildcard_is_not_the_receiver() -> None:
    line = FakeLine()
    line.by_wildcard = True
    _, ends = started(line, Source([b"small"]))
    line.run(SECOND_NS)
    assert line.sent == []
    line.by_wildcard = False
    line.run(SECOND_NS)
    assert ends == [""]
    assert len(line.sent) == 2


def test_a_wildcard_gets_it_when_nobody_else_comes() -> None:
    line = FakeLine()
    line.by_wildcard = True
    _, ends = started(line, Source(noise(100)), chunk_size=1024)
    line.run(limits.SNAPSHOT_INTEREST_NS)
    assert ends == [""]


def test_a_damaged_message_ends_it() -> None:
    line = FakeLine()
    _, ends = started(line, Source(noise(5), damaged=3))
    line.run()
    assert ends[0].startswith("message 3 is damaged")
    assert line.sent[-1][2] == f"NATS/1.0 500 {ends[0]}\r\n\r\n".encode()


def test_a_long_snapshot_takes_turns() -> None:
    line = FakeLine()
    _, ends = started(line, Source([bytes(1000)] * 20_000))
    assert line.run() > 10
    assert ends == [""]


class Target:
    name = "S"

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.refuse = 0

    def begin(self, state: State) -> None:
        self.heard.append(("begin", state.messages))

    def consumer(self, name: str, document: ConsumerDocument) -> None:
        self.heard.append(("consumer", name))

    def message(self, entry: Entry) -> None:
        if entry.seq == self.refuse:
            raise error(10047)
        self.heard.append(entry.seq)

    def finish(self) -> dict[str, Any]:
        self.heard.append("finish")
        return {"config": {"name": "S"}}

    def abort(self) -> None:
        self.heard.append("abort")


def packed(*entries: bytes) -> bytes:
    encoder = Encoder()
    return encoder.feed(archive.MAGIC + b"".join(entries)) + encoder.flush()


STATE = archive.document(archive.STATE, 1, {"messages": 3, "last_seq": 3, "consumer_count": 1})
CONSUMER = archive.document(b"consumers/c", 1, {"config": {"durable_name": "c"}, "state": {}})
MESSAGES = [archive.entry(b"s", 1, seq, b"", b"body") for seq in (1, 2, 3)]


def restored(
    data: bytes, *, step: int = 1 << 20, refuse: int = 0
) -> tuple[list[Any], dict[str, Any], list[tuple[int, str]]]:
    """What the target heard, the last answer, and what was told at the end."""
    line, target, ends = FakeLine(), Target(), []  # type: ignore[var-annotated]
    target.refuse = refuse
    restore = Restore(line, target, "NUID", 1 << 20, lambda size, why: ends.append((size, why)))
    assert restore.subject == "$JS.SNAPSHOT.RESTORE.S.NUID"
    came = line.callbacks[0]
    for at in range(0, len(data), step):
        came(b"", b"r%d" % at, b"", data[at : at + step])
        line.run()
        assert line.answers[-1] == (b"r%d" % at, b"")
    came(b"", b"end", b"", b"")
    line.run()
    assert line.answers[-1][0] == b"end"
    assert line.callbacks == {}
    return target.heard, msgspec.json.decode(line.answers[-1][1]), ends


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_restore(step: int) -> None:
    data = packed(STATE, CONSUMER, *MESSAGES, archive.END)
    heard, answer, ends = restored(data, step=step)
    assert heard == [("begin", 3), ("consumer", "c"), 1, 2, 3, "finish"]
    assert answer == {"type": "io.nats.jetstream.api.v1.stream_create_response", "config": {"name": "S"}}
    assert ends == [(len(data), "")]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "restore failed: backup was truncated"),
        (b"hello", "restore failed: s2: corrupt input"),
        (packed(STATE, CONSUMER, *MESSAGES), "restore failed: backup was truncated"),
        (packed(STATE, *MESSAGES, archive.END), 'restore failed: expected consumer, found "s"'),
        (packed(CONSUMER), "restore failed: expected state.json first"),
        (
            packed(STATE, CONSUMER, archive.entry(b"s", 1, 0, b"", b"x")),
            "restore failed: expected message sequence",
        ),
    ],
)
def test_what_is_no_backup(data: bytes, text: str) -> None:
    heard, answer, ends = restored(data)
    assert (answer["error"]["err_code"], answer["error"]["description"]) == (10062, text)
    assert heard[-1] == "abort"
    assert ends == [(len(data), text)]


def test_an_error_of_the_store_is_told_as_it_is() -> None:
    heard, answer, _ = restored(packed(STATE, CONSUMER, *MESSAGES, archive.END), refuse=2)
    assert answer["error"]["err_code"] == 10047
    assert heard[-1] == "abort"


def test_a_sender_that_stalls() -> None:
    line, target, ends = FakeLine(), Target(), []  # type: ignore[var-annotated]
    Restore(line, target, "NUID", 1 << 20, lambda size, why: ends.append((size, why)))
    line.callbacks[0](b"", b"r", b"", packed(STATE))
    line.run(limits.SNAPSHOT_STALL_NS - 1)
    assert ends == []
    line.run(limits.SNAPSHOT_STALL_NS)
    assert ends[0][1] == "restore for stream 'S' is stalled"
    assert target.heard == [("begin", 3), "abort"]
    assert line.callbacks == {}


def test_a_chunk_without_a_reply_and_a_sender_that_never_waits() -> None:
    line, target, ends = FakeLine(), Target(), []  # type: ignore[var-annotated]
    Restore(line, target, "NUID", 1 << 20, lambda size, why: ends.append((size, why)))
    line.callbacks[0](b"", b"", b"", b"x")
    assert "requires reply subject" in ends[0][1]

    line = FakeLine()
    Restore(line, target, "NUID", 1 << 20, lambda size, why: ends.append((size, why)))
    big = packed(STATE, CONSUMER, *(archive.entry(b"s", 1, seq, b"", b"") for seq in range(1, 100_000)))
    came = line.callbacks[0]
    came(b"", b"r", b"", big)
    for _ in range(limits.RESTORE_WAITING >> 20):
        came(b"", b"r", b"", bytes(1 << 20))
    assert "does not wait for acknowledgements" in ends[1][1]


def test_a_chunk_that_means_a_lot_is_unpacked_in_turns() -> None:
    line, target, ends = FakeLine(), Target(), []  # type: ignore[var-annotated]
    Restore(line, target, "NUID", 1 << 20, lambda size, why: ends.append((size, why)))
    big = packed(
        STATE, CONSUMER, *(archive.entry(b"s", 1, seq, b"", b"") for seq in range(1, 20_001)), archive.END
    )
    line.callbacks[0](b"", b"r", b"", big)
    assert line.answers == []
    assert line.run() > 5
    assert line.answers == [(b"r", b"")]
    assert target.heard[-1] == 20_000
