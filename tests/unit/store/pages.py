"""Which pages of data.mdb are what, as of its last commit; and how one of them is damaged in place."""

import struct
from pathlib import Path

PAGE = 4096
HEAD, BRANCH, LEAF, NO_PAGE = 16, 1, 2, 2**64 - 1


def nodes(data: bytes, page: int) -> list[int]:
    lower = struct.unpack_from("<H", data, page * PAGE + 12)[0]
    return [
        page * PAGE + at for (at,) in struct.iter_unpack("<H", data[page * PAGE + HEAD : page * PAGE + lower])
    ]


def tree(data: bytes, root: int, found: dict[str, list[int]], leaf: str) -> None:
    if root == NO_PAGE:
        return
    flags = struct.unpack_from("<H", data, root * PAGE + 10)[0]
    if flags == LEAF:
        found[leaf].append(root)
    else:
        found["branch"].append(root)
    for node in nodes(data, root):
        low, high, more, size = struct.unpack_from("<HHHH", data, node)
        if flags == BRANCH:
            tree(data, low | high << 16 | more << 32, found, leaf)
        elif more == 2:  # the value is a tree
            tree(data, struct.unpack_from("<Q", data, node + 8 + size + 40)[0], found, "leaf")


def commit_of(data: bytes, head: int) -> int:
    """The number of the commit that a head tells of."""
    return int(struct.unpack_from("<Q", data, head * PAGE + HEAD + 128)[0])


def newer_head(data: bytes) -> int:
    """The page of the last commit's head."""
    return max((0, 1), key=lambda head: commit_of(data, head))


def last_commit(path: Path) -> int:
    """Its number: while it stays the same, nothing has been written to the file but damage."""
    with path.open("rb") as file:
        data = file.read(2 * PAGE)
    return commit_of(data, newer_head(data)) if len(data) == 2 * PAGE else 0


def pages_of(path: Path) -> dict[str, list[int]]:
    """Pages by kind: head (the newer one), free, names, leaf, branch."""
    data = path.read_bytes()
    newer = newer_head(data)
    found: dict[str, list[int]] = {"head": [newer], "free": [], "names": [], "leaf": [], "branch": []}
    for at, leaf in ((24, "free"), (72, "names")):
        tree(data, struct.unpack_from("<Q", data, newer * PAGE + HEAD + at + 40)[0], found, leaf)
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
    where = {"head": HEAD + 24 + 48 + 40, "free": 10, "names": 10, "leaf": 0, "branch": 10}[kind]
    flip(path, page * PAGE + where, 0x40 if kind == "leaf" else 8)
    return page


def live_keys(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Where the keys in use are in the file and how long they are, by tree; ``names`` and ``free`` are LMDB's own.
    Only of leaves."""
    data = path.read_bytes()
    newer = newer_head(data)
    roots = {
        name: struct.unpack_from("<Q", data, newer * PAGE + HEAD + at + 40)[0]
        for name, at in (("free", 24), ("names", 72))
    }
    for at, size in _keys(data, roots["names"]):
        roots[data[at : at + size].decode()] = struct.unpack_from("<Q", data, at + size + 40)[0]
    return {name: _keys(data, root) for name, root in roots.items()}


def _keys(data: bytes, root: int) -> list[tuple[int, int]]:
    if root == NO_PAGE:
        return []
    leaf = struct.unpack_from("<H", data, root * PAGE + 10)[0] == LEAF
    found = []
    for node in nodes(data, root):
        low, high, more, size = struct.unpack_from("<HHHH", data, node)
        found += [(node + 8, size)] if leaf else _keys(data, low | high << 16 | more << 32)
    return found
