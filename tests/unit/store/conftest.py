"""A store that is left open has a thread and a map of LMDB's file: a 32-bit machine has address space for three."""

import threading
from collections.abc import Iterator

import pytest


def _open_stores() -> int:
    return sum(thread.name == "phloem-journal" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _stores_are_closed() -> Iterator[None]:
    before = _open_stores()
    yield
    assert _open_stores() <= before, "a store was left open"
