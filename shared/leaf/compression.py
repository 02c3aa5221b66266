"""Which compression a leaf link gets: nats-server's modes, and what two of them agree on. Pure (wire 2.8).

Each side says its mode in INFO and computes its own level; a level counts for what that side sends. ``s2_auto``
follows the round trip: up to the first threshold nothing is compressed (but framed and summed), up to the next
``s2_fast``, then ``s2_better``, then ``s2_best``.
"""

from typing import NamedTuple

import msgspec

from phloem.shared.errors import LinkError

NOT_SUPPORTED = "not supported"
OFF = "off"
ACCEPT = "accept"
AUTO = "s2_auto"
LEVELS = ("s2_uncompressed", "s2_fast", "s2_better", "s2_best")
MODES = {  # as they may be written
    **dict.fromkeys(("on", "enabled", "true", "auto", AUTO), AUTO),
    **dict.fromkeys(("off", "disabled", "false"), OFF),
    **dict.fromkeys(("not supported", "not_supported"), NOT_SUPPORTED),
    "accept": ACCEPT,
    **{word: f"s2_{word.removeprefix('s2_')}" for word in ("fast", "better", "best", *LEVELS[1:])},
}
MILLISECOND_NS = 1_000_000
THRESHOLDS_NS = (10 * MILLISECOND_NS, 50 * MILLISECOND_NS, 100 * MILLISECOND_NS)
THRESHOLDS_MAX = 4


class Compression(msgspec.Struct, frozen=True):
    """A side's wish. ``thresholds_ns``, of ``s2_auto`` alone: up to which round trip each level is taken; 0 leaves it
    out."""

    mode: str = AUTO
    thresholds_ns: tuple[int, ...] = THRESHOLDS_NS

    @property
    def negotiates(self) -> bool:
        """Whether INFO from the other side is answered at all."""
        return self.mode not in (OFF, NOT_SUPPORTED)

    @property
    def in_info(self) -> str:
        """What INFO says; empty for nothing."""
        return "" if self.mode == NOT_SUPPORTED else self.mode


DEFAULT = Compression()


class Agreed(NamedTuple):
    """What came of it: the level's number and the thresholds that it follows, if the link is compressed."""

    mode: str  # for monitoring and CONNECT; with a level, its name
    level: int | None = None
    thresholds_ns: tuple[int, ...] = ()
    told: str = ""  # for our INFO


def normal(mode: str, thresholds_ns: tuple[int, ...] = ()) -> Compression:
    """A mode as it was written, and thresholds in the order of the levels.

    Raises:
        ValueError: With nats-server's words, but for how it prints thresholds.
    """
    name = MODES.get((mode or AUTO).lower())
    if name is None:
        raise ValueError(f'unsupported compression mode "{mode}"')
    if name != AUTO:
        return Compression(name, ())
    if not thresholds_ns:
        return DEFAULT
    found = [max(each, 0) for each in thresholds_ns]
    rising = [each for each in found if each]
    if rising != sorted(rising):
        raise ValueError("RTT threshold values should be in ascending order")
    while found and not found[-1]:
        found.pop()
    if len(found) > THRESHOLDS_MAX:
        raise ValueError(f'compression mode "{mode}" should have no more than 4 RTT thresholds')
    if not found:
        raise ValueError(f'compression mode "{mode}" requires at least one RTT threshold')
    return Compression(AUTO, tuple(found))


def agree(own: Compression, theirs: str, rtt_ns: int) -> Agreed:
    """What a side does that has read the other's mode in INFO (empty: it says none).

    Raises:
        LinkError: To be told to the peer before the link ends.
    """
    if not own.negotiates:
        return Agreed(OFF if theirs and own.mode == OFF else NOT_SUPPORTED)
    if theirs in ("", NOT_SUPPORTED):
        return Agreed(NOT_SUPPORTED)
    if theirs == OFF or (theirs == ACCEPT and own.mode == ACCEPT):
        return Agreed(OFF)
    if theirs not in (ACCEPT, AUTO, *LEVELS):
        raise LinkError(f'unsupported route compression mode "{theirs}"')
    mode = own.mode
    if mode == ACCEPT:
        mode = LEVELS[1] if theirs == AUTO else theirs
    if mode == AUTO:
        level = by_round_trip(rtt_ns, own.thresholds_ns)
        return Agreed(LEVELS[level], level, own.thresholds_ns, AUTO)
    return Agreed(mode, LEVELS.index(mode), (), mode)


def by_round_trip(rtt_ns: int, thresholds_ns: tuple[int, ...]) -> int:
    """The level that ``s2_auto`` takes; the kernel does the same with each PONG."""
    for level, most in enumerate(thresholds_ns):
        if rtt_ns <= most:
            return level
    return 3 if len(thresholds_ns) >= 3 else len(thresholds_ns) - 1


class Change(NamedTuple):
    """What a reload means for a link that is up: link again, or another level."""

    relink: bool = False
    level: int | None = None
    thresholds_ns: tuple[int, ...] = ()


def changed(current: str, new: Compression, rtt_ns: int) -> Change:
    """``current``: what monitoring shows of the link."""
    if current == NOT_SUPPORTED:
        return Change()
    if current == OFF or new.mode in (OFF, NOT_SUPPORTED, ACCEPT):
        return Change(relink=True)
    if new.mode == AUTO:
        return Change(level=by_round_trip(rtt_ns, new.thresholds_ns), thresholds_ns=new.thresholds_ns)
    return Change(level=LEVELS.index(new.mode))
