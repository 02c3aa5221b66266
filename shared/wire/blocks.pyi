"""The typed contract of blocks.pyx; what it is for is called by compiled modules."""

def compressed(data: bytes, depth: int) -> bytes:
    """One block of S2 as ``encode_dense`` writes it at this depth, or ``encode_fast`` at 0. Raises ValueError for more
    than 131,072 bytes (65,536 at depth 0) and for none."""
