"""A bridge between a broker and streams that do what the test says: what is acknowledged when, and what comes again."""

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from tests.support.accepting import Accepting
from tests.support.mqtt_broker import MqttBroker, Published, publish
from tests.unit.bridge.rig import WAIT_S, open_files

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.mqtt.bridge import MqttBridge
from phloem.firmware_bridge.mqtt.durable import Command, Done, Headers, Refused, Stored, Verdict
from phloem.firmware_bridge.mqtt.settings import MqttSettings
from phloem.shared.clock import SystemClock
from phloem.shared.server.monitor.metrics_device import device_families


class Stream:
    """Keeps what it is given until the test says what becomes of it."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes, dict[str, str]]] = []
        self.done: asyncio.Queue[Done] = asyncio.Queue()

    def publish(self, subject: str, payload: bytes, headers: Headers, done: Done) -> None:
        self.came.append((subject, payload, dict(headers)))
        self.done.put_nowait(done)

    async def next(self) -> Done:
        return await asyncio.wait_for(self.done.get(), WAIT_S)


class Commands:
    def __init__(self) -> None:
        self.heard: Callable[[Command], None] | None = None
        self.verdicts: asyncio.Queue[Verdict] = asyncio.Queue()

    def begin(self, heard: Callable[[Command], None]) -> None:
        self.heard = heard

    def end(self) -> None:
        self.heard = None

    def give(self, subject: str, *headers: tuple[str, str], attempt: int = 1) -> None:
        assert self.heard is not None
        self.heard(Command(subject, b"ON", headers, "S:1", attempt, self.verdicts.put_nowait))

    async def verdict(self) -> Verdict:
        return await asyncio.wait_for(self.verdicts.get(), WAIT_S)


class Memory:
    content = b""

    def read(self) -> bytes:
        return self.content

    def write(self, content: bytes) -> None:
        self.content = content


class Rig:
    def __init__(self, broker: MqttBroker | Accepting) -> None:
        self.broker, self.port = broker, broker.port
        self.stream, self.commands, self.memory = Stream(), Commands(), Memory()

    def bridge(self, **more: Any) -> MqttBridge:
        options = {
            "name": "home",
            "url": f"mqtt://127.0.0.1:{self.port}",
            "client_id": "me",
            "subject": "mqtt.home",
            "command_subject": "mqttset.home",
            "protocol": "mqtt3.1.1",
            "topics": ("a/#", "b"),
            "keepalive_ns": 60 * 10**9,
            "session_expiry_ns": 10**12,
            "retry_min_ns": 1,
            "retry_max_ns": 1,
        }
        return MqttBridge(
            MqttSettings(**(options | more)),
            self.stream,
            self.commands,
            self.memory,
            SystemClock(),
            random.Random(1),
            password=lambda: "",
            payload_max=1 << 20,
        )

    @asynccontextmanager
    async def running(self, **more: Any) -> AsyncIterator[MqttBridge]:
        bridge = self.bridge(**more)
        task = asyncio.create_task(bridge.run())
        up = asyncio.create_task(bridge.wait_connected())
        try:
            await asyncio.wait({up, task}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            assert up.done()
            yield bridge
        finally:
            up.cancel()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def noticed(bridge: MqttBridge) -> None:
    """The bridge knows that the connection is over."""
    while bridge.is_connected:  # noqa: ASYNC110  (turns of the loop)
        await asyncio.sleep(0)


@pytest.fixture
async def broker() -> AsyncIterator[MqttBroker]:
    async with MqttBroker() as there:
        yield there


@pytest.fixture
def rig(broker: MqttBroker) -> Rig:
    return Rig(broker)


async def test_a_message_is_acknowledged_when_it_is_on_the_disk(broker: MqttBroker, rig: Rig) -> None:
    async with rig.running() as bridge:
        assert broker.subscribed == ["a/#", "b"]
        broker.send(publish("a/living room", b"21", 5) + publish("b", b"x"))
        first, second = await rig.stream.next(), await rig.stream.next()
        broker.send(b"\xc0\x00")  # whatever is sent from here on would be behind a PUBACK
        second(Stored("S", 1))
        assert broker.acked == []
        first(Stored("S", 2))
        await broker.until(lambda: broker.acked == [5])
    (subject, payload, headers), other = rig.stream.came
    assert (subject, payload) == ("mqtt.home.a.living/20room", b"21")
    assert headers.pop("Nats-Msg-Id") != other[2].pop("Nats-Msg-Id")
    assert headers == {"Mqtt-Topic": "a/living room", "Mqtt-Qos": "1"}
    assert other == ("mqtt.home.b", b"x", {"Mqtt-Topic": "b", "Mqtt-Qos": "0"})
    text = "".join(device_families({"mqtt": {"home": bridge.figures()}}))
    assert 'phloem_mqtt_stored_messages_total{broker="home"} 2\n' in text
    assert text.count('{broker="home"}') == len(bridge.figures())
    assert list(device_families({"mqtt": {}})) == []


@pytest.mark.parametrize("stored", ["while it is away", "when it is back"])
async def test_cut_between_publish_and_puback(broker: MqttBroker, rig: Rig, stored: str) -> None:
    async with rig.running() as bridge:
        broker.send(publish("b", b"x", 5))
        done = await rig.stream.next()
        broker.resumes = True
        broker.first.append(publish("b", b"x", 5, dup=True))
        broker.cut()
        if stored == "when it is back":
            await broker.until(lambda: broker.connects == 2)
            await bridge.wait_connected()
        else:
            await noticed(bridge)
        done(Stored("S", 1))
        await broker.until(lambda: broker.acked == [5])
        assert len(rig.stream.came) == 1
        assert bridge.figures()["duplicates"] == 1
        assert broker.subscribed == ["a/#", "b"]  # the session has them


async def test_a_puback_that_is_lost_on_its_way(broker: MqttBroker, rig: Rig) -> None:
    async with rig.running() as bridge:
        broker.send(publish("b", b"x", 5))
        broker.resumes = True
        broker.first.append(publish("b", b"x", 5, dup=True))
        done = await rig.stream.next()
        broker.cut()
        done(Stored("S", 1))  # acknowledged before anybody here knows of the cut
        (await rig.stream.next())(Stored("S", 2))
        await broker.until(lambda: broker.acked == [5])
    assert [headers.get("Mqtt-Dup") for _, _, headers in rig.stream.came] == [None, "1"]
    assert (bridge.figures()["duplicates"], bridge.figures()["unsure"]) == (0, 1)


async def test_what_may_be_a_duplicate_says_so(broker: MqttBroker, rig: Rig) -> None:
    broker.resumes = True
    broker.first.append(publish("b", b"x", 5, dup=True) + publish("b", b"y", 6, retain=True))
    async with rig.running():
        await rig.stream.next()
        await rig.stream.next()
    assert [(h.get("Mqtt-Dup"), h.get("Mqtt-Retained")) for _, _, h in rig.stream.came] == [
        ("1", None),
        (None, "1"),
    ]


async def test_what_a_stream_refuses_is_tried_again(
    broker: MqttBroker, rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "MQTT_STORE_RETRY_MIN_NS", 1)
    monkeypatch.setattr(limits, "MQTT_STORE_RETRY_MAX_NS", 1)
    async with rig.running() as bridge:
        broker.send(publish("b", b"x", 5))
        for _ in range(3):
            (await rig.stream.next())(Refused("insufficient resources"))
        assert broker.acked == []
        (await rig.stream.next())(Stored("S", 1))
        await broker.until(lambda: broker.acked == [5])
        broker.send(publish("b", b"z", 6))
        (await rig.stream.next())(Refused("too large", final=True))
        await broker.until(lambda: broker.acked == [5, 6])
    assert len({headers["Nats-Msg-Id"] for _, payload, headers in rig.stream.came if payload == b"x"}) == 1
    assert (bridge.figures()["retried"], bridge.figures()["given_up"]) == (3, 1)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [  # not three times
        "bridge_mqtt home: mqtt.home.b is not stored, the broker waits: insufficient resources; it is tried again",
        "bridge_mqtt home: mqtt.home.b is dropped, and the broker told that it was taken: too large",
    ]


async def test_a_broker_without_a_window_is_cut_off_and_sends_again(
    broker: MqttBroker, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MQTT_WAITING_MAX", 2)
    async with rig.running() as bridge:
        broker.resumes = True
        broker.first.append(publish("b", b"1", 1, dup=True) + publish("b", b"2", 2, dup=True))
        broker.send(b"".join(publish("b", b"%d" % mid, mid) for mid in (1, 2, 3)))
        one, two = await rig.stream.next(), await rig.stream.next()
        await noticed(bridge)
        one(Stored("S", 1))
        two(Stored("S", 2))
        await broker.until(lambda: broker.acked == [1, 2])
    assert broker.connects == 2
    assert len(rig.stream.came) == 2


async def test_subscriptions_follow_the_configuration(
    broker: MqttBroker, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.running():
        pass
    broker.resumes = True
    async with rig.running(topics=("b", "c")):
        await broker.until(lambda: broker.left)
    assert broker.subscribed == ["a/#", "b", "c"]
    assert broker.left == ["a/#"]
    broker.resumes = False
    async with rig.running(topics=("b", "c")) as bridge:
        pass
    assert broker.subscribed[3:] == ["b", "c"]
    assert bridge.figures()["sessions_lost"] == 1
    assert "has forgotten the session of me: what was published there meanwhile did not come" in caplog.text


async def test_retained_messages_may_be_left_out(broker: MqttBroker, rig: Rig) -> None:
    broker.first.append(publish("b", b"old", 1, retain=True) + publish("b", b"new", 2))
    async with rig.running(retained=False):
        (await rig.stream.next())(Stored("S", 1))
        await broker.until(lambda: broker.acked == [1, 2])
    assert [payload for _, payload, _ in rig.stream.came] == [b"new"]


async def test_a_command_is_settled_by_puback(broker: MqttBroker, rig: Rig) -> None:
    broker.answers_publish = False
    async with rig.running() as bridge:
        rig.commands.give("mqttset.home.lamp.living/20room.set")
        await broker.until(lambda: broker.published)
        assert rig.commands.verdicts.empty()
        assert bridge.figures()["commands_waiting"] == 1
        broker.cut()
        assert await rig.commands.verdict() is Verdict.AGAIN
        await broker.until(lambda: broker.connects == 2)
        broker.answers_publish = True
        await bridge.wait_connected()
        rig.commands.give(
            "mqttset.home.lamp.living/20room.set", ("Mqtt-Qos", "0"), ("Mqtt-Retain", "1"), attempt=2
        )
        assert await rig.commands.verdict() is Verdict.DONE
        rig.commands.give("mqttset.home.lamp", attempt=1)
        assert await rig.commands.verdict() is Verdict.DONE
        await broker.until(lambda: len(broker.published) == 3)
    topic = "lamp/living room/set"
    assert broker.published[:2] == [Published(2, topic, b"ON", False), Published(0, topic, b"ON", False)]
    assert (bridge.figures()["commands"], bridge.figures()["commands_again"]) == (2, 1)


@pytest.mark.parametrize(
    ("subject", "header", "text"),
    [
        ("mqttset.home.a./x", ("A", "b"), "stands for a dot"),
        ("mqttset.home.a", ("Mqtt-Qos", "2"), "Mqtt-Qos is 0 or 1"),
        ("mqttset.home.a", ("Mqtt-Correlation", "?"), "base64|padding"),
    ],
)
async def test_a_command_that_cannot_be_published(
    rig: Rig, subject: str, header: tuple[str, str], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.running():
        rig.commands.give(subject, header)
        assert await rig.commands.verdict() is Verdict.NEVER
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{subject} (S:1) cannot be published: " in record.getMessage()


@pytest.mark.parametrize(
    ("protocol", "code", "text"),
    [
        ("mqtt5", 1, "if it does not speak mqtt5, set protocol to mqtt3.1.1; trying again for ever"),
        ("mqtt3.1.1", 1, "if it does not speak mqtt3.1.1, set protocol to mqtt5; trying again for ever"),
        ("mqtt3.1.1", 5, "Not authorized; trying again for ever"),
    ],
)
async def test_a_broker_that_refuses_is_tried_again(
    broker: MqttBroker, rig: Rig, protocol: str, code: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker.welcome = code
    task = asyncio.create_task(rig.bridge(protocol=protocol).run())
    await broker.until(lambda: broker.connects == 3)
    task.cancel()
    await asyncio.wait({task})
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]  # said once
    assert text in record.getMessage()


async def test_nothing_is_left_of_a_broker_that_is_silent() -> None:
    came = asyncio.Event()

    async def silent(sock: socket.socket) -> None:
        came.set()
        await asyncio.Event().wait()

    before, tasks = open_files(), asyncio.all_tasks()
    async with Accepting(silent) as accepting:
        task = asyncio.create_task(Rig(accepting).bridge().run())
        await asyncio.wait_for(came.wait(), WAIT_S)
        task.cancel()
        await asyncio.wait({task})
    await asyncio.get_running_loop().shutdown_default_executor()
    assert asyncio.all_tasks() == tasks
    assert open_files() == before


async def test_a_broker_that_is_away(rig: Rig, broker: MqttBroker, caplog: pytest.LogCaptureFixture) -> None:
    async with rig.running() as bridge:
        await broker.close()
        await noticed(bridge)
        broker.listen()
        await asyncio.wait_for(bridge.wait_connected(), WAIT_S)
    assert bridge.figures()["connects"] == 2
    assert "no connection to mqtt://127.0.0.1:" in caplog.text
