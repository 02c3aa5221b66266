"""What a review of the engine found: each of these ended the process, lost a message or left somebody waiting."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.property.stream_walk import Client
from tests.property.stream_wires import MemoryWire

S_NS = 10**9
HOUR_S = 3600


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wire = MemoryWire(folder)
        self.client = Client(self.wire)
        self.client.subscribe("pulled", "pulled.*")

    def api(self, what: str, **body: Any) -> dict[str, Any]:
        answer = self.client.api(what, **body)
        assert "error" not in answer, answer
        return answer

    def stream(self, name: str = "S", **config: Any) -> None:
        self.api(f"STREAM.CREATE.{name}", name=name, **{"subjects": [f"{name.lower()}.>"], **config})

    def consumer(self, **config: Any) -> None:
        config = {"durable_name": "C", "ack_policy": "explicit", **config}
        self.api("CONSUMER.CREATE.S.C", stream_name="S", config=config)

    def fill(self, *subjects: str, payload: bytes = b"x") -> None:
        for subject in subjects:
            self.client.request(subject, payload)

    def pull(self, name: str = "a", reply: str = "", **request: Any) -> None:
        body = "{" + ",".join(f'"{key}":{value}' for key, value in request.items()) + "}"
        self.client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", body.encode(), reply or f"pulled.{name}")

    def pulled(self) -> list[int]:
        """Sequences of the messages that have come."""
        self.client.read()
        received = self.client.received["pulled"]
        seqs = [message.seq for message in received if message.reply.startswith("$JS.ACK")]
        self.replies = [message.reply for message in received if message.reply.startswith("$JS.ACK")]
        received.clear()
        return seqs


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "store")
    yield rig
    rig.wire.stop()


def test_a_header_of_one_byte_is_sourced(rig: Rig) -> None:
    rig.stream()
    rig.stream("T", subjects=["t.>"], sources=[{"name": "S"}])
    for head in (b"\n", b"\r\n", b"abc"):
        rig.client.request("s.a", b"x", head)
    for seq in (1, 2, 3):
        answer = rig.api("STREAM.MSG.GET.T", seq=seq)["message"]
        assert (answer["seq"], answer["subject"]) == (seq, "s.a")


def test_what_last_per_subject_begins_with_survives_a_crash(rig: Rig, tmp_path: Path) -> None:
    rig.stream(max_msgs_per_subject=1)
    rig.fill("s.a", "s.b", "s.c")
    rig.consumer(deliver_policy="last_per_subject", filter_subject="s.>")
    rig.pull(batch=2)
    assert rig.pulled() == [1, 2]
    rig.client.publish(rig.replies[1], b"", "pulled.ack")  # so that the note is on the disk
    rig.fill("s.a")  # takes the first one away
    copy = tmp_path / "crashed"
    shutil.copytree(rig.folder, copy)
    rig.wire.stop()
    shutil.rmtree(rig.folder)
    os.rename(copy, rig.folder)
    rig.wire._start()
    rig.client = Client(rig.wire)
    rig.client.subscribe("pulled", "pulled.*")
    rig.pull(batch=9)
    assert rig.pulled() == [3, 4]


def test_who_waits_behind_a_pin_has_a_turn(rig: Rig) -> None:
    rig.stream()
    rig.consumer(priority_policy="pinned_client", priority_groups=["g"], priority_timeout=2 * S_NS)
    rig.fill("s.a", "s.a")
    rig.pull("a", batch=1, expires=HOUR_S * S_NS, group='"g"')
    assert rig.pulled() == [1]
    rig.pull("b", batch=1, expires=HOUR_S * S_NS, group='"g"')
    assert rig.pulled() == []
    rig.wire.advance(3)
    assert rig.pulled() == [2]


def test_work_in_progress_ends_a_long_delay(rig: Rig) -> None:
    rig.stream()
    rig.consumer(ack_wait=30 * S_NS)
    rig.fill("s.a")
    rig.pull(batch=2, expires=2 * HOUR_S * S_NS)
    assert rig.pulled() == [1]
    (reply,) = rig.replies
    rig.client.publish(reply, b'-NAK {"delay": 3600000000000}')
    rig.wire.advance(40)
    rig.client.publish(reply, b"+WPI")
    assert rig.pulled() == []
    rig.wire.advance(31)
    assert rig.pulled() == [1]


def test_flow_control_goes_on_after_a_message_larger_than_its_window(rig: Rig) -> None:
    rig.stream()
    rig.client.subscribe("pushed", "to")
    rig.consumer(deliver_subject="to", flow_control=True, idle_heartbeat=S_NS, max_ack_pending=-1)
    rig.fill(*["s.a"] * 12, payload=bytes(1_000_000))
    seqs = []
    for _ in range(20):
        rig.client.read()
        received = rig.client.received["pushed"]
        while received:
            message = received.popleft()
            if message.reply.startswith("$JS.ACK"):
                seqs.append(message.seq)
            elif message.reply:
                rig.client.publish(message.reply, b"")
    assert seqs == list(range(1, 13))


def test_what_is_gone_is_not_pending_again_after_an_update(rig: Rig) -> None:
    rig.stream(max_msgs_per_subject=1)
    rig.fill("s.a", "s.b")
    rig.consumer(deliver_policy="last_per_subject", filter_subject="s.>")
    rig.api("STREAM.MSG.DELETE.S", seq=1)
    assert rig.api("CONSUMER.INFO.S.C")["num_pending"] == 1
    rig.consumer(deliver_policy="last_per_subject", filter_subject="s.>", description="updated")
    assert rig.api("CONSUMER.INFO.S.C")["num_pending"] == 1


@pytest.mark.parametrize("storage", ["memory", "file"])
def test_a_delivery_that_its_own_stream_takes(rig: Rig, storage: str) -> None:
    """It removes the message that is being delivered, to others as well."""
    rig.stream(storage=storage, max_msgs=1)
    rig.consumer(ack_policy="none")
    rig.client.subscribe("heard", "s.x")
    rig.fill("s.a", payload=b"y" * 5000)
    rig.pull(reply="s.x", batch=1)
    rig.client.read()
    (heard,) = rig.client.received["heard"]
    assert heard.payload == b"y" * 5000
    assert rig.api("STREAM.INFO.S")["state"]["messages"] == 1


def test_a_read_full_of_direct_gets_is_answered_in_parts(rig: Rig) -> None:
    rig.stream(allow_direct=True)
    rig.fill("s.a", payload=bytes(900_000))
    rig.client.subscribe("got", "got")
    rig.wire.send(b"PUB $JS.API.DIRECT.GET.S.s.a got 0\r\n\r\n" * 50)
    seen = 0
    for _ in range(60):
        rig.client.read()
        seen += len(rig.client.received["got"])
        rig.client.received["got"].clear()
    assert seen == 50
