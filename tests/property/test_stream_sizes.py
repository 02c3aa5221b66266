"""Much of everything: memory stays within bounds that are written here, and numbers are right. ``--big`` for more."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.property.stream_walk import Client
from tests.property.stream_wires import MemoryWire

PAGE = 4096
MIB = 1 << 20
AT_ONCE = 2000  # messages fed in one piece

STORAGE = pytest.mark.parametrize("storage", ["memory", "file"])


def resident() -> int:
    """Bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Rig:
    def __init__(self, folder: Path) -> None:
        self.wire = MemoryWire(folder)
        self.client = Client(self.wire)

    def api(self, what: str, **body: Any) -> dict[str, Any]:
        answer = self.client.api(what, **body)
        assert "error" not in answer, answer
        return answer

    def publish(self, subjects: Iterator[str]) -> None:
        batch = []
        for subject in subjects:
            batch.append(f"PUB {subject} 1\r\nx\r\n")
            if len(batch) == AT_ONCE:
                self.wire.send("".join(batch).encode())
                batch.clear()
        self.wire.send("".join(batch).encode())

    def state(self) -> dict[str, Any]:
        return dict(self.api("STREAM.INFO.S")["state"])

    def consumer(self, **config: Any) -> None:
        self.api("CONSUMER.CREATE.S.C", stream_name="S", config={"durable_name": "C", **config})

    def numbers(self) -> dict[str, Any]:
        return self.api("CONSUMER.INFO.S.C")

    def pulled(self, where: str) -> int:
        """How many messages have come to this receiver."""
        self.client.read()
        count = sum(1 for message in self.client.received[where] if message.reply)
        self.client.received[where].clear()
        return count

    def pull(self, where: str, **request: Any) -> None:
        self.client.subscribe(where, where)
        body = ",".join(f'"{key}":{value}' for key, value in request.items())
        self.client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", f"{{{body}}}".encode(), where)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "store")
    yield rig
    rig.wire.stop()


@STORAGE
def test_a_consumer_that_never_acknowledges(rig: Rig, storage: str, big: bool) -> None:
    """It is given as much as may be out, again and again, and costs no more the tenth time than the first."""
    count, most = (200_000, 1000) if big else (20_000, 1000)
    rig.api("STREAM.CREATE.S", name="S", subjects=["s"], storage=storage)
    rig.consumer(ack_policy="explicit", ack_wait=10**10, max_ack_pending=most)
    rig.publish("s" for _ in range(count))
    rig.pull("P", batch=10 * count)
    assert rig.pulled("P") == most
    before = resident()
    for _ in range(10):
        rig.wire.advance(10)
        assert rig.pulled("P") == most
    info = rig.numbers()
    assert (info["num_ack_pending"], info["num_pending"]) == (most, count - most)
    assert info["num_redelivered"] == most
    assert resident() - before < 4 * MIB


@STORAGE
def test_everything_is_out(rig: Rig, storage: str, big: bool) -> None:
    """Without a bound for what is unacknowledged, each message that is out costs a hundred bytes or so."""
    count = 200_000 if big else 10_000
    rig.api("STREAM.CREATE.S", name="S", subjects=["s"], storage=storage)
    rig.consumer(ack_policy="explicit", ack_wait=10**11, max_ack_pending=-1)
    rig.publish("s" for _ in range(count))
    before = resident()
    for number in range(count // AT_ONCE):
        rig.pull(f"P{number}", batch=AT_ONCE)
        assert rig.pulled(f"P{number}") == AT_ONCE
    assert rig.numbers()["num_ack_pending"] == count
    assert resident() - before < 250 * count + 8 * MIB
    rig.wire.advance(100)
    rig.pull("Q", batch=count, no_wait="true")
    assert rig.pulled("Q") == count


@STORAGE
def test_many_subjects(rig: Rig, storage: str, big: bool) -> None:
    count = 1_000_000 if big else 30_000
    rig.api("STREAM.CREATE.S", name="S", subjects=["s.>"], storage=storage, max_msgs_per_subject=1)
    before = resident()
    for _ in range(2):  # the second time each replaces the first
        rig.publish(f"s.{number % 1000}.{number}" for number in range(count))
    state = rig.state()
    assert (state["messages"], state["num_subjects"], state["last_seq"]) == (count, count, 2 * count)
    assert resident() - before < 500 * count + 48 * MIB
    rig.consumer(ack_policy="none", filter_subject="s.7.*", deliver_policy="last_per_subject")
    assert rig.numbers()["num_pending"] == count // 1000
    found = rig.api("STREAM.MSG.GET.S", last_by_subj=f"s.{(count - 1) % 1000}.{count - 1}")["message"]
    assert found["seq"] == 2 * count
    assert rig.api("STREAM.PURGE.S", filter="s.8.*")["purged"] == count // 1000
    assert rig.state()["num_subjects"] == count - count // 1000
