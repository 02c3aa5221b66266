"""Options of store-and-forward: what of a device goes up to its hub. Declared as in ``options.py``."""

from typing import Annotated

import msgspec

from phloem.shared.server.declare import Duration, Kind, Opt, Size


class Forward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream of this device, or subjects that become one, that a hub receives exactly once. phloem's own."""

    name: Annotated[str, Opt("The block's name; in the hub's subjects.", key="")] = ""
    subjects: Annotated[
        tuple[str, ...],
        Kind.SUBJECTS,
        Opt("What is kept and sent; with `stream` a selection of what it has.", example='["tele.>"]'),
    ] = ()
    stream: Annotated[
        str,
        Opt(
            "The stream on this device; without it one is made, FORWARD_ and the name.", example='"READINGS"'
        ),
    ] = ""
    account: Annotated[str, Opt("Account of the stream; the global one by default.")] = ""
    to: Annotated[str, Opt("The stream of the hub; by default FLEET_ and the name.")] = ""
    class_: Annotated[
        str,
        Kind.CHOICE,
        Opt(
            "What goes first and is dropped last when not everything can be sent or kept.",
            key="class",
            choices="alarm event telemetry debug",
        ),
    ] = "telemetry"
    rate: Annotated[Size, Opt("Bytes a second at most; 0: as the link can.", example="20KB")] = 0
    hours: Annotated[
        tuple[str, ...],
        Opt(
            "Times of the day at which it is sent; local, or as phloem.link.hours_utc says.",
            example='["22:00-06:00"]',
        ),
    ] = ()
    linger_ns: Annotated[
        Duration, Opt("How long a message may wait for others, to share a packet.", example='"2s"')
    ] = 0
    keep: Annotated[
        Size,
        Opt(
            "Bytes that stay here after the hub has confirmed them; 0: none do; -1: the stream's own limits decide. "
            "By default 0 for a stream that is made for it, else -1.",
            example="64MB",
        ),
    ] = -2
    replicas: Annotated[
        int, Opt("Of the stream, if it is made in a hub that is a cluster of nats-servers.", least=1, most=5)
    ] = 1
    max_bytes: Annotated[Size, Opt("Bound of a stream that is made for it; -1: none of its own.")] = -1
    max_age_ns: Annotated[Duration, Opt("The same for the age; 0: none.", example='"720h"')] = 0
