"""An edge beside mosquitto: what things publish is in a stream, commands of a stream are with the things, and what was
acknowledged is there after kills.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import nats
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from phloem.edge.app import Edge
from phloem.firmware_bridge.mqtt.bridge import MqttBridge
from phloem.firmware_bridge.mqtt.topics import subject_of
from phloem.shared.server.load import as_options
from phloem.shared.server.reload import use
from tests.support.certificates import Certificates
from tests.support.mosquitto import Mosquitto, add_user, needs_mosquitto
from tests.support.mqtt_broker import MqttBroker, publish
from tests.support.phloem_server import ForkedServer
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

WAIT_S = 20.0


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    with Mosquitto(folder) as running:
        yield running


def config(folder: Path, url: str, **more: Any) -> dict[str, Any]:
    block = {
        "url": url,
        "topics": ["z/#"],
        "command_subject": "mqttset.home",
        "retry_min": "1ms",
        "retry_max": "20ms",
        **more,
    }
    return {
        "listen": "127.0.0.1:-1",
        "server_name": "dev",
        "jetstream": {"store_dir": str(folder / "edge")},
        "bridge_mqtt": {"home": block},
    }


async def bridge_of(edge: Edge) -> MqttBridge:
    """The bridge, once the broker is there."""
    assert edge.mqtt is not None
    async with asyncio.timeout(WAIT_S):
        while (bridge := edge.mqtt.running.get("home")) is None:  # noqa: ASYNC110  (until its streams are there)
            await asyncio.sleep(0.005)
        await bridge.wait_connected()
    return bridge


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  (a look inside of another task)
            await asyncio.sleep(0.005)


async def stored(js: JetStreamContext, count: int, stream: str = "MQTT_home") -> list[Any]:
    """The first ``count`` messages of a stream, when they are there."""
    async with asyncio.timeout(WAIT_S):
        subscription = await js.subscribe("", stream=stream, ordered_consumer=True)
        found = [await subscription.next_msg(WAIT_S) for _ in range(count)]
        await subscription.unsubscribe()
    return found


@asynccontextmanager
async def thing(mosquitto: Mosquitto, **more: Any) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, **more) as client:
        yield client


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt3.1.1"])
async def test_up_and_down(mosquitto: Mosquitto, tmp_path: Path, protocol: str) -> None:
    async with Edge(config(tmp_path, mosquitto.url, protocol=protocol)) as edge, thing(mosquitto) as lamp:
        await lamp.publish("z/kept", b"old", retain=True)
        bridge = await bridge_of(edge)
        client = await edge.connect()
        js = client.jetstream()
        await lamp.subscribe("lamp/set", qos=1)
        for qos in (0, 1, 2):
            await lamp.publish("z/living room/1.5", b"%d" % qos, qos=qos)
        messages = await stored(js, 4)
        await js.publish("mqttset.home.lamp.set", b"ON")
        heard = await asyncio.wait_for(anext(aiter(lamp.messages)), WAIT_S)
        assert edge.jetstream is not None
        queue = edge.jetstream.accounts["$G"].streams["MQTTSET_home"].log
        await until(lambda: not queue.messages)  # gone when the broker has it
        await client.close()
    assert (str(heard.topic), heard.payload) == ("lamp/set", b"ON")
    assert (messages[0].subject, messages[0].data, messages[0].headers["Mqtt-Retained"]) == (
        "mqtt.home.z.kept",
        b"old",
        "1",
    )
    assert {message.subject for message in messages[1:]} == {"mqtt.home.z.living/20room.1//5"}
    assert [(message.data, message.headers["Mqtt-Qos"]) for message in messages[1:]] == [
        (b"0", "0"),
        (b"1", "1"),
        (b"2", "1"),  # a subscription of QoS 1
    ]
    figures = bridge.figures()
    assert (figures["commands"], figures["stored"], figures["lost"]) == (1, 4, 0)


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt3.1.1"])
async def test_what_is_published_while_the_edge_is_away_comes_later(
    mosquitto: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    options = config(tmp_path, mosquitto.url, protocol=protocol)
    async with Edge(options) as edge:
        await bridge_of(edge)
    async with thing(mosquitto) as lamp:
        for number in range(50):
            await lamp.publish("z/n", b"%d" % number, qos=1)
    mosquitto.stop()
    assert mosquitto.start()
    async with Edge(options) as edge:
        client = await edge.connect()
        messages = await stored(client.jetstream(), 50)
        assert (await bridge_of(edge)).figures()["sessions_lost"] == 0
        await client.close()
    assert [message.data for message in messages] == [b"%d" % number for number in range(50)]
    assert all("Mqtt-Dup" not in message.headers for message in messages)


@needs_mosquitto
async def test_commands_wait_for_the_broker(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """They arrive in order, and a consumer that somebody has deleted is made again."""
    async with Edge(config(tmp_path, mosquitto.url)) as edge:
        bridge = await bridge_of(edge)
        async with thing(mosquitto, identifier="lamp", clean_session=False) as lamp:
            await lamp.subscribe("lamp/set", qos=1)
        mosquitto.stop()
        await until(lambda: not bridge.is_connected)
        client = await edge.connect()
        js = client.jetstream()
        for number in range(100):
            await js.publish("mqttset.home.lamp.set", b"%d" % number)
        assert mosquitto.start()
        async with thing(mosquitto, identifier="lamp", clean_session=False) as lamp:
            heard = aiter(lamp.messages)
            found = [(await asyncio.wait_for(anext(heard), WAIT_S)).payload for _ in range(100)]
            assert edge.jetstream is not None
            queue = edge.jetstream.accounts["$G"].streams["MQTTSET_home"].log
            await until(lambda: not queue.messages)
            await js.delete_consumer("MQTTSET_home", "mqtt_home")
            await js.publish("mqttset.home.lamp.set", b"last")
            found.append((await asyncio.wait_for(anext(heard), WAIT_S)).payload)
        await client.close()
    assert found == [*(b"%d" % number for number in range(100)), b"last"]


@needs_mosquitto
async def test_what_is_forwarded_has_the_stream(mosquitto: Mosquitto, tmp_path: Path) -> None:
    options = config(tmp_path, mosquitto.url) | {"forward": {"home": {"subjects": ["mqtt.home.>"]}}}
    async with Edge(options) as edge, thing(mosquitto) as lamp:
        await bridge_of(edge)
        await lamp.publish("z/n", b"1", qos=1)
        client = await edge.connect()
        (message,) = await stored(client.jetstream(), 1, "FORWARD_home")
        with pytest.raises(NotFoundError):
            await client.jetstream().stream_info("MQTT_home")
        await client.close()
    assert message.data == b"1"


@needs_mosquitto
async def test_properties_of_mqtt_5(mosquitto: Mosquitto, tmp_path: Path) -> None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType, properties.ResponseTopic = "application/json", "lamp/answer"
    properties.CorrelationData, properties.UserProperty = b"\x00\xff", [("a=b", "100%"), ("a=b", "2")]
    async with (
        Edge(config(tmp_path, mosquitto.url)) as edge,
        thing(mosquitto, protocol=aiomqtt.ProtocolVersion.V5) as lamp,
    ):
        await bridge_of(edge)
        await lamp.subscribe("back")
        await lamp.publish("z/p", b"{}", qos=1, properties=properties)
        client = await edge.connect()
        js = client.jetstream()
        (message,) = await stored(js, 1)
        kept = {name: value for name, value in message.headers.items() if name.startswith("Mqtt-")}
        await js.publish("mqttset.home.back", b"{}", headers=kept)
        heard = await asyncio.wait_for(anext(aiter(lamp.messages)), WAIT_S)
        await client.close()
    assert heard.properties is not None
    found = heard.properties.json()
    assert found["ContentType"] == "application/json"
    assert found["ResponseTopic"] == "lamp/answer"
    assert heard.properties.CorrelationData == b"\x00\xff"
    assert heard.properties.UserProperty[-1] == ("phloem-id", "MQTTSET_home:1")
    assert ("a=b", "100%") in heard.properties.UserProperty


@needs_mosquitto
async def test_other_topics_with_a_reload(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with Edge(config(tmp_path, mosquitto.url)) as edge, thing(mosquitto) as lamp:
        before = await bridge_of(edge)
        use(edge, lambda: _loaded(edge, config(tmp_path, mosquitto.url)))
        assert await bridge_of(edge) is before  # nothing has changed
        use(edge, lambda: _loaded(edge, config(tmp_path, mosquitto.url, topics=["y/+"], subject="tele.y")))
        assert edge.mqtt is not None
        running = edge.mqtt.running
        await until(lambda: running.get("home") not in (before, None))
        await bridge_of(edge)
        await lamp.publish("z/n", b"not wanted any more", qos=1)
        await lamp.publish("y/n", b"wanted", qos=1)
        client = await edge.connect()
        (message,) = await stored(client.jetstream(), 1)
        assert (message.subject, message.data) == ("tele.y.y.n", b"wanted")
        use(edge, lambda: _loaded(edge, {**config(tmp_path, mosquitto.url), "bridge_mqtt": {}}))
        await until(lambda: not running)
        await client.close()


def _loaded(edge: Edge, wanted: dict[str, Any]) -> Any:
    from phloem.edge.app import _finish

    return _finish(as_options(wanted))


@needs_mosquitto
async def test_tls_and_a_password_in_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates(tmp_path / "certificates")
    server = certificates.server
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    add_user(folder / "users", "bridge", "s3cret")
    more = f"cafile {certificates.ca_file}\ncertfile {server.cert_file}\nkeyfile {server.key_file}\n"
    more += f"password_file {folder}/users\n"
    password = tmp_path / "password"
    password.write_text("wrong\n")
    with Mosquitto(folder, more) as broker:
        options = config(
            tmp_path,
            broker.url.replace("mqtt://", "mqtts://"),
            tls={"ca_file": str(certificates.ca_file)},
            username="bridge",
            password_file=str(password),
        )
        async with Edge(options) as edge:
            await until(lambda: "ot authori" in caplog.text)
            password.write_text("s3cret\n")  # read at each attempt
            await bridge_of(edge)
    assert "s3cret" not in caplog.text


async def test_killed_between_the_disk_and_the_puback(tmp_path: Path) -> None:
    """The broker never reads a PUBACK: whatever the edge stored it had not heard of."""
    async with MqttBroker() as broker:
        text = _text(tmp_path, broker.url, "protocol: mqtt3.1.1")
        with _edge(text, tmp_path) as edge:
            await broker.until(lambda: broker.subscribed)
            broker.send(b"".join(publish("z/n", b"%d" % mid, mid) for mid in range(1, 21)))
            client = await nats.connect(f"nats://127.0.0.1:{edge.port()}")
            first = await stored(client.jetstream(), 20)
            edge.kill()
            await client.close()
        broker.resumes = True
        broker.first.append(b"".join(publish("z/n", b"%d" % mid, mid, dup=True) for mid in range(1, 21)))
        broker.acked.clear()
        with _edge(text, tmp_path) as edge:
            await broker.until(lambda: broker.acked == list(range(1, 21)))
            client = await nats.connect(f"nats://127.0.0.1:{edge.port()}")
            both = await stored(client.jetstream(), 40)
            await client.close()
    assert [message.data for message in first] == [b"%d" % number for number in range(1, 21)]
    assert [message.data for message in both[:20]] == [message.data for message in first]
    assert [message.data for message in both[20:]] == [message.data for message in first]
    assert ["Mqtt-Dup" in message.headers for message in both] == [False] * 20 + [True] * 20


@needs_mosquitto
async def test_killed_again_and_again(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Nothing is missing, and what is there twice says so."""
    rng, text, wanted, kills = random.Random(7), _text(tmp_path, mosquitto.url, ""), 0, 4
    async with thing(mosquitto) as lamp:
        for number in range(kills + 1):
            with _edge(text, tmp_path) as edge:
                edge.wait_for_log("connected to mqtt://", WAIT_S)
                burst = rng.randrange(50, 150)
                for _ in range(burst):
                    await lamp.publish("z/n", b"%d" % wanted, qos=1)
                    wanted += 1
                if number < kills:
                    edge.kill()
                    continue
                await lamp.publish("z/last", b"", qos=1)
                client = await nats.connect(f"nats://127.0.0.1:{edge.port()}")
                js = client.jetstream()
                async with asyncio.timeout(WAIT_S):
                    while True:
                        try:
                            last = await js.get_last_msg("MQTT_home", "mqtt.home.z.last")
                            break
                        except NotFoundError:
                            await asyncio.sleep(0.01)
                messages = await stored(js, last.seq or 0)
                await client.close()
    assert {int(message.data) for message in messages[:-1]} == set(range(wanted))
    surplus = len(messages) - 1 - wanted
    assert surplus <= sum("Mqtt-Dup" in message.headers for message in messages)


def _text(folder: Path, url: str, more: str) -> str:
    return f"""
        listen: "127.0.0.1:-1", server_name: dev, jetstream {{ store_dir: "{folder}/store" }}
        bridge_mqtt {{ home {{
          url: "{url}", topics: ["z/#"], retry_min: "1ms", retry_max: "20ms", {more}
        }} }}
    """


def _edge(text: str, folder: Path) -> ServerProcess:
    return ForkedServer([sys.executable, "-m", "phloem", "edge"], text, folder / "run")


async def test_topics_become_what_nats_server_makes_of_them(tmp_path: Path) -> None:
    text = 'listen: "127.0.0.1:-1", server_name: n, jetstream { store_dir: "%s" }, mqtt { listen: "127.0.0.1:-1" }'
    topics = [
        "a/b",
        "/a",
        "a/",
        "a//b",
        "/",
        "//",
        "v1.2/x.",
        "./.",
        "a/./b",
        "é/%20",
        "$x/y",
        "a///",
        "a.//b",
    ]
    with RealServer(text % (tmp_path / "js"), tmp_path) as server:
        port = int(server.wait_for_log(r"MQTT clients on mqtt://\S*:(\d+)")[1])
        client = await nats.connect(f"nats://127.0.0.1:{server.port()}")
        heard = await client.subscribe("m.>")
        await client.flush()
        async with aiomqtt.Client("127.0.0.1", port, identifier="x") as mqtt:
            for topic in topics:
                await mqtt.publish(f"m/{topic}")
        found = [(await heard.next_msg(WAIT_S)).subject for _ in topics]
        await client.close()
    assert found == [subject_of(f"m/{topic}") for topic in topics]


async def test_nats_server_as_the_broker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It speaks 3.1.1 only, and says so in 3.1.1 to whoever asks for more."""
    text = 'listen: "127.0.0.1:-1", server_name: n, jetstream {{ store_dir: "{}" }}, mqtt {{ listen: "127.0.0.1:-1" }}'
    with RealServer(text.format(tmp_path / "js"), tmp_path / "nats") as server:
        url = server.wait_for_log(r"MQTT clients on (mqtt://\S*:\d+)")[1]
        async with Edge(config(tmp_path, url, protocol="mqtt5")):
            await until(lambda: "set protocol to mqtt3.1.1" in caplog.text)
        async with Edge(config(tmp_path, url, protocol="mqtt3.1.1")) as edge:
            bridge = await bridge_of(edge)
            there = await nats.connect(f"nats://127.0.0.1:{server.port()}")
            heard = await there.subscribe("lamp.set")
            await there.flush()
            client = await edge.connect()
            async with aiomqtt.Client("127.0.0.1", bridge.settings.port, identifier="lamp") as lamp:
                for number in range(20):
                    await lamp.publish("z/n", b"%d" % number, qos=number % 3)
            messages = await stored(client.jetstream(), 20)
            await client.jetstream().publish("mqttset.home.lamp.set", b"ON")
            command = await heard.next_msg(WAIT_S)
            await there.close()
            await client.close()
    assert {int(message.data) for message in messages} == set(range(20))
    assert (command.subject, command.data) == ("lamp.set", b"ON")


@needs_mosquitto
async def test_another_client_with_the_same_id(
    mosquitto: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Edge(config(tmp_path, mosquitto.url)) as edge:
        bridge = await bridge_of(edge)
        for time in range(1, 4):
            async with thing(mosquitto, identifier="phloem-dev-home", clean_session=False):
                pass
            await until(lambda: bridge.figures()["connects"] > time)  # noqa: B023  (awaited at once)
    assert "if another client has the client_id phloem-dev-home, give this one another" in caplog.text
