"""``phloem { link { ... } }``: how links between servers live on bad networks, and what they may cost. phloem's own."""

from typing import Annotated

import msgspec

from phloem.shared import limits
from phloem.shared.server.declare import Duration, Opt, Size


class LinkOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How leaf links live on bad networks, and what a metered one may cost."""

    reconnect_max_ns: Annotated[
        Duration,
        Opt(
            "Longest pause before linking again; pauses grow while the hub is away. 0: `phloem edge` 10s, others do "
            "not grow; nor do they with leafnodes.reconnect or less.",
            example='"1m"',
        ),
    ] = 0
    timeout_max_ns: Annotated[
        Duration,
        Opt(
            "After failures and on slow links dial, TLS and INFO get up to this long; 0: what is configured."
        ),
    ] = limits.LINK_TIMEOUT_MAX_NS
    dead_after_ns: Annotated[
        Duration, Opt("A link whose peer is gone ends within this time, at least 2s; 0: when PINGs tell.")
    ] = limits.LINK_DEAD_AFTER_NS
    ping_interval_ns: Annotated[
        Duration,
        Opt("Time between PINGs of idle links; 0: ping_interval, 15m if metered.", example='"5m"'),
    ] = 0
    watch_network: Annotated[bool, Opt("Link again at once when the system gets an address or a route.")] = (
        True
    )
    return_to_first_ns: Annotated[
        Duration,
        Opt(
            "With no_randomize: look this often whether the first hub is there again, and go back to it; 0: never.",
            example='"5m"',
        ),
    ] = 0
    metered: Annotated[bool, Opt("Bytes cost money: no probes of idle links, PINGs every 15m.")] = False
    per_day: Annotated[Size, Opt("Bytes a day, both ways; 0 for no bound.", example="20MB", least=0)] = 0
    per_month: Annotated[Size, Opt("Bytes a month; 0 for no bound.", example="500MB", least=0)] = 0
    emergency: Annotated[
        tuple[str, ...], Opt("Classes that may use the last part of what is allowed.", example='["alarm"]')
    ] = ("alarm",)
    emergency_percent: Annotated[int, Opt("That part.", least=0, most=100)] = 10
    shares: Annotated[
        dict[str, str], Opt("What a class may have of it.", example='{ telemetry: "60%" }')
    ] = {}
    hours: Annotated[
        tuple[str, ...],
        Opt("When to forward, but for emergencies; always when empty.", example='["01:00-05:00"]'),
    ] = ()
    hours_utc: Annotated[bool, Opt("hours, days and months are those of UTC, not local.")] = False

    @property
    def idle_ping_ns(self) -> int:
        """Time between PINGs of an idle link; 0: as of any connection."""
        return self.ping_interval_ns or (limits.LINK_IDLE_PING_NS if self.metered else 0)
