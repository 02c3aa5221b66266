"""Files that tell other programs about this process: the id, and the ports it listens on."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

PID_MODE, PORTS_MODE = 0o600, 0o644


def write_pid_file(path: str | Path) -> None:
    """Write the process id without a newline; the file stays when the process ends, as nats-server's does.

    Raises:
        OSError: It cannot be written.
    """
    # Written in place: the file may have been made for us in a folder where we may not make files.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PID_MODE)
    with open(descriptor, "wb") as stream:
        stream.write(str(os.getpid()).encode())


def ports_file(folder: str | Path, executable: str = "") -> Path:
    """Where the ports file of this process belongs: ``<folder>/<executable>_<pid>.ports``."""
    return Path(folder) / f"{executable or _executable()}_{os.getpid()}.ports"


def write_ports_file(path: Path, urls: Mapping[str, Sequence[str]]) -> None:
    """Write ``{"nats":["nats://127.0.0.1:4222"],"monitoring":[...]}``; kinds without a URL are left out.

    Raises:
        OSError: It cannot be written.
    """
    present = {kind: list(addresses) for kind, addresses in urls.items() if addresses}
    _replace(path, msgspec.json.encode(present), PORTS_MODE)


def remove_file(path: str | Path) -> None:
    """Remove a file that was written here; if it is gone, that is as well."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _executable() -> str:
    """The program's name as it was called; ``python -m phloem`` is phloem, too."""
    name = os.path.basename(sys.argv[0])
    return "phloem" if name in ("", "-c", "-m", "__main__.py") else name


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Replace the file in one step: a program that waits for it never sees half of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(
            scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode
        )
        with open(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)  # whatever the umask
            stream.write(content)
        os.replace(scratch, path)
    except OSError:
        remove_file(scratch)
        raise
