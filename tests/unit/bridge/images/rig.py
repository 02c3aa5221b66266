"""An edge with a board that takes images, a bucket, and what is said of it."""

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from tests.support.plugged_board import UID, Plugged
from tests.unit.bridge.boards.board import command_of
from tests.unit.bridge.rig import WAIT_S

from phloem.firmware_bridge.edgelink.messages import ImageStatus
from phloem.firmware_bridge.images.command import push_image

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
IMAGE = bytes(range(256)) * 5
ENDS = ("done", "failed", "rolled_back")


class Bootable(Plugged):
    """A simulated board with a bootloader: an image whose version begins with ``bad`` is not kept."""

    image_sizes: list[int] | None = None  # what it had of the image at each turn, if somebody wants to know

    def turn(self) -> None:
        super().turn()
        board = self.board
        if self.image_sizes is not None:
            self.image_sizes.append(len(board.image))
        if board._image_state.state == ImageStatus.COMPLETE and board._image_begun is not None:
            before = board.firmware
            board.boot_image(self.now())
            board.firmware = before if board.firmware.startswith("bad") else board.firmware
            super().turn()


@asynccontextmanager
async def python_board(path: Path) -> AsyncIterator[Bootable]:
    board = Bootable(path)
    async with board.sensor:
        board.turn()
        try:
            yield board
        finally:
            board.stop()


@contextmanager
def _c_board(path: Path) -> Iterator[None]:
    words = [*command_of("c"), "--live", "--uid", UID.hex(), "--every", "100", "--pty", str(path)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as board:
        try:
            yield
        finally:
            board.kill()


@asynccontextmanager
async def c_board(path: Path) -> AsyncIterator[None]:
    with await asyncio.to_thread(_c_board, path):
        while not path.is_symlink():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.001)
        yield


def config(tmp_path: Path, device: str, images: dict[str, Any], **port: Any) -> dict[str, Any]:
    settings = {"board": "pump", "keys": [PUBLIC], "state_dir": str(tmp_path / "firmware")}
    return {
        "listen": "127.0.0.1:-1",
        "jetstream": {"store_dir": str(tmp_path / "store")},
        "serial": {"s": {"device": device, "subject": "tele.s", "images": settings | images} | port},
    }


async def push(client: Client, version: str, image: bytes = IMAGE, uid: str = "", **more: Any) -> None:
    how: dict[str, Any] = {"board": "pump", "uid": uid, "version": version, "key": KEY} | more
    await push_image(client.jetstream(), "FIRMWARE", image, **how)


async def states(client: Client, version: str) -> list[dict[str, Any]]:
    """What is said of an image, each state once, to its end."""
    js, found = client.jetstream(), list[dict[str, Any]]()
    while True:
        try:
            bucket = await js.key_value("FIRMWARE_STATES")
            break
        except NotFoundError:
            await asyncio.sleep(0.01)
    watcher = await bucket.watchall(include_history=True)
    while not found or found[-1]["state"] not in ENDS:
        entry = await asyncio.wait_for(watcher.updates(WAIT_S), 2 * WAIT_S)
        if entry is None:
            continue
        told = json.loads(entry.value)
        if told.get("version") == version and told["state"] not in [before["state"] for before in found]:
            found.append(told)
    await watcher.stop()
    return found
