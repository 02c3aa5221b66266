"""Options of a device's disk: how much of it streams may take, and what its card is good for. Declared as in
``options.py``."""

from typing import Annotated

import msgspec

from phloem.shared.server.declare import Kind, Opt, Size

UNSET = -1


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The memory card, for an estimate of its life."""

    size: Annotated[Size, Opt("Its size; 0: the life is not estimated.", example="32GB")] = 0
    cycles: Annotated[
        int, Opt("How often each of its cells can be written: some hundred for a consumer's card.", least=1)
    ] = 500
    endurance_tbw: Annotated[
        int, Opt("Terabytes that may be written to it, if its maker says so; instead of size and cycles.")
    ] = 0

    @property
    def endurance_bytes(self) -> int:
        """All that can be written to it; 0: nobody knows."""
        return self.endurance_tbw * 10**12 or self.size * self.cycles


class Disk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of the disk streams may take. phloem's own."""

    budget: Annotated[
        Size,
        Opt(
            "Bytes for everything that is stored; the least important and oldest messages go before it is used up. "
            "0: no budget; by default three quarters of what is free.",
            example="2GB",
        ),
    ] = UNSET
    free_floor: Annotated[
        Size,
        Opt(
            "Bytes that stay free for others; by default 200MB, or a twentieth of a small disk.",
            example="200MB",
        ),
    ] = UNSET
    reserve: Annotated[
        Size,
        Opt(
            "Bytes set aside, and given back when the disk is full all the same, so that alarms can be stored; by "
            "default 16MB, or a 64th of a small budget.",
            example="16MB",
        ),
    ] = UNSET
    class_: Annotated[
        str,
        Kind.CHOICE,
        Opt(
            "What streams are worth that are not forwarded and do not say it (`phloem.class` of their metadata).",
            key="class",
            choices="alarm event telemetry debug",
        ),
    ] = "event"
    card: Annotated[Card, Opt("The memory card, for an estimate of its life.")] = Card()
