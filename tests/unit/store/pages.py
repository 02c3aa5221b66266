"""Which pages of data.mdb are what, as of its last commit; and how one of them is damaged in place.

Numbers of pages and transactions are as wide as the machine's ``size_t`` (``shared/store/lmdb.pxd``).
"""

import struct
from pathlib import Path

PAGE = 4096
WORD = struct.calcsize("P")
HEAD, TREE = WORD + 8, 8 + 5 * WORD
FLAGS, LOWER = WORD + 2, WORD + 4  # in a page's head
ROOT = 8 + 4 * WORD  # in a tree
TREES = HEAD + 8 + 2 * WORD  # in one of the first two pages: that of free pages, then that of names
TRANSACTION = TREES + 2 * TREE + WORD
BRANCH, LEAF, NO_PAGE = 1, 2, 2 ** (8 * WORD) - 1


def word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + WORD], "little")


def nodes(data: bytes, page: int) -> list[int]:
    lower = struct.unpack_from("<H", data, page * PAGE + LOWER)[0]
    return [
        page * PAGE + at for (at,) in struct.iter_unpack("<H", data[page * PAGE + HEAD : page * PAGE + lower])
    ]


def tree(data: bytes, root: int, found: dict[str, list[int]], leaf: str) -> None:
    if root == NO_PAGE:
        return
    flags = struct.unpack_from("<H", data, root * PAGE + FLAGS)[0]
    if flags == LEAF:
        found[leaf].append(root)
    else:
        found["branch"].append(root)
    for node in nodes(data, root):
        low, high, more, size = struct.unpack_from("<HHHH", data, node)
        if flags == BRANCH:
            tree(data, low | high << 16 | more << 32, found, leaf)
        elif more == 2:  # the value is a tree
            tree(data, word(data, node + 8 + size + ROOT), found, "leaf")


def pages_of(path: Path) -> dict[str, list[int]]:
    """Pages by kind: head (the newer one), free, names, leaf, branch."""
    data = path.read_bytes()
    newer = max((0, 1), key=lambda page: word(data, page * PAGE + TRANSACTION))
    found: dict[str, list[int]] = {"head": [newer], "free": [], "names": [], "leaf": [], "branch": []}
    for at, leaf in ((TREES, "free"), (TREES + TREE, "names")):
        tree(data, word(data, newer * PAGE + at + ROOT), found, leaf)
    return found


def flip(path: Path, offset: int, bits: int) -> None:
    """In place, as a disk does it: whoever has the file open sees it as well."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def spoil(path: Path, kind: str) -> int:
    """Damages one page of a kind, by what it says that it is; the page."""
    if kind == "flags":  # what a tree is said to be: its keys would be looked for in another order
        page = pages_of(path)["names"][0]
        data = path.read_bytes()
        node = nodes(data, page)[0]
        flip(path, node + 8 + struct.unpack_from("<H", data, node + 6)[0] + 4, 2)
        return page
    page = pages_of(path)[kind][0]
    where = {"head": TREES + TREE + ROOT, "free": FLAGS, "names": FLAGS, "leaf": 0, "branch": FLAGS}[kind]
    flip(path, page * PAGE + where, 0x40 if kind == "leaf" else 8)
    return page


def live_keys(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Where the keys in use are in the file and how long they are, by tree; ``names`` and ``free`` are LMDB's own.
    Only of leaves."""
    data = path.read_bytes()
    newer = max((0, 1), key=lambda page: word(data, page * PAGE + TRANSACTION))
    roots = {
        name: word(data, newer * PAGE + at + ROOT) for name, at in (("free", TREES), ("names", TREES + TREE))
    }
    for at, size in _keys(data, roots["names"]):
        roots[data[at : at + size].decode()] = word(data, at + size + ROOT)
    return {name: _keys(data, root) for name, root in roots.items()}


def _keys(data: bytes, root: int) -> list[tuple[int, int]]:
    if root == NO_PAGE:
        return []
    leaf = struct.unpack_from("<H", data, root * PAGE + FLAGS)[0] == LEAF
    found = []
    for node in nodes(data, root):
        low, high, more, size = struct.unpack_from("<HHHH", data, node)
        found += [(node + 8, size)] if leaf else _keys(data, low | high << 16 | more << 32)
    return found
