"""Blocks that are mostly removed are written again without what is gone; nothing else changes."""

import random
from pathlib import Path

from phloem.shared.store.check import check
from phloem.shared.store.log import Message
from tests.unit.store.damage import open_store


def test_overwritten_keys_leave_little_behind(tmp_path: Path) -> None:
    """As a key-value bucket does it: what is overwritten is removed. Every block keeps a little for long."""
    rng = random.Random(5)
    folder = tmp_path / "store"
    store = open_store(folder, generation_bytes=100_000)
    store.open()
    log = store.open_log(1)
    current: dict[bytes, Message] = {}
    for number in range(20_000):
        # some keys are hardly ever written again
        key = b"kv.%d" % (rng.randrange(40) if rng.random() < 0.97 else rng.randrange(40, 2000))
        payload = b"%06d" % number + b"p" * 100
        seq = log.append(key, b"", payload, number)
        if key in current:
            assert log.remove(current[key].seq)
        current[key] = Message(seq, number, key, b"", payload)
        if number % 200 == 0:
            store.wait()
    store.close()
    survey = check(folder)
    assert [str(finding) for finding in survey.findings] == []
    assert survey.totals.messages == len(current)
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    for key, message in current.items():
        assert log.read(message.seq) == message
        assert log.subject(key) == (1, message.seq, message.seq)
        assert log.next((key,)) == message
    stored = sum(len(m.payload) + len(key) for key, m in current.items())
    assert survey.totals.block_bytes < 3 * stored
    store.close()


def test_links_lead_over_what_is_gone(tmp_path: Path) -> None:
    """A subject whose middle was removed is still found along its messages."""
    folder = tmp_path / "store"
    store = open_store(folder, generation_bytes=100_000)
    store.open()
    log = store.open_log(1)
    for number in range(6000):
        log.append(b"s.%d" % (number % 50), b"", b"%d" % number, number)
    store.wait()
    kept = [seq for seq in range(1, 6001) if seq <= 50 or seq > 5900 or seq % 997 == 0]
    for seq in range(1, 6001):
        if seq not in kept:
            log.remove(seq)
    store.close()
    store = open_store(folder)
    store.open()
    log = store.open_log(1)
    for subject in (b"s.0", b"s.7", b"s.49"):
        found, at = [], 1
        while (message := log.next((subject,), at)) is not None:
            assert message.payload == b"%d" % (message.seq - 1)
            found.append(message.seq)
            at = message.seq + 1
        assert found == [seq for seq in kept if (seq - 1) % 50 == int(subject[2:])]
    assert log.messages == len(kept)
    store.close()
    assert check(folder).findings == []
