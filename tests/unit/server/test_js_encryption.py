"""A server that encrypts: nothing is in the clear, keys come from where they are said to be and are never shown."""

import json
import logging
import struct
from pathlib import Path
from typing import Any

import nats
import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.net.http import Request
from phloem.shared.server.load import load, load_mapping, merge
from phloem.shared.server.monitor.pages import Monitor
from phloem.shared.server.reload import reload
from phloem.shared.server.store_keys import keys_of
from phloem.shared.store import keyring
from phloem.shared.testing import server

KEY = "a secret of nobody"
CANARY = b"CaNaRy"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(keyring, "COST", 4)
    caplog.set_level(logging.DEBUG)


def config(folder: Path, **jetstream: Any) -> dict[str, Any]:
    return {"jetstream": {"store_dir": str(folder), **jetstream}}


async def use(options: dict[str, Any], count: int) -> int:
    """Publishes so many; how many there are."""
    async with server(options) as broker, await nats.connect(broker.client_url) as client:
        js = client.jetstream()
        await js.add_stream(name="CaNaRyStream", subjects=["CaNaRy.>"])
        for number in range(count):
            headers = {"Nats-Msg-Id": f"CaNaRy-{number}", "A": "CaNaRy"}
            await js.publish("CaNaRy.sub", b"CaNaRy %d" % number, headers=headers)
        await js.pull_subscribe("CaNaRy.>", durable="CaNaRyDurable")
        for page in ("/varz", "/jsz", "/healthz"):
            answer = Monitor(broker.source).answer(
                Request("GET", page, b"streams=1&config=1&accounts=1&details=1")
            )
            assert answer.body
            assert KEY not in answer.body.decode()
        return (await js.stream_info("CaNaRyStream")).state.messages


def found_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and CANARY in path.read_bytes()]


async def test_nothing_is_in_the_clear(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = config(tmp_path, key=KEY)
    assert await use(options, 20) == 20
    assert found_in(tmp_path) == []
    assert "  Encryption:      ChaCha20-Poly1305" in caplog.messages
    assert await use(options, 0) == 20
    assert await use(config(tmp_path, ek=KEY, cipher="AES"), 0) == 20
    assert "  Encryption:      AES-GCM" in caplog.messages
    assert await use(config(tmp_path, key="other", prev_key=KEY, cipher="aes"), 0) == 20
    assert found_in(tmp_path) == []
    assert KEY not in caplog.text


async def test_an_old_store_is_encrypted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await use(config(tmp_path), 20) == 20
    assert found_in(tmp_path)
    assert await use(config(tmp_path, key=KEY, cipher="chachapoly"), 0) == 20
    assert "Encrypting the store with ChaCha20-Poly1305" in caplog.messages
    assert found_in(tmp_path) == []


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"key": "wrong"}, "unable to recover keys"),
        ({"key": "wrong", "prev_key": "too"}, "nor is prev_key"),
        ({}, "no main key"),
        ({"prev_key": KEY}, "no main key"),
    ],
)
async def test_the_wrong_key(tmp_path: Path, keys: dict[str, str], text: str) -> None:
    await use(config(tmp_path, key=KEY), 3)
    before = (tmp_path / "jetstream/phloem/data.mdb").read_bytes()
    with pytest.raises(ConfigError, match=text):
        async with server(config(tmp_path, **keys)):
            raise AssertionError
    assert (tmp_path / "jetstream/phloem/data.mdb").read_bytes() == before
    assert await use(config(tmp_path, key=KEY), 0) == 3


async def test_a_damaged_store_is_mended_encrypted(tmp_path: Path) -> None:
    await use(config(tmp_path, key=KEY), 3)
    path = tmp_path / "jetstream/phloem/data.mdb"
    data = bytearray(path.read_bytes())
    data[struct.calcsize("P") + 2] ^= 4  # what kind of page a head of the file is
    path.write_bytes(data)
    assert await use(config(tmp_path, key=KEY), 0) == 3
    assert list(path.parent.parent.glob("phloem.damaged-*"))
    assert found_in(tmp_path) == []


async def test_a_reload_shows_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with server(config(tmp_path, key=KEY)) as broker:
        changed = config(tmp_path, key="the next secret", prev_key=KEY) | {"host": "127.0.0.1", "port": -1}
        assert not reload(broker, lambda: merge(load_mapping(changed), {}))
    assert "config reload not supported for JetStreamKey" in caplog.text
    assert KEY not in caplog.text
    assert "the next secret" not in caplog.text


def test_where_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf, file = tmp_path / "phloem.conf", tmp_path / "store-key"
    file.write_text(KEY + "\n")

    def said(text: str) -> str:
        conf.write_text(text)
        keys = keys_of(merge(load(conf), {}))
        assert keys is not None
        assert KEY not in repr(keys)
        return keys.key

    monkeypatch.setenv("STORE_KEY", json.dumps(KEY))
    assert said('jetstream { store_dir: "x", key: $STORE_KEY }') == KEY
    assert said(f'jetstream {{}}\nphloem {{ store_key_file: "{file}" }}') == KEY
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert said('jetstream {}\nphloem { store_key_file: "store-key" }') == KEY
    with pytest.raises(ConfigError, match="cannot both be set"):
        said('jetstream { key: "a" }\nphloem { store_key_file: "store-key" }')
    with pytest.raises(ConfigError, match="cannot be read"):
        said('jetstream {}\nphloem { store_key_file: "other" }')
    file.write_text("\n")
    with pytest.raises(ConfigError, match="there is no key in it"):
        said('jetstream {}\nphloem { store_key_file: "store-key" }')
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set"):
        said('jetstream {}\nphloem { store_key_file: "store-key" }')
    conf.write_text("jetstream {}")
    assert keys_of(merge(load(conf), {})) is None


def test_an_unknown_cipher() -> None:
    with pytest.raises(ConfigError, match='Unknown cipher type: "des"'):
        load_mapping({"jetstream": {"cipher": "des"}})
