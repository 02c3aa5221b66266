"""The machine that the doctor looks at: files of /proc, /sys, /etc below a root, commands, the broker's pages."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from phloem.edge.device.layout import ADMINISTRATOR, CONFIG_FOLDER
from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load, merge
from phloem.shared.server.options import Options

TIMEOUT_S = 5
PAGE_BYTES = 1 << 20


class Mount(NamedTuple):
    """Where a file system is mounted, of which kind, from which device, and whether it can be written to."""

    point: str
    kind: str
    source: str
    read_only: bool


class Patient:
    """Reads and asks; changes nothing. Below a root other than ``/`` no command is run and nobody is asked."""

    def __init__(self, root: Path = Path("/"), *, edge: str = "", bridge: str = "") -> None:
        self.root = root
        self.problems: list[str] = []  # of the configurations
        self.edge_file = Path(edge) if edge else self.at(f"{CONFIG_FOLDER}/edge.conf")
        self.bridge_file = Path(bridge) if bridge else self.at(f"{CONFIG_FOLDER}/bridge.conf")
        self.hub_file = self.at(f"{CONFIG_FOLDER}/hub.conf")
        # The package makes a device of a machine until somebody enables the hub (systemd/debian/postinst).
        enabled = self.at(f"{ADMINISTRATOR.units}/multi-user.target.wants/phloem-hub.service").is_symlink()
        self.is_hub = not edge and (enabled or (not self.edge_file.exists() and self.hub_file.exists()))
        self.broker = self._options(self.hub_file if self.is_hub else self.edge_file)
        self.bridge = self._options(self.bridge_file) if not self.is_hub else None

    @property
    def live(self) -> bool:
        """Whether it is this machine."""
        return self.root == Path("/")

    def at(self, path: str) -> Path:
        """A path below the root."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """The text of a file without the last line's end; "" if there is none."""
        try:
            return self.at(path).read_text(errors="replace").rstrip("\n")
        except OSError:
            return ""

    def number(self, path: str, default: int = 0) -> int:
        """A file that holds a number."""
        text = self.read(path)
        try:
            return int(text, 0)
        except ValueError:
            return default

    def fields(self, path: str) -> dict[str, str]:
        """A file of ``name: value`` or ``name value`` lines."""
        lines = (line.replace(":", " ", 1).split(None, 1) for line in self.read(path).splitlines())
        return {parts[0]: parts[1].strip() for parts in lines if len(parts) == 2}

    def run(self, *words: str) -> str | None:
        """What a command prints; None: there is no such command, or it may not be asked."""
        if not self.live:
            return None
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout

    def page(self, path: str) -> dict[str, Any] | None:
        """A page of the broker's monitoring; None: it has none, or does not answer."""
        options = self.broker
        if options is None or not options.http_port or not self.live:
            return None
        host = options.http_host or options.host
        host = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
        try:
            with urllib.request.urlopen(
                f"http://{host}:{options.http_port}{path}", timeout=TIMEOUT_S
            ) as answer:
                found = json.loads(answer.read(PAGE_BYTES))
        except urllib.error.HTTPError as error:
            return {"status": error.code, "error": error.read(1000).decode(errors="replace")}
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def mount_of(self, path: str) -> Mount | None:
        """The file system that a path is on; None: nobody says."""
        best: Mount | None = None
        for line in self.read("proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            fields, kinds = before.split(), after.split()
            if len(fields) < 6 or len(kinds) < 3:
                continue
            point = fields[4].replace("\\040", " ")
            below = point == "/" or path == point or path.startswith(f"{point}/")
            if below and (best is None or len(point) >= len(best.point)):
                options = {*fields[5].split(","), *kinds[2].split(",")}
                best = Mount(point, kinds[0], kinds[1], "ro" in options)
        return best

    def space(self, path: str) -> tuple[int, int, int] | None:
        """Bytes free for phloem's user and in all, and inodes free, of the nearest folder that exists."""
        at = self.at(path)
        while not at.exists() and at != at.parent:
            at = at.parent
        try:
            found = os.statvfs(at)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail

    def _options(self, path: Path) -> Options | None:
        if not path.exists():
            return None
        try:
            loaded = load(path)
            self.problems += [f"{path}: {warning}" for warning in loaded.warnings]
            return merge(loaded, {})
        except (ConfigError, OSError) as error:
            self.problems.append(str(error))
            return None
