"""A journal's file read back (frames.pyx)."""

from typing import NamedTuple

class Frames(NamedTuple):
    """What a journal file has: places of valid batches, and damaged stretches with the batches beside them."""

    frames: list[int]
    last_batch: int
    damaged: list[tuple[int, int, int, int]]

def frames(data: bytes, generation: int) -> Frames: ...
def open_batch(data: bytes, at: int) -> bool:
    """Whether every record of a valid batch can be read; one that cannot is not applied."""
