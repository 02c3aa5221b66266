"""Message ids against a dict: windows that pass, messages that go, other windows, restarts."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.shared.engine.message_ids import MessageIds, keyed_hash
from phloem.shared.store.log import Log
from phloem.shared.store.store import Store
from tests.support.examples import examples
from tests.unit.store.model import DRIVERS, Driver

KEY = bytes(range(16))
LATE = 1024  # an id goes at most this part of the window late
LONG = b"long" * 15_000
IDS = [b"%d" % number for number in range(12)] + [b"", b" ", b"\0", b"\0\0", LONG, LONG + b"!"]
SECOND_NS = 1_000_000_000
NOW = 1_700_000_000 * SECOND_NS


def header_of(ident: bytes) -> bytes:
    return b"NATS/1.0\r\nA: b\r\nNats-Msg-Id: " + ident + b"\r\nB: c\r\n\r\n"


class Seen(NamedTuple):
    seq: int
    ts: int
    late: int


class Pair:
    """The ids of a log, and what they should be."""

    def __init__(self, driver: Driver, window: int) -> None:
        self.driver = driver
        self.now, self.window = NOW, window
        self.model: dict[bytes, Seen] = {}
        self.stored: dict[int, tuple[bytes, int]] = {}
        self.last = (0, b"")
        self._open()

    def _open(self) -> None:
        self.ids = MessageIds(self.driver.log)
        self.ids.configure(self.window, self.now)

    def publish(self, ident: bytes) -> None:
        first = self.ids.first(ident, self.now)
        known = self.model.get(ident)
        age = self.now - known.ts if known is not None else 0
        if known is not None and age < self.window:
            assert first == known.seq, (ident[:20], known)
        elif known is None or age > self.window + known.late:
            assert first == 0, (ident[:20], known)
        else:
            assert first in (0, known.seq)
        if first:
            return
        seq = self.driver.log.append(b"a", header_of(ident), b"x", self.now)
        self.ids.put(ident, seq, self.now)
        if ident.lstrip(b" "):
            self.stored[seq] = ident, self.now
        if ident:
            self.model[ident] = Seen(seq, self.now, self.window // LATE)
            self.last = seq, ident

    def remove(self, seq: int) -> None:
        if self.driver.log.remove(seq):
            self.stored.pop(seq, None)

    def purge(self) -> None:
        self.driver.log.purge()
        self.stored.clear()

    def update(self, window: int) -> None:
        self.ids.configure(window, self.now)
        late = 0
        for ident, seen in list(self.model.items()):
            late = max(late, seen.late)
            if self.now - seen.ts >= self.window:  # is over for good, or was not noticed to be
                first = self.ids.first(ident, self.now)
                assert first == 0 or self.now - seen.ts <= self.window + seen.late
                if first == 0:
                    del self.model[ident]
        self.window = window

    def restart(self, count: int) -> None:
        self.driver.settle()
        self.driver.again()
        self._open()
        self.ids.read(count, self.now)
        self.model.clear()
        self.last = 0, b""
        for seq, (ident, ts) in sorted(self.stored.items()):
            if self.now - ts <= self.window:
                self.model[ident.lstrip(b" ")] = Seen(seq, ts, self.window // LATE)
                self.last = seq, ident.lstrip(b" ")

    def check(self) -> None:
        assert self.ids.last(self.now) == self.last
        self.ids.expire(self.now)
        figures = self.ids.figures
        assert figures["slices"] <= 8
        assert figures["ids"] <= len(self.model) * 8
        assert figures["mapped_bytes"] == 0


def run(pair: Pair, steps: list[tuple[int, int]]) -> None:
    """Each step is a kind and a number."""
    for kind, number in steps:
        match kind:
            case 0 | 1 | 2 | 3:
                pair.publish(IDS[number % len(IDS)])
            case 4 | 5:
                pair.now += pair.window * (number % 64) // 40
            case 6:
                pair.remove(number % (pair.driver.log.last_seq + 1))
            case 7:
                pair.update((SECOND_NS // 10, SECOND_NS, 100 * SECOND_NS)[number % 3])
            case 8:
                pair.restart(number)
            case 9 if number % 4 == 0:
                pair.purge()
        pair.check()


STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1000)), max_size=80)


@settings(max_examples=examples(150), deadline=None)
@given(STEPS, st.integers(1, 5))
def test_answers_as_a_dict_would(steps: list[tuple[int, int]], seconds: int) -> None:
    run(Pair(DRIVERS["memory"](Path()), seconds * SECOND_NS), steps)


@settings(max_examples=12, deadline=None)
@given(STEPS)
def test_the_same_on_disk(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]) -> None:
    driver = DRIVERS["file"](tmp_path_factory.mktemp("ids"))
    run(Pair(driver, SECOND_NS), steps)
    driver.settle()
    driver.close()


def test_hash_is_siphash() -> None:
    """The first vectors of the reference implementation's vectors_sip128."""
    assert keyed_hash(KEY, b"").hex() == "a3817f04ba25a8e66df67214c7550293"
    assert keyed_hash(KEY, b"\0").hex() == "da87c1d86b99af44347659119b22fc45"
    assert keyed_hash(KEY, bytes(range(15))).hex() == "5493e99933b0a8117e08ec0f97cfc3d9"
    with pytest.raises(ValueError, match="16 bytes"):
        keyed_hash(b"short", b"")


def fill(ids: MessageIds, count: int, start: int = 1, now: int = NOW, step: int = 0) -> None:
    for seq in range(start, start + count):
        ids.put(b"%d" % seq, seq, now + (seq - start) * step)


def test_an_id_takes_some_twenty_bytes() -> None:
    ids = MessageIds(Log())
    ids.configure(120 * SECOND_NS, NOW)
    count = 200_000
    fill(ids, count, step=110 * SECOND_NS // count)
    figures = ids.figures
    assert figures["ids"] == count
    assert figures["heap_bytes"] < 28 * count
    assert all(ids.first(b"%d" % seq, NOW) == seq for seq in range(1, count + 1))
    assert not any(ids.first(b"-%d" % seq, NOW) for seq in range(count))


def test_many_ids_are_in_a_file_and_not_on_the_heap(tmp_path: Path) -> None:
    ids = MessageIds(Log(), os.fsencode(tmp_path))
    ids.configure(120 * SECOND_NS, NOW)
    count = 1_100_000
    fill(ids, count)
    figures = ids.figures
    assert figures["ids"] == count
    assert figures["slices"] == 2  # none of more than GROWS_TO slots is ever copied
    assert figures["heap_bytes"] < 4096
    assert count * 16 < figures["mapped_bytes"] < count * 80
    assert list(tmp_path.iterdir()) == []  # without a name
    assert all(ids.first(b"%d" % seq, NOW) == seq for seq in range(1, count + 1, 7))
    assert not any(ids.first(b"-%d" % seq, NOW) for seq in range(1, count, 7))
    ids.expire(NOW + 120 * SECOND_NS)
    assert ids.figures["mapped_bytes"] == 0


def test_without_such_a_folder_they_are_on_the_heap() -> None:
    ids = MessageIds(Log(), b"/nowhere/at/all")
    ids.configure(SECOND_NS, NOW)
    fill(ids, 100_000)
    assert ids.figures["mapped_bytes"] == 0
    assert ids.first(b"99999", NOW) == 99_999


def test_a_window_that_goes_on_does_not_grow() -> None:
    ids = MessageIds(Log())
    ids.configure(SECOND_NS, NOW)
    most, step = 0, SECOND_NS // 1000
    for start in range(0, 20_000, 500):
        fill(ids, 500, start + 1, NOW + start * step, step)
        most = max(most, ids.figures["ids"])
    assert most < 1000 * 1.6
    assert ids.figures["heap_bytes"] < 1000 * 100


def test_a_clock_that_jumps_back_forgets_nothing() -> None:
    ids = MessageIds(Log())
    ids.configure(SECOND_NS, NOW)
    ids.put(b"a", 1, NOW)
    ids.put(b"b", 2, NOW - 3600 * SECOND_NS)
    assert (ids.first(b"a", NOW - 3600 * SECOND_NS), ids.first(b"b", NOW - 3600 * SECOND_NS)) == (1, 2)
    assert ids.first(b"a", NOW + SECOND_NS) == 0


def test_sequences_that_are_far_apart() -> None:
    ids = MessageIds(Log())
    ids.configure(SECOND_NS, NOW)
    seqs = (1, 1 << 32, (1 << 32) + 1, 1 << 33, (1 << 63) + 5)
    for seq in seqs:
        ids.put(b"%d" % seq, seq, NOW)
    assert [ids.first(b"%d" % seq, NOW) for seq in seqs] == list(seqs)


@pytest.mark.parametrize("kept", [0, 1, 1000, 30_000, 39_999, 40_000])
def test_only_the_window_is_read_back(tmp_path: Path, kept: int) -> None:
    """What is older is not looked at, and holes of any size do not matter."""
    store = Store(str(tmp_path / "store"), seed=1, generation_bytes=1 << 19)
    store.open()
    log = store.open_log(1)
    window, count = 120 * SECOND_NS, 40_000
    start = NOW - window + 1
    for seq in range(1, count + 1):
        young = seq > count - kept
        ts = start + seq if young else start - SECOND_NS
        log.append(b"a", header_of(b"%d" % seq) if seq % 2 else b"", b"", ts)
    if kept > 10_000:
        log.skip(10**8)
        log.append(b"a", header_of(b"last"), b"", start + count)
    store.wait()
    ids = MessageIds(log)
    ids.configure(window, NOW)
    assert ids.read(1, NOW) == (kept > 0)
    while ids.read(500, NOW):
        pass
    first = count - kept + 1
    wanted = sum(seq % 2 for seq in range(first, count + 1)) + (kept > 10_000)
    assert ids.figures["ids"] == wanted
    assert all(ids.first(b"%d" % seq, NOW) == (seq if seq % 2 else 0) for seq in range(first, count, 97))
    store.close()
