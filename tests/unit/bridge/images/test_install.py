"""Images out of an edge's bucket onto boards: in Python, in C, and by programs."""

import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.plugged_board import UID, make_stream
from tests.unit.bridge.images.rig import IMAGE, c_board, config, push, python_board, states
from tests.unit.bridge.rig import listen

from phloem.edge.app import Edge

WAY = ["queued", "downloading", "verifying", "flashing", "rebooting", "done"]


def board_of(language: str, path: Path) -> AbstractAsyncContextManager[object]:
    return c_board(path) if language == "c" else python_board(path)


@pytest.mark.parametrize("language", ["python", "c"])
async def test_from_the_bucket_to_an_edgelink_board(tmp_path: Path, language: str) -> None:
    edge_config = config(tmp_path, str(tmp_path / "tty"), {}, protocol="edgelink")
    async with board_of(language, tmp_path / "tty"):
        async with Edge(edge_config) as edge, listen(edge.client_url, "unused") as heard:
            await make_stream(heard.client, atomic=True)
            await push(heard.client, "fw 2")
            told = await states(heard.client, "fw 2")
            assert [state["state"] for state in told][-1] == "done"
            assert [state["state"] for state in told] == WAY
            assert (told[-1]["uid"], told[-1]["good"]) == (UID.hex(), "fw 2")
            await push(heard.client, "bad 3", IMAGE + b"3")
            (*_, last) = await states(heard.client, "bad 3")
            assert (last["state"], last["why"]) == ("rolled_back", "the board came back with fw 2")
            await push(heard.client, "fw 4", IMAGE + b"4", key=Ed25519PrivateKey.generate())
            (*_, last) = await states(heard.client, "fw 4")
            assert (last["state"], "has signed it" in last["why"]) == ("failed", True)
        async with Edge(edge_config) as edge, listen(edge.client_url, "unused") as heard:
            await push(heard.client, "fw 5", IMAGE + b"5", uid=UID.hex())
            (*_, last) = await states(heard.client, "fw 5")
            assert (last["state"], last["runs"]) == ("done", "fw 5")


FLASHER = """
import json, sys, pathlib
port, file, version, out = sys.argv[1:]
out = pathlib.Path(out)
done = json.loads(out.read_text()) if out.exists() else []
import fcntl, os, termios
fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.ioctl(fd, termios.TIOCEXCL)
out.write_text(json.dumps([*done, version]))
print("writing", version)
sys.exit(version == "2" and "no answer from the chip" or 0)
"""


async def test_by_a_program_that_gets_the_port_and_fails_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "phloem.bridge")
    flasher, done = tmp_path / "flasher.py", tmp_path / "done"
    flasher.write_text(FLASHER)
    tool = [sys.executable, str(flasher), "{port}", "{file}", "{version}", str(done)]
    async with (
        python_board(tmp_path / "tty"),
        Edge(config(tmp_path, str(tmp_path / "tty"), {"tool": tool})) as edge,
        listen(edge.client_url, "unused") as heard,
    ):
        await push(heard.client, "1")
        told = await states(heard.client, "1")
        assert [state["state"] for state in told] == WAY
        await push(heard.client, "2", IMAGE + b"2")
        (*_, last) = await states(heard.client, "2")
    assert last["state"] == "rolled_back"
    assert last["why"].endswith("ended with 1: writing 2; no answer from the chip")
    assert json.loads(done.read_text()) == ["1", "2", "1"]
    assert "firmware of s: writing 1" in caplog.messages


async def test_a_download_that_was_cut_goes_on(tmp_path: Path) -> None:
    """The bridge ends in the middle of it, and only what is missing is fetched."""
    big = bytes(range(256)) * 4096  # 8 chunks
    edge_config = config(tmp_path, str(tmp_path / "tty"), {"tool": ["true"]})
    part = tmp_path / "firmware" / "s"
    async with python_board(tmp_path / "tty"):
        async with Edge(edge_config) as edge, listen(edge.client_url, "unused") as heard:
            await push(heard.client, "1", big)
            while not list(part.glob("*.at")):  # noqa: ASYNC110
                await asyncio.sleep(0)
        before = [json.loads(at.read_bytes())["bytes"] for at in part.glob("*.at")]
        async with Edge(edge_config) as edge, listen(edge.client_url, "unused") as heard:
            (*_, last) = await states(heard.client, "1")
    assert last["state"] == "done"
    assert before
    assert 0 < before[0] <= len(big)
    (image,) = part.glob("*.bin")
    assert image.read_bytes() == big


async def test_the_bridge_is_restarted_while_the_board_receives(tmp_path: Path) -> None:
    edge_config = config(tmp_path, str(tmp_path / "tty"), {}, protocol="edgelink")
    async with python_board(tmp_path / "tty") as plugged:
        async with Edge(edge_config) as edge, listen(edge.client_url, "unused") as heard:
            await make_stream(heard.client, atomic=True)
            await push(heard.client, "fw 2", IMAGE * 40)
            while len(plugged.board.image) < 5 * len(IMAGE):  # noqa: ASYNC110
                await asyncio.sleep(0)
        record = json.loads((tmp_path / "firmware" / UID.hex() / "record.json").read_bytes())
        reached = len(plugged.board.image)
        assert (record["state"], reached < 40 * len(IMAGE)) == ("flashing", True)
        least: list[int] = []
        plugged.image_sizes = least
        async with Edge(edge_config) as edge, listen(edge.client_url, "unused") as heard:
            (*_, last) = await states(heard.client, "fw 2")
    assert (last["state"], last["runs"]) == ("done", "fw 2")
    assert min(least) >= reached, "the board went on where it was"


async def test_a_board_takes_its_state_to_another_port(tmp_path: Path) -> None:
    edge_config = config(tmp_path, str(tmp_path / "tty"), {}, protocol="edgelink")
    other = edge_config["serial"]["s"] | {"device": str(tmp_path / "tty2")}
    edge_config["serial"]["t"] = other
    async with Edge(edge_config) as edge, listen(edge.client_url, "unused") as heard:
        await make_stream(heard.client, atomic=True)
        async with python_board(tmp_path / "tty"):
            await push(heard.client, "fw 2")
            (*_, last) = await states(heard.client, "fw 2")
            assert (last["state"], last["port"]) == ("done", "s")
        async with python_board(tmp_path / "tty2"):
            await push(heard.client, "fw 3", IMAGE + b"3")
            told = await states(heard.client, "fw 3")
    assert (told[-1]["state"], told[-1]["runs"], told[-1]["port"]) == ("done", "fw 3", "t")
    assert [path.name for path in (tmp_path / "firmware").iterdir()] == [UID.hex()]
