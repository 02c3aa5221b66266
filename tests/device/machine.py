"""An emulated machine on one disk, and its plug."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MEMORY_MB = 512
BOOT_TIMEOUT_S = 1200.0  # an emulator on a machine that has other work
LOOK_S = 0.1
DONE = "that-was-all"  # a shell that was cut off did not say it
SHELL_PORT = 2323
SHELL_TIMEOUT_S = 1200.0
SHELL_SOCKET = f"""\
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=0.0.0.0:{SHELL_PORT}
Accept=yes
[Install]
WantedBy=sockets.target
"""
SHELL_SERVICE = """\
[Unit]
DefaultDependencies=no
[Service]
ExecStart=-/bin/bash
StandardInput=socket
StandardError=socket
"""


class NotUp(Exception):
    """The service did not answer in time; with the end of the console."""


class Machine:
    """Inside the block it runs. Leaving it is pulling the plug: the emulator is killed, and with it everything that the
    guest has not handed to its disk. ``port`` on loopback is the service's. ``words`` are more for the kernel, ``more``
    for the emulator."""

    def __init__(
        self, base: Path, disk: Path, console: Path, *, words: str = "rw", more: Sequence[str | Path] = ()
    ) -> None:
        self._base, self._disk, self._console = base, disk, console
        self._words, self._more = words, more
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor = console.with_suffix(".qmp")
        with (
            socket.create_server(("127.0.0.1", 0)) as free,
            socket.create_server(("127.0.0.1", 0)) as another,
        ):
            self.port: int = free.getsockname()[1]
            self._shell: int = another.getsockname()[1]

    def __enter__(self) -> "Machine":
        boot = self._base / "boot"
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                [
                    *(
                        "qemu-system-x86_64",
                        "-accel",
                        "tcg",
                        "-cpu",
                        "max",
                        "-m",
                        str(MEMORY_MB),
                        "-nographic",
                    ),
                    *("-no-reboot", "-kernel", str(next(boot.glob("vmlinuz-*")))),
                    *("-initrd", str(next(boot.glob("initrd.img-*")))),
                    *("-append", f"root=/dev/vda {self._words} console=ttyS0 quiet panic=-1 mitigations=off"),
                    *("-drive", f"file={self._disk},format=raw,if=virtio,cache=writeback"),
                    *(
                        "-nic",
                        f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:4222"
                        f",hostfwd=tcp:127.0.0.1:{self._shell}-:{SHELL_PORT}",
                    ),
                    *("-qmp", f"unix:{self._monitor},server=on,wait=off"),
                    *map(str, self._more),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.pull_the_plug()

    def pull_the_plug(self) -> None:
        """Now. Harmless when it is out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def answers(self) -> float:
        """Seconds until the service greets.

        Raises:
            NotUp: It does not.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() - start < BOOT_TIMEOUT_S:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    try:
                        if (await reader.readline()).startswith(b"INFO "):
                            return loop.time() - start
                    finally:
                        writer.close()
            await asyncio.sleep(LOOK_S)
        raise NotUp(self._console.read_text(errors="replace")[-2000:])

    async def run(self, script: str) -> str:
        """What a shell in the guest says, run by root; needs ``with_shell``.

        Raises:
            NotUp: It does not end.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + SHELL_TIMEOUT_S
        while loop.time() < end:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout_at(end):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._shell)
                    try:
                        writer.write(f"{script}\necho {DONE}\n".encode())
                        writer.write_eof()
                        said = (await reader.read()).decode(errors="replace")
                    finally:
                        writer.close()
                    if said.endswith(f"{DONE}\n"):
                        return said.removesuffix(f"{DONE}\n").strip()
            await asyncio.sleep(LOOK_S)
        raise NotUp(f"{script}: no end\n{self._console.read_text(errors='replace')[-2000:]}")

    async def until(
        self, script: str, wanted: str, for_s: float = SHELL_TIMEOUT_S, every_s: float = 3.0
    ) -> float:
        """Seconds until this is the last line of what a shell says, which is asked with pauses of ``every_s``.

        Raises:
            NotUp: It does not.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        while (said := await self.run(script)).splitlines()[-1:] != [wanted]:
            if loop.time() - start > for_s:
                raise NotUp(f"{script}: {said!r}, not {wanted!r}")
            await asyncio.sleep(every_s)
        return loop.time() - start

    async def tell(self, command: str, **arguments: object) -> Any:
        """The emulator's monitor: what it returns."""
        reader, writer = await asyncio.open_unix_connection(os.fspath(self._monitor))
        try:
            await reader.readline()
            for execute, given in (("qmp_capabilities", {}), (command, arguments)):
                writer.write(json.dumps({"execute": execute, "arguments": given}).encode())
                answer: dict[str, Any] = {}
                while "return" not in answer and "error" not in answer:  # events may come before
                    answer = json.loads(await reader.readline())
            if "error" in answer:
                raise NotUp(f"{command}: {answer['error']['desc']}")
            return answer["return"]
        finally:
            writer.close()


def with_shell(root: Path) -> None:
    """A root shell for whoever reaches the machine, which is the test alone."""
    units = root / "etc/systemd/system"
    (units / "shell.socket").write_text(SHELL_SOCKET)
    (units / "shell@.service").write_text(SHELL_SERVICE)
    wants = units / "sockets.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "shell.socket").symlink_to("/etc/systemd/system/shell.socket")
