"""Where a device's files go: a folder, a tar file, or standard output as tar, on the way to the device."""

import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from phloem.hub.fleet.enrolment import CREDS, Bundle
from phloem.hub.fleet.folder import FOLDER_MODE
from phloem.shared.errors import ConfigError
from phloem.shared.security.nkeys import wipe
from phloem.shared.server.secret_files import SECRET_MODE, write_secret

STDOUT = "-"


def is_tar(out: str) -> bool:
    """Whether it becomes one file, and not a folder."""
    return out == STDOUT or out.endswith(".tar")


def check_free(out: str, names: Sequence[str], *, replace: bool) -> None:
    """Whether files can be written there, before a key is made for them.

    Raises:
        ConfigError: They are there already, or the terminal would show a secret.
    """
    if out == STDOUT:
        if sys.stdout.isatty():
            raise ConfigError("a tar with a secret in it is not shown on a terminal: send it through a pipe")
        return
    wanted = [Path(out)] if is_tar(out) else [place(out, name, names) / CREDS for name in names]
    for path in wanted:
        if path.exists() and not replace:
            raise ConfigError(f"{path} is there already")


def write_out(out: str, bundles: Sequence[Bundle], now_s: int, *, replace: bool) -> None:
    """Write the files of some devices; with several, each has a folder of its own.

    Raises:
        OSError: It does not work.
    """
    names = [bundle.name for bundle in bundles]
    if is_tar(out):
        content = _tar(bundles, now_s)
        try:
            if out == STDOUT:
                sys.stdout.buffer.write(content)
                sys.stdout.buffer.flush()
            else:
                write_secret(out, content, replace=replace)
        finally:
            wipe(content)
        return
    for bundle in bundles:
        folder = place(out, bundle.name, names)
        if not folder.is_dir():
            folder.mkdir(FOLDER_MODE, parents=True)
        for file, text in bundle.files().items():
            if file == CREDS or not (folder / file).exists():  # a configuration may have been added to
                write_secret(folder / file, text, replace=replace)


def place(out: str, name: str, names: Sequence[str]) -> Path:
    """The folder of one of ``names`` when they are written to the folder ``out``."""
    return Path(out) / name if len(names) > 1 else Path(out)


def _tar(bundles: Sequence[Bundle], now_s: int) -> bytearray:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for bundle in bundles:
            folder = f"{bundle.name}/" if len(bundles) > 1 else ""
            for file, text in bundle.files().items():
                entry = tarfile.TarInfo(folder + file)
                entry.size, entry.mode, entry.mtime = len(text), SECRET_MODE, now_s
                tar.addfile(entry, io.BytesIO(text))
    return bytearray(whole.getbuffer())
