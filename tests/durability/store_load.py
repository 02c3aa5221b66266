"""A store at work, for power cuts: what it is asked, what it has promised, and what has to be true afterwards.

``python -m tests.durability.store_load folder trace seed life steps ending`` runs one life of a store and marks, as
JSON, what is asked (before it is done) and what is promised (after it is durable). Messages say which they are: log,
sequence, life and a checksum, so that anything that is made up, mixed up or given out twice shows.
"""

import itertools
import json
import os
import random
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phloem.shared.store.encrypt import prepare
from phloem.shared.store.log import Log, Message
from phloem.shared.store.store import Store, StoreError
from phloem.shared.store.vault import CIPHERS, Vault
from tests.durability.encrypting import KEYS
from tests.durability.trace import Marker

GENERATION_BYTES = 20_000  # small: it ends every few steps
PLAIN, PACKED, RELAXED = 1, 2, 3
FIRST_SHORT_LIVED = 100  # logs that are made, filled and dropped
OWNER = 9
COUNTER = b"counter"


def payload(ident: int, seq: int, life: int, size: int) -> bytes:
    head = b"%d %d %d " % (ident, seq, life)
    filler = random.Random(f"{ident}/{seq}").randbytes(max(size // 2, 0)) + b"z" * (size // 2)
    return b"%08x %s" % (zlib.crc32(head + filler), head + filler)


def parts(data: bytes) -> tuple[int, int, int]:
    """Log, sequence and life; AssertionError if it is not as it was made."""
    check, rest = data[:8], data[9:]
    assert b"%08x" % zlib.crc32(rest) == check, "the payload's checksum is wrong"
    ident, seq, life, _ = rest.split(b" ", 3)
    return int(ident), int(seq), int(life)


def open_store(folder: Path, **more: Any) -> tuple[Store, list[str], list[str]]:
    """An open store, what it found damaged, and a list that its problems will be in. ``PHLOEM_TEST_CIPHER`` in the
    environment says whether it is encrypted, or "prepare" that it shall be."""
    problems: list[str] = []
    cipher = os.environ.get("PHLOEM_TEST_CIPHER", "")
    vault = Vault(cipher, bytes(range(32))) if cipher in CIPHERS else None
    if cipher == "prepare":  # with the keys of ``encrypting``
        vault = prepare(folder, KEYS, problems.append)
        problems.clear()
    store = Store(
        str(folder),
        seed=5,
        generation_bytes=GENERATION_BYTES,
        on_problem=problems.append,
        vault=vault,
        **more,
    )
    return store, store.open(), problems


class Life:
    """One process of the workload."""

    def __init__(self, folder: Path, trace: Path, seed: str, life: int, relaxed: bool) -> None:
        self.rng = random.Random(f"{seed}/{life}")
        self.marker = Marker(trace)
        self.life = life
        self.noted = 0
        self.store, damage, self.problems = open_store(folder, on_freeze=self.freeze)
        assert damage == []
        self.logs = {PLAIN: self.store.open_log(PLAIN), PACKED: self.store.open_log(PACKED, compress=True)}
        if relaxed:
            self.logs[RELAXED] = self.store.open_log(RELAXED, relaxed=True)
        self.short_lived = FIRST_SHORT_LIVED + 50 * life
        state, notes = self.store.state(OWNER)
        self.noted = max([int(state or 0), *map(int, notes)])
        self.counter = int(self.store.get(COUNTER) or 0)
        self.promised: list[dict[str, Any]] = []
        self.seen = {ident: log.visible_seq for ident, log in self.logs.items()}
        for ident, seq in self.seen.items():  # what was not acknowledged before and has survived
            self.say(done="append", log=ident, last=seq, life=life - 1)

    def say(self, **what: Any) -> None:
        self.marker.mark(json.dumps(what).encode())

    def freeze(self) -> None:
        if self.noted:
            self.store.put_state(OWNER, b"%d" % self.noted)

    def step(self) -> None:
        ident = self.rng.choice([*self.logs])
        log, kind = self.logs[ident], self.rng.random()
        if kind < 0.6:
            self.append(ident, log, self.rng.randrange(1, 8))
        elif kind < 0.75:
            self.remove(ident, log)
        elif kind < 0.78:
            below = self.rng.choice((0, self.rng.randrange(1, log.last_seq + 2)))
            self.say(ask="purge", log=ident, below=below or log.last_seq + 1)
            log.purge(below=below)
            self.promised.append({"done": "purge", "log": ident, "below": below or log.last_seq + 1})
        elif kind < 0.86:
            self.counter += 1
            self.say(ask="counter", value=self.counter)
            self.store.put(COUNTER, b"%d" % self.counter)
            self.promised.append({"done": "counter", "value": self.counter})
        elif kind < 0.96:
            self.noted += 1
            self.say(ask="note", value=self.noted)
            self.store.note(OWNER, b"%d" % self.noted)
            self.promised.append({"done": "note", "value": self.noted})
        else:
            self.drop_one()
        if self.rng.random() < 0.5:
            self.settle()
        else:
            self.store.work()
            self.tell()

    def append(self, ident: int, log: Log, count: int) -> None:
        for _ in range(count):
            size = self.rng.choice((10, 100, 100, 700, 6000))
            subject = b"s.%d" % self.rng.randrange(12)
            data = payload(ident, log.last_seq + 1, self.life, size)
            log.append(subject, b"", data, self.rng.randrange(1, 10**9))

    def remove(self, ident: int, log: Log) -> None:
        first = log.first_seq
        seqs = [
            s for s in (self.rng.randrange(first, log.last_seq + 2) for _ in range(4)) if s <= log.last_seq
        ]
        if self.rng.random() < 0.3:
            seqs = [*range(first, min(first + 30, log.last_seq + 1))]  # the oldest, as limits remove them
        self.say(ask="remove", log=ident, seqs=seqs)
        for seq in seqs:
            log.remove(seq)
        self.promised.append({"done": "remove", "log": ident, "seqs": seqs})

    def drop_one(self) -> None:
        """A stream is deleted; the next one is made and has messages."""
        if self.short_lived in self.logs:
            self.say(ask="drop", log=self.short_lived)
            del self.logs[self.short_lived]
            self.store.drop_log(self.short_lived)
            self.promised.append({"done": "drop", "log": self.short_lived})
        self.short_lived += 1
        self.logs[self.short_lived] = self.store.open_log(self.short_lived)
        self.seen[self.short_lived] = 0

    def tell(self) -> None:
        """Marks what is acknowledged: the sequences that have become visible."""
        for ident, log in self.logs.items():
            if log.visible_seq > self.seen[ident]:
                self.seen[ident] = log.visible_seq
                self.say(done="append", log=ident, last=log.visible_seq, life=self.life)

    def settle(self) -> None:
        promised, self.promised = self.promised, []
        if self.problems:  # no space: waiting would be until there is some
            raise StoreError(self.problems[0])
        self.store.wait()
        self.tell()
        for what in promised:
            self.say(**what)

    def run(self, steps: int, ending: str) -> None:
        for _ in range(steps):
            self.step()
        if ending == "close":
            self.settle()
            self.store.close()
        self.marker.close()


# --- what has to be true afterwards ----------------------------------------------------------------


@dataclass
class Promise:
    """Of one log: the life of every sequence that was acknowledged, what was asked to go, and what has gone."""

    lives: dict[int, int] = field(default_factory=dict)
    last: int = 0
    asked: set[int] = field(default_factory=set)
    asked_below: int = 0
    gone: set[int] = field(default_factory=set)
    gone_below: int = 0
    dropping: bool = False
    dropped: bool = False

    def take(self, mark: dict[str, Any]) -> None:
        kind = mark.get("done") or mark["ask"]
        asked = "ask" in mark
        if kind == "append":
            for seq in range(self.last + 1, mark["last"] + 1):
                self.lives[seq] = mark["life"]
            self.last = mark["last"]
        elif kind == "remove":
            (self.asked if asked else self.gone).update(mark["seqs"])
        elif kind == "purge":
            if asked:
                self.asked_below = max(self.asked_below, mark["below"])
            else:
                self.gone_below = max(self.gone_below, mark["below"])
        elif asked:
            self.dropping = True
        else:
            self.dropped = True


def verify(folder: Path, marks: list[bytes]) -> None:
    """Opens what the power cut left: every promise is kept, nothing is made up, and work goes on."""
    promises: dict[int, Promise] = {}
    bounds = {"counter": [0, 0], "note": [0, 0]}
    for mark in map(json.loads, marks):
        kind = mark.get("done") or mark["ask"]
        if kind in bounds:
            bounds[kind]["ask" in mark] = mark["value"]
        else:
            promises.setdefault(mark["log"], Promise()).take(mark)
    for turn in range(2):  # what recovery itself has written is read in the second turn
        store, damage, problems = open_store(folder)
        try:
            assert damage == [], damage
            for ident, promise in promises.items():
                check_log(store.open_log(ident), promise, ident)
            low, high = bounds["counter"]
            assert low <= int(store.get(COUNTER) or 0) <= high, "the counter"
            check_notes(store, *bounds["note"])
            if turn == 0:
                go_on(store, promises)
        finally:
            store.close()
        assert problems == []


def check_log(log: Log, promise: Promise, ident: int) -> None:
    if promise.dropped:
        assert log.messages == 0, f"log {ident} was dropped and has {log.messages} messages"
        return
    strict = ident != RELAXED and not promise.dropping
    found: dict[int, Message] = {}
    start = 0
    while (message := log.next((), start)) is not None:
        found[message.seq] = message
        start = message.seq + 1
    for seq, message in found.items():
        what = f"log {ident} message {seq}"
        of_log, of_seq, life = parts(message.payload)
        assert (of_log, of_seq) == (ident, seq), f"{what} is {of_log}/{of_seq}"
        assert not strict or promise.lives.get(seq, life) == life, f"{what}: its sequence was given out twice"
        assert not strict or (seq not in promise.gone and seq >= promise.gone_below), f"{what} was removed"
    if strict:
        assert log.last_seq >= promise.last, f"log {ident}: the last sequence {promise.last} is forgotten"
        kept = {s for s in promise.lives if s not in promise.asked and s >= promise.asked_below}
        assert kept <= found.keys(), f"log {ident}: acknowledged and lost: {sorted(kept - found.keys())[:10]}"
    consistent(log, found)


def consistent(log: Log, found: dict[int, Message]) -> None:
    """Counters and indexes say what the messages say."""
    assert log.messages == len(found)
    assert log.first_seq == min(found, default=log.last_seq + 1)
    subjects: dict[bytes, list[int]] = {}
    for seq, message in sorted(found.items()):
        subjects.setdefault(message.subject, []).append(seq)
    assert log.subjects() == {s: len(seqs) for s, seqs in sorted(subjects.items())}
    assert log.subjects_count == len(subjects)
    for subject, seqs in subjects.items():
        assert log.subject(subject) == (len(seqs), seqs[0], seqs[-1]), subject
        assert log.count((subject,)) == len(seqs), subject
    assert log.bytes == sum(len(m.subject) + len(m.payload) + 30 for m in found.values())


def check_notes(store: Store, low: int, high: int) -> None:
    state, notes = store.state(OWNER)
    values = [int(state or 0), *map(int, notes)]
    assert low <= values[-1] <= high, f"notes end at {values[-1]}, promised was {low}, asked {high}"
    for before, after in itertools.pairwise(values):
        assert after == before + 1, values


def go_on(store: Store, promises: dict[int, Promise]) -> None:
    for ident, promise in promises.items():
        if not promise.dropping:
            log = store.open_log(ident)
            seq = log.last_seq + 1
            assert log.append(b"s.1", b"", payload(ident, seq, 99, 20), 5) == seq
    store.wait()


def main(folder: str, trace: str, seed: str, life: str, steps: str, ending: str, *more: str) -> int:
    """3: the store said that it cannot go on."""
    here = Life(Path(folder), Path(trace), seed, int(life), "relaxed" in more)
    try:
        here.run(int(steps), ending)
    except StoreError:
        if "faulty" not in more:
            raise
        return 3
    if "faulty" in more and here.problems:
        return 3
    assert here.problems == []
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    os._exit(code)  # whatever was not closed is left as a kill would leave it
