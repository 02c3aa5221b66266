"""An emulated machine on one disk, and its plug."""

import asyncio
import contextlib
import socket
import subprocess
from pathlib import Path

MEMORY_MB = 512
BOOT_TIMEOUT_S = 1200.0  # an emulator on a machine that has other work
LOOK_S = 0.1


class NotUp(Exception):
    """The service did not answer in time; with the end of the console."""


class Machine:
    """Inside the block it runs. Leaving it is pulling the plug: the emulator is killed, and with it everything that the
    guest has not handed to its disk. ``port`` on loopback is the service's."""

    def __init__(self, base: Path, disk: Path, console: Path) -> None:
        self._base, self._disk, self._console = base, disk, console
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

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
                    *("-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1"),
                    *("-drive", f"file={self._disk},format=raw,if=virtio,cache=writeback"),
                    *(
                        "-nic",
                        f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:4222",
                    ),
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
