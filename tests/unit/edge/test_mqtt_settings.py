"""From ``bridge_mqtt`` blocks to the settings of bridges; what cannot work is refused with the name of the block."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from phloem.edge.app import Edge
from phloem.edge.mqtt.settings import broker_settings, password_of
from phloem.hub.app import Hub
from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.options_mqtt import MqttBroker

BLOCK = {"topics": ["z/#"]}
SECOND = 10**9


def options(top: dict[str, Any] | None = None, **blocks: dict[str, Any]) -> Options:
    base = {"server_name": "dev", "jetstream": {"store_dir": "/x"}, "bridge_mqtt": blocks}
    return merge(load_mapping(base | (top or {})), {})


def test_every_field_arrives() -> None:
    block = {
        "url": "mqtts://broker:1",
        "protocol": "mqtt3.1.1",
        "client_id": "me",
        "username": "u",
        "password_file": "/p",
        "tls": {"ca_file": "/c", "cert_file": "/d", "key_file": "/k", "insecure": True},
        "keepalive": "10s",
        "session_expiry": "1h",
        "topics": ["a", "b/#"],
        "qos": 0,
        "retained": False,
        "subject": "tele.x",
        "command_subject": "do.x",
        "max_bytes": 1 << 20,
        "max_age": "2h",
        "retry_min": "1s",
        "retry_max": "2s",
    }
    (settings,) = broker_settings(options(x=block))
    found = msgspec.structs.asdict(settings)
    assert {field.name for field in msgspec.structs.fields(MqttBroker)} == set(found)
    assert msgspec.structs.asdict(found.pop("tls")) == block.pop("tls")
    for key in ("keepalive", "session_expiry", "max_age", "retry_min", "retry_max"):
        del block[key]
        assert found.pop(f"{key}_ns") in (10 * SECOND, 3600 * SECOND, 7200 * SECOND, SECOND, 2 * SECOND)
    assert found == block | {
        "name": "x",
        "topics": ("a", "b/#"),
        "password": "",
        "account": "$G",
    }
    assert (settings.host, settings.port, settings.uses_tls, settings.keepalive_s) == ("broker", 1, True, 10)


def test_defaults() -> None:
    (settings,) = broker_settings(options(x=BLOCK))
    assert (settings.client_id, settings.subject, settings.command_subject) == ("phloem-dev-x", "mqtt.x", "")
    assert (settings.host, settings.port, settings.protocol, settings.qos) == ("127.0.0.1", 1883, "mqtt5", 1)
    assert broker_settings(merge(None, {})) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"url": "http://x"}, "is not mqtt://host:port"),
        ({"url": "mqtt://x:0"}, "is not mqtt://host:port"),
        ({"url": "mqtt://x/path"}, "is not mqtt://host:port"),
        ({"url": "mqtt://u:p@x"}, "url has a user"),
        ({"tls": {"ca_file": "/c"}}, "tls is for mqtts://"),
        ({"url": "mqtts://x", "tls": {"cert_file": "/c"}}, "cert_file and key_file, or none"),
        ({"qos": 2}, "PUBREC before the disk has it; 1 takes what is published with QoS 2 as well"),
        ({"topics": []}, "needs topics, a command_subject, or both"),
        ({"topics": ["a#"]}, "topic 'a#' cannot be subscribed to: # stands alone"),
        ({"subject": "a.*"}, "subject 'a.*' is not a valid subject without wildcards"),
        ({"command_subject": "mqtt.x.set"}, "overlap: what comes from the broker would go back to it"),
        ({"command_subject": "mqtt"}, "overlap"),
        ({"password": "p"}, "a password needs a username"),
        ({"username": "u", "password": "p", "password_file": "/p"}, "cannot both be set"),
        ({"keepalive": "100ms"}, "keepalive is 1s at least"),
        ({"session_expiry": "0s"}, "session_expiry is 1s at least"),
        ({"retry_min": "2s", "retry_max": "1s"}, "retry_min must be above 0"),
        ({"account": "A"}, 'account "A" has no JetStream'),
    ],
)
def test_what_cannot_work_names_its_block(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        broker_settings(options(x={**BLOCK, **change}))
    assert str(error.value).startswith('bridge_mqtt "x": ')
    assert text in str(error.value)


@pytest.mark.parametrize("change", [{"qos": 3}, {"protocol": "4"}, {"topic": "x"}])
def test_what_the_declarations_refuse(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        options(x={**BLOCK, **change})


def test_what_two_brokers_cannot_share() -> None:
    with pytest.raises(ConfigError, match="have the same broker and client_id"):
        broker_settings(options(x={**BLOCK, "client_id": "a"}, y={**BLOCK, "client_id": "a"}))
    with pytest.raises(ConfigError, match=r"subjects that overlap: mqtt\.x, mqtt\.x\.y"):
        broker_settings(options(x=BLOCK, y={**BLOCK, "subject": "mqtt.x.y"}))
    assert len(broker_settings(options(x=BLOCK, y=BLOCK))) == 2


def test_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="add a jetstream block"):
        broker_settings(options({"jetstream": False}, x=BLOCK))
    with pytest.raises(ConfigError, match="a client_id that stays the same, or a server_name"):
        broker_settings(options({"server_name": ""}, x=BLOCK))
    with pytest.raises(ConfigError, match="at most 16 are possible"):
        broker_settings(options(**{f"b{number}": BLOCK for number in range(17)}))
    with pytest.raises(ConfigError, match=r"a name has letters"):
        broker_settings(options(**{"a b": BLOCK}))
    with pytest.raises(ConfigError, match='bridge_mqtt "x"'):
        Edge({"jetstream": {"store_dir": "/x"}, "bridge_mqtt": {"x": BLOCK}})


async def test_refused_where_nobody_bridges() -> None:
    with pytest.raises(ConfigError, match='bridge_mqtt is for "phloem edge" only'):
        await Hub({"server_name": "h", "bridge_mqtt": {"x": BLOCK}}).start()


def test_a_password_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings,) = broker_settings(options(x={**BLOCK, "username": "u", "password_file": "mqtt"}))
    with pytest.raises(ConfigError, match="is a credential of systemd"):
        password_of(settings)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="the password cannot be read"):
        password_of(settings)
    (tmp_path / "mqtt").write_text("s3cret\n")
    assert password_of(settings) == "s3cret"
