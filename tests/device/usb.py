"""A USB adapter on a real kernel: qemu's usb-serial is an FTDI FT232BM, which Linux drives with ftdi_sio. The bridge
runs under its own unit and sandbox; the adapter comes when it has long started, goes and comes again.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.device import image
from tests.device.load import PATIENCE_S
from tests.device.machine import Machine, with_shell
from tests.device.story import Place, Story

PORT = "board"
CONFIG = """\
phloem {{ unix_socket: "/run/phloem/nats.sock" }}
serial {{
  {port} {{
    device: "by-id:*QEMU_USB_SERIAL*"
    baud: 115200
    subject: "board.lines"
    command_subject: "board.command"
    port_subject: "board.port"
    dtr: {dtr}
  }}
}}
"""
TTY = "/dev/ttyUSB0"
# What the driver has set its lines to, and what it counted (TIOCGICOUNT), through the bridge's own descriptor: whoever
# opens a port raises its lines.
LOOK = """python3 -c '
import ctypes, fcntl, os, struct, subprocess, termios
pid = int(subprocess.check_output(["systemctl", "show", "-p", "MainPID", "--value", "phloem-bridge"]))
folder = f"/proc/{pid}/fd"
number = next(int(name) for name in os.listdir(folder) if os.readlink(f"{folder}/{name}").startswith("/dev/tty"))
fd = ctypes.CDLL(None).syscall(438, os.pidfd_open(pid), number, 0)  # pidfd_getfd
held = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCMGET, bytes(4)))[0]
found = struct.unpack("20i", fcntl.ioctl(fd, 0x545D, bytes(80)))
print("DTR", "on" if held & termios.TIOCM_DTR else "off", "RTS", "on" if held & termios.TIOCM_RTS else "off")
print("rx", found[4], "frame", found[6], "overrun", found[7], "parity", found[8], "brk", found[9])'"""
LINES_SAID = 500
WAIT_S = 600.0  # on a machine that has other work


class Board:
    """The other end of the cable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.heard = b""

    async def __aenter__(self) -> "Board":
        self._reader, self._writer = await asyncio.open_unix_connection(str(self._path))
        self._hearing = asyncio.create_task(self._hear())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._hearing.cancel()
        self._writer.close()

    async def _hear(self) -> None:
        while data := await self._reader.read(4096):
            self.heard += data

    async def say(self, line: str) -> None:
        """A line."""
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()


class Listener:
    """What the bridge has published."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.lines: list[str] = []
        self.events: list[str] = []
        self._news = asyncio.Event()

    async def begin(self) -> None:
        """Subscribes."""
        await self._client.subscribe("board.lines", cb=self._line)
        await self._client.subscribe("board.port.>", cb=self._event)
        await self._client.flush()

    async def _line(self, message: Msg) -> None:
        self.lines.append(message.data.decode(errors="replace"))
        self._news.set()

    async def _event(self, message: Msg) -> None:
        if not message.subject.endswith(".state"):
            self.events.append(message.subject.rpartition(".")[2])
            self._news.set()

    async def until(self, what: str, among: list[str]) -> float:
        """Seconds until it is there. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.timeout(WAIT_S):
            while what not in among:
                self._news.clear()
                await self._news.wait()
        return loop.time() - start

    async def publish(self, subject: str, data: bytes) -> None:
        """A message."""
        await self._client.publish(subject, data)
        await self._client.flush()

    async def state(self) -> dict[str, Any]:
        """The port's figures."""
        answer = await self._client.request("board.port", b"state", timeout=PATIENCE_S)
        found: dict[str, Any] = json.loads(answer.data)
        return found


async def plug(machine: Machine) -> None:
    """The adapter is plugged in."""
    await machine.tell("device_add", driver="usb-serial", chardev="board", id="plug", bus="usb.0")


async def unplug(machine: Machine) -> None:
    """It is pulled."""
    await machine.tell("device_del", id="plug")


async def _udev(machine: Machine, story: Story) -> None:
    """ModemManager leaves it alone, and it does not fall asleep."""
    tty = await machine.run(
        f"udevadm info -q property -n {TTY} | grep -E '^(ID_MM_|ID_SERIAL=|ID_VENDOR_ID|ID_MODEL_ID)'"
    )
    story.step("udev on the port", "; ".join(sorted(tty.split())), well="ID_MM_PORT_IGNORE=1" in tty)
    usb = await machine.run(
        f"path=$(udevadm info -q path -n {TTY}); while [ ! -e /sys$path/idVendor ]; do path=$(dirname $path); done; "
        "udevadm info -q property -p $path | grep ID_MM_; cat /sys$path/power/control"
    )
    seen = usb.split()
    story.step(
        "udev on the adapter, and its power", "; ".join(seen), well=seen == ["ID_MM_DEVICE_IGNORE=1", "on"]
    )


async def _talk(machine: Machine, story: Story, board: Board, listener: Listener, what: str) -> None:
    """Lines come one for one, and the kernel has counted as many bytes as were read."""
    listener.lines.clear()
    wanted = [f"reading {number}" for number in range(LINES_SAID)]
    for line in wanted:
        await board.say(line)
    await listener.until(wanted[-1], listener.lines)
    same = "in order" if listener.lines == wanted else "not those"
    story.step(f"{LINES_SAID} lines from the board, {what}", f"{len(listener.lines)} messages, {same}",
               well=listener.lines == wanted)  # fmt: skip


async def scenario(place: Place, story: Story) -> None:
    """All of it."""
    base = image.base(place.cache, image.USB_KERNEL)
    disk, board_path = place.folder / "disk.img", place.folder / "board.sock"

    def prepare(root: Path) -> None:
        with_shell(root)
        (root / "etc/phloem/bridge.conf").write_text(CONFIG.format(port=PORT, dtr="on"))

    image.make(place.cache, place.product, disk, kernel=image.USB_KERNEL, prepare=prepare)
    more = (
        "-device",
        "qemu-xhci,id=usb",
        "-chardev",
        f"socket,id=board,path={board_path},server=on,wait=off",
    )
    with Machine(base, disk, place.folder / "usb.log", more=more) as machine:
        await machine.answers()
        await machine.until("systemctl is-active phloem-bridge", "active")
        client = await nats.connect(f"nats://127.0.0.1:{machine.port}", connect_timeout=PATIENCE_S)
        listener = Listener(client)
        await listener.begin()
        try:
            async with Board(board_path) as board:
                await _plugged(machine, story, board, listener)
        finally:
            await client.close()


async def _plugged(machine: Machine, story: Story, board: Board, listener: Listener) -> None:
    began = asyncio.get_running_loop().time()
    await plug(machine)
    try:
        await listener.until("opened", listener.events)
    except TimeoutError:
        story.step(
            "plugged in", await machine.run("journalctl -q -o cat -u phloem-bridge | tail -3"), well=False
        )
        return
    story.step("plugged in long after the bridge started, opened after",
               f"{asyncio.get_running_loop().time() - began:.1f} s")  # fmt: skip
    story.step("phloem bridge --list", (await machine.run("phloem bridge --list 2>&1")).replace("\n", "; "))
    await _udev(machine, story)
    await _talk(machine, story, board, listener, "at first")
    lines = (await machine.run(LOOK)).splitlines()[0]
    story.step("modem lines as the driver has them, dtr: on", lines, well="DTR on" in lines)
    figures = await listener.state()
    counted = (await machine.run(LOOK)).splitlines()[1]
    wanted = ("path", "frames", "bytes_read", "bytes_written", "opens", "losses", "line_errors")
    story.step(
        "figures of the port, and what the kernel counted",
        f"{json.dumps({name: figures.get(name) for name in wanted})}; {counted}",
        well=counted.startswith(f"rx {figures['bytes_read']} ")
        and set(figures["line_errors"].values()) == {0},
    )
    await _command(machine, story, board, listener)
    await unplug(machine)
    listener.events.clear()
    gone = await listener.until("lost", listener.events)
    left = await machine.run(f"ls {TTY} 2>&1; journalctl -q -o cat -u phloem-bridge | tail -1")
    story.step(
        "pulled: noticed after", f"{gone:.1f} s; {'; '.join(left.splitlines())}", well="No such" in left
    )
    await plug(machine)
    back = await listener.until("opened", listener.events)
    there = await machine.run("ls /dev/ttyUSB*")
    story.step("plugged in again: opened after", f"{back:.1f} s; {there}", well=there == TTY)
    await _talk(machine, story, board, listener, "plugged in again")
    listener.events.clear()
    await machine.run("sed -i 's/dtr: on/dtr: off/' /etc/phloem/bridge.conf; systemctl reload phloem-bridge")
    await listener.until(
        "opened", listener.events
    )  # the reload is asked for, not over, when systemctl returns
    lines = (await machine.run(LOOK)).splitlines()[0]
    story.step("modem lines as the driver has them, dtr: off, reloaded", lines, well="DTR off" in lines)
    listener.events.clear()
    await machine.run("systemctl kill -s KILL phloem-bridge")
    await listener.until("opened", listener.events)
    await _talk(machine, story, board, listener, "the bridge killed and started by systemd")


async def _command(machine: Machine, story: Story, board: Board, listener: Listener) -> None:
    """The way to the board."""
    await listener.publish("board.command", b"LED 1")
    for _ in range(100):
        if b"LED 1" in board.heard:
            break
        await asyncio.sleep(0.2)
    story.step(
        "a command to the board", repr(board.heard.decode(errors="replace")), well=b"LED 1" in board.heard
    )
