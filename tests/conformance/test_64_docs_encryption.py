"""The examples of NATS's documentation, as they stand there: JetStream whose files say nothing.

Chapter "Encryption at Rest" of "JetStream Administration". Where files are is said beside the documented block.
"""

from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from tests.support.brokers import Broker, Brokers
from tests.support.server_process import StartFailed

WRITTEN = """
jetstream : {
  cipher: chachapoly
  key : "6dYfBV0zzEkR3vxZCNjxmnVh/aIqgid1"
}
"""
FROM_ENVIRONMENT = """
jetstream : {
  cipher: chachapoly
  key: $JS_KEY
}
"""
SECRET = b"what nobody may read on the card"


def started(broker: Brokers, folder: Path, block: str) -> Broker:
    return broker.own(block, flags=("--store_dir", str(folder)))


async def connect(server: Broker) -> tuple[nats.NATS, JetStreamContext]:
    client = await nats.connect(f"nats://127.0.0.1:{server.process.port()}", allow_reconnect=False)
    return client, client.jetstream()


async def store(server: Broker) -> None:
    client, js = await connect(server)
    await js.add_stream(name="SAFE", subjects=["safe.>"])
    await js.publish("safe.a", SECRET, headers={"Which": SECRET.decode()})
    await client.close()


async def stored(server: Broker) -> bytes | None:
    client, js = await connect(server)
    try:
        return (await js.get_msg("SAFE", 1)).data
    finally:
        await client.close()


def in_the_clear(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if SECRET in path.read_bytes()]


@pytest.mark.parametrize("block", [WRITTEN, FROM_ENVIRONMENT], ids=["written", "from the environment"])
async def test_encrypted(
    broker: Brokers, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there after a restart, and in no file."""
    monkeypatch.setenv("JS_KEY", "mykey")
    folder = tmp_path / "js"
    await store(started(broker, folder, block))
    broker.stop_own()
    assert in_the_clear(folder) == []
    assert await stored(started(broker, folder, block)) == SECRET


async def test_without_encryption(broker: Brokers, tmp_path: Path) -> None:
    """What is looked for above would be found."""
    folder = tmp_path / "js"
    await store(started(broker, folder, "jetstream {}"))
    broker.stop_own()
    assert in_the_clear(folder)


async def test_another_cipher(broker: Brokers, tmp_path: Path) -> None:
    """The cipher may change, with the same key."""
    folder = tmp_path / "js"
    await store(started(broker, folder, WRITTEN))
    broker.stop_own()
    assert await stored(started(broker, folder, WRITTEN.replace("chachapoly", "aes"))) == SECRET


async def test_enabling_with_existing_data(broker: Brokers, tmp_path: Path) -> None:
    folder = tmp_path / "js"
    await store(started(broker, folder, "jetstream {}"))
    broker.stop_own()
    assert await stored(started(broker, folder, WRITTEN)) == SECRET


def test_a_variable_that_is_not_set(broker: Brokers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JS_KEY", raising=False)
    with pytest.raises(StartFailed, match="variable reference for 'JS_KEY'"):
        started(broker, tmp_path, FROM_ENVIRONMENT)
