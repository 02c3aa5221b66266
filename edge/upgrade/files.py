"""What lies in ``/var/lib/phloem-upgrade`` while a device gets another version, and what looks there at the next boot.

state          phase, old version, new version: a line each; there only while something is to be done
old.deb        the version that served, as a package
resume         what the boot runs: a shell script, because phloem's own files may be of two versions then
new/           the new package's files, to be looked at
store/         the copy of the store
"""

import os
import shutil
from pathlib import Path

from phloem.edge.upgrade import copying
from phloem.edge.upgrade.machine import MIXED, Phase, Record, UpgradeError
from phloem.edge.upgrade.package import durable

FOLDER = "var/lib/phloem-upgrade"
UNIT = "phloem-upgrade.service"
UNITS = "etc/systemd/system"

BOOT_UNIT = f"""\
# phloem upgrade writes this file, and removes it when it is done
[Unit]
Description=phloem: back to the version that served, after an upgrade that was cut short
ConditionPathExists=/{FOLDER}/state
RequiresMountsFor=/{FOLDER} /var/lib/dpkg /usr
Before=phloem-edge.service phloem-bridge.service phloem-hub.service

[Service]
Type=oneshot
ExecStart=/bin/sh /{FOLDER}/resume
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""

# Doing it twice does what doing it once does, so that it may be cut short as well. Nothing is started here: services
# wait for this one, and waiting for them would never end.
RESUME = f"""\
#!/bin/sh
# phloem upgrade writes this file: run at boot while {FOLDER}/state is there.
folder=${{1:-/{FOLDER}}}
{{ read -r phase && read -r old; }} <"$folder/state" || exit 0
case "$phase" in
{"|".join(MIXED)})
    echo "phloem: an upgrade was cut short; installing $old again"
    export PHLOEM_INSTALL=no-start DEBIAN_FRONTEND=noninteractive
    tries=0
    until dpkg --force-confold --force-confdef --force-downgrade --install "$folder/old.deb"; do
        tries=$((tries + 1))
        if [ "$tries" -ge 20 ]; then echo "phloem: $old cannot be installed; phloem upgrade tries again"; exit 1; fi
        sleep "${{PHLOEM_PAUSE:-3}}"
    done
    sync
    ;;
esac
rm -f "$folder/state"
sync
rm -rf "$folder/new" "$folder/store" "$folder/old"
"""


class Work:
    """The folder, below a root that is ``/`` but for tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.folder = root / FOLDER
        self.state = self.folder / "state"
        self.old = self.folder / "old.deb"
        self.new = self.folder / "new"
        self.store = self.folder / "store"
        self._unit = root / UNITS / UNIT
        self._link = root / UNITS / "multi-user.target.wants" / UNIT

    def make(self) -> None:
        """The folder is there, for root alone. Raises UpgradeError: it could not be written to."""
        copying.room(self.folder, 1, "the upgrade", "make room there")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable(self.folder.parent)

    def load(self) -> Record | None:
        """Raises UpgradeError: what is written cannot be read, which a power cut does not do."""
        try:
            phase, old, new = self.state.read_text().split("\n")[:3]
            return Record(Phase(phase), old, new)
        except FileNotFoundError:
            return None
        except ValueError:
            raise UpgradeError(
                f"{self.state} is damaged; {self.old} is the version that served: dpkg -i it, and remove {self.folder}"
            ) from None

    def save(self, record: Record) -> None:
        """On the disk when this returns; the former or this one, whenever the plug is pulled."""
        self.make()
        self._write(self.state, "".join(f"{line}\n" for line in record))

    def clear(self) -> None:
        """Nothing is to be done any more."""
        self.state.unlink(missing_ok=True)
        if self.folder.exists():
            durable(self.folder)

    def arm(self) -> None:
        """The next boot looks here."""
        self._write(self.folder / "resume", RESUME)
        self._write(self._unit, BOOT_UNIT)
        self._link.parent.mkdir(parents=True, exist_ok=True)
        if not self._link.is_symlink():
            self._link.symlink_to(f"../{UNIT}")
        durable(self._link.parent)

    def tidy(self) -> None:
        """Nothing is left of it but the old package, for who wants to go back by hand."""
        self._link.unlink(missing_ok=True)
        self._unit.unlink(missing_ok=True)
        for folder in (self.new, self.store, self.folder / "old"):
            shutil.rmtree(folder, ignore_errors=True)
        (self.folder / "resume").unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.phloem")
        scratch.write_text(text)
        durable(scratch)
        os.replace(scratch, path)
        durable(path.parent)
