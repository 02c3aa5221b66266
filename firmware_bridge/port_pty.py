"""A pseudo-terminal that phloem makes: another program on this machine opens the link and is the device.

The link stays while the port does, also when the programs behind it come and go: our own descriptor of their end
keeps the line up. What is written while nobody has it open waits in the kernel, at most 4 KiB.
"""

import os
import tty
from pathlib import Path

from phloem.firmware_bridge.port import PlainLine
from phloem.firmware_bridge.port_errors import PortRefused


class PtyLine(PlainLine):
    """Both ends of a pseudo-terminal, of which the far one is kept for whoever opens the link."""

    def __init__(self, ours: int, theirs: int, link: Path) -> None:
        super().__init__(str(link))
        self._ours, self._theirs, self._link = ours, theirs, link

    def fileno(self) -> int:
        """Our end's."""
        return self._ours

    def close(self) -> None:
        """Close; the link goes, unless it is somebody else's by now."""
        unlink_pty(self._link, os.ttyname(self._theirs))
        os.close(self._ours)
        os.close(self._theirs)


def folder() -> Path:
    """Where links without a path are: the service's runtime folder, the user's, or one of the temporary folder."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):  # systemd's may be several
        if given := os.environ.get(name, "").partition(":")[0]:
            return Path(given) / "pty" if name == "RUNTIME_DIRECTORY" else Path(given) / "phloem" / "pty"
    import tempfile  # noqa: PLC0415  (it brings much, and is hardly ever needed)

    return Path(tempfile.gettempdir()) / f"phloem-{os.getuid()}" / "pty"


def open_pty(name: str) -> PtyLine:
    """Make the pseudo-terminal and its link. Raises PortRefused, see below."""
    return PtyLine(*link_pty(name))


def unlink_pty(link: Path, tty: str) -> None:
    """Take the link away, if it still leads to ``tty``."""
    if os.path.realpath(link) == tty:
        link.unlink(missing_ok=True)


def link_pty(name: str) -> tuple[int, int, Path]:
    """Our end, which does not block, their end, and the link to it.

    Raises:
        PortRefused: The link cannot be made, or something that is no link is there.
    """
    link = Path(name) if name.startswith("/") else folder() / name
    if link.exists() and not link.is_symlink():
        raise PortRefused(str(link), reason=f"{link} is in the way of a link to a pseudo-terminal")
    ours, theirs = os.openpty()
    try:
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        beside = link.with_name(f".{link.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(os.ttyname(theirs))
        beside.replace(link)  # whoever looks sees the old one or the new one, never none
    except OSError as error:
        os.close(ours)
        os.close(theirs)
        raise PortRefused(str(link), error.errno or 0) from error
    return ours, theirs, link
