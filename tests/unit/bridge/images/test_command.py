"""``phloem firmware`` and a bridge, both with the real nats-server."""

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.unit.bridge.images.rig import IMAGE, KEY, python_board, states
from tests.unit.bridge.rig import NatsServer, listen

from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.images.command import firmware
from phloem.firmware_bridge.nats_publisher import NatsPublisher
from phloem.firmware_bridge.settings import SerialSettings
from phloem.shared.clock import SystemClock


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


async def test_push_and_status_with_a_bridge_between(tmp_path: Path, key: Path) -> None:
    server, file = NatsServer(), tmp_path / "image.bin"
    file.write_bytes(IMAGE)
    await server.start("-js", "-sd", str(tmp_path / "js"))

    def run(*words: str) -> str:
        done = CliRunner().invoke(firmware, [*words, "--server", server.url], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    try:
        pushing = ("push", str(file), "--board", "pump", "--version", "1.0", "--sign", str(key))
        assert "pump is 1.0, 1280 bytes, in FIRMWARE" in await asyncio.to_thread(run, *pushing)
        assert await asyncio.to_thread(run, "status", "--json") == ""
        images = {
            "board": "pump",
            "keys": [str(key.with_suffix(".pub"))],
            "state_dir": str(tmp_path / "firmware"),
            "tool": ["true", "{port}", "{file}"],
        }
        settings = SerialSettings(device=str(tmp_path / "tty"), subject="tele.s", name="a.b", images=images)
        async with (
            python_board(tmp_path / "tty"),
            NatsPublisher([server.url], Random(1)) as publisher,
            Bridge([settings], publisher, SystemClock(), Random(1), requests=publisher),
            listen(server.url, "unused") as heard,
        ):
            await states(heard.client, "1.0")
            (line,) = (await asyncio.to_thread(run, "status", "--json")).splitlines()
            shown = await asyncio.to_thread(run, "status")
    finally:
        await server.stop()
    told = json.loads(line)
    assert (told["port"], told["state"], told["version"], told["size"]) == ("a.b", "done", "1.0", 1280)
    assert shown.splitlines()[1].split()[:4] == ["a.b", "pump", "1.0", "done"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--board", "pu mp", "--version", "1"], "--board must be"),
        (["--board", "pump", "--version", "1", "--uid", "xy"], "--uid must be"),
        (["--board", "pump", "--version", " 1"], "--version must be"),
    ],
)
def test_what_no_bridge_would_take_is_not_pushed(key: Path, words: list[str], why: str) -> None:
    done = CliRunner().invoke(firmware, ["push", str(key), "--sign", str(key), *words])
    assert done.exit_code == 2
    assert why in done.output


def test_a_key_that_is_none(key: Path) -> None:
    public = str(key.with_suffix(".pub"))
    done = CliRunner().invoke(
        firmware, ["push", public, "--sign", public, "--board", "pump", "--version", "1"]
    )
    assert done.exit_code == 2
    assert public in done.output
