"""Files with secrets: creds and seeds. Written so that nobody else can read them at any time, read into a buffer.

A file is written whole under another name, mode 0600 from its first moment, synced, and then takes its name.
"""

import contextlib
import os
import secrets
from pathlib import Path

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.security.nkeys import wipe
from phloem.shared.store.folder import sync_folder

SECRET_MODE = 0o600


def read_secret(path: str | Path) -> bytearray:
    """All of a file, in a buffer that the caller wipes.

    Raises:
        ConfigError: It is too large to be one.
        OSError: It cannot be read.
    """
    with open(path, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = bytearray(limits.CREDENTIALS_BYTES + 1 if size > limits.CREDENTIALS_BYTES else size + 1)
        have = 0
        while have < len(content):
            view = memoryview(content)[have:]
            got = stream.readinto(view)
            view.release()
            if not got:
                break
            have += got
            if have == len(content) <= limits.CREDENTIALS_BYTES:  # a pipe, or it has grown
                content = _larger(content)
    if have > limits.CREDENTIALS_BYTES:
        wipe(content)
        raise ConfigError(f"{path}: larger than {limits.CREDENTIALS_BYTES} bytes, no credentials")
    del content[have:]
    return content


def write_secret(path: str | Path, content: bytes | bytearray, *, replace: bool = False) -> None:
    """Write a file that only its owner can read, on the disk when this returns.

    Raises:
        FileExistsError: It is there, and not to be replaced.
        OSError: It cannot be written.
    """
    wanted = Path(path)
    # another one each time: a process that was killed may have left one under this one's number, and threads share it
    scratch = wanted.with_name(f".{wanted.name}.{os.getpid()}.{secrets.token_hex(8)}")
    descriptor = os.open(
        scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, SECRET_MODE
    )
    try:
        with open(descriptor, "wb", buffering=0) as stream:
            os.fchmod(descriptor, SECRET_MODE)  # whatever the umask
            rest = memoryview(content)
            while rest:
                rest = rest[stream.write(rest) :]
            os.fsync(descriptor)
        if replace:
            os.replace(scratch, wanted)
        else:
            os.link(scratch, wanted)  # fails if it is there, which os.replace does not
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)
    sync_folder(str(wanted.parent))


def _larger(content: bytearray) -> bytearray:
    grown = bytearray(min(2 * len(content), limits.CREDENTIALS_BYTES + 1))
    grown[: len(content)] = content
    wipe(content)
    return grown
