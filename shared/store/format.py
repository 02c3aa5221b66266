"""Which format the folder of a store has, so that no version takes for damage what a later one wrote, and repairs it.

A folder of format 1 says nothing. From 2 on a file ``format`` holds the number on its first line, and is on the disk
before anything else of that format is. A format is read one version before it is written (docs/device.md): so who goes
back by one version can read what the later one has left, and ``READS`` is at least ``WRITES``. What stores of each
format look like is kept in ``tests/vectors``.
"""

import os

FILE = "format"
WRITES = 1
READS = 1  # this one and all before it
SIZE = 64  # of the file, at most; more is none


def strange(folder: str) -> str:
    """Why this version must leave a folder alone; "": it need not, or there is none."""
    path = os.path.join(folder, FILE)
    try:
        with open(path, "rb") as file:
            number = file.read(SIZE).split(b"\n")[0]
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}; nothing was changed"
    if not number.isdigit():
        return f"{path} is damaged: it should hold the number of the store's format; nothing was changed"
    if not 1 <= int(number) <= READS:
        return (
            f"{folder} was written by a later version of phloem: its format is {int(number)}, and this version "
            f"reads up to {READS}; install that version again. Nothing was changed"
        )
    return ""
