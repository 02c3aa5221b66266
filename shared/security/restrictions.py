"""Where from and when a user may connect: networks, times of the day, kinds of connections.

As nats-server decides it (``validateSrc``, ``validateTimes``, ``convertAllowedConnectionTypes``), including what it
does about midnight, about clocks that are put forward, and about IPv4 in the clothes of IPv6.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from phloem.shared.limits import SECOND_NS
from phloem.shared.security.claims import TimeRange
from phloem.shared.security.issues import quoted

CONNECTION_TYPES = frozenset(
    {"STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"}
)

_NETWORK = re.compile(r"([0-9A-Fa-f:.]+)/([0-9]{1,4})", re.ASCII)
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,][0-9]+)?", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", re.ASCII)
_ZONE_CHARACTERS = 64  # the longest name there is has 32


class Window(NamedTuple):
    """Whether it is open, and for how long yet (nanoseconds; 0: without end)."""

    open: bool
    for_ns: int = 0


def network(text: str) -> IPv4Network | IPv6Network | None:
    """A network from CIDR notation; ``None``: it is none. The host's bits may be set."""
    found = _NETWORK.fullmatch(text)
    if found is None:
        return None
    try:
        parsed = ip_network(f"{found[1]}/{int(found[2])}", strict=False)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Network) and parsed.prefixlen >= 96:
        mapped = parsed.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, parsed.prefixlen - 96), strict=False)
    return parsed


def from_network(networks: Sequence[str] | None, host: str) -> bool:
    """Whether ``host``, an address as text, is in one of ``networks``; without any, always."""
    if not networks:
        return True
    address = _address(host)
    if address is None:
        return False
    for text in networks:
        allowed = network(text)
        if allowed is None:
            return False
        if address.version == allowed.version and address in allowed:
            return True
    return False


def zone(name: str, local: tzinfo = UTC) -> tzinfo | None:
    """A time zone by its IANA name, ``local`` without a name; ``None``: unknown."""
    if name in ("", "Local"):
        return local
    if name == "UTC":
        return UTC
    if len(name) > _ZONE_CHARACTERS or not _ZONE.fullmatch(name):
        return None
    from zoneinfo import ZoneInfo  # noqa: PLC0415  (half a megabyte, for those who name a zone)

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder of zones, a file that is none, nothing at all
        return None


def seconds_of_day(text: str) -> int | None:
    """``HH:MM:SS`` as seconds since midnight by the clock on the wall; ``None``: it is none."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3])
    if hour > 23 or minute > 59 or second > 59:
        return None
    return (hour * 60 + minute) * 60 + second


def within_times(times: Sequence[TimeRange] | None, location: str, now_ns: int, local: tzinfo) -> Window:
    """Whether it is now one of ``times`` at ``location`` and how long that one lasts, the longest if there are more.

    ``now_ns``: nanoseconds since 1970 UTC. ``local``: where the server is, which counts without ``location``.
    """
    if not times:
        return Window(True)
    where = zone(location, local)
    if where is None:
        return Window(False)
    today = datetime.fromtimestamp(now_ns // SECOND_NS, where).date()
    found = Window(False)
    for span in times:
        start, end = seconds_of_day(span.start), seconds_of_day(span.end)
        if start is None or end is None:
            return Window(False)
        midnight = datetime(today.year, today.month, today.day)
        start_ns = _instant(midnight + timedelta(seconds=start), where)
        end_ns = _instant(midnight + timedelta(seconds=end), where)
        window = _range(start_ns, end_ns, now_ns)
        if not window.open and start_ns > end_ns:  # over midnight, and it is not midnight yet
            window = _range(start_ns, _instant(midnight + timedelta(days=1, seconds=end), where), now_ns)
        if window.open and (not found.open or window.for_ns > found.for_ns):
            found = window
    return found


def connection_types(names: Iterable[str]) -> tuple[frozenset[str], str]:
    """Those that exist, in upper case, and nats-server's complaint about the others."""
    wanted = [name.upper() for name in names]
    unknown = [name for name in wanted if name not in CONNECTION_TYPES]
    complaint = f"invalid connection types [{' '.join(map(quoted, unknown[:16]))}]" if unknown else ""
    return frozenset(wanted) & CONNECTION_TYPES, complaint


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def _range(start_ns: int, end_ns: int, now_ns: int) -> Window:
    """Neither end is within. A range whose start is after its end is open until its end."""
    if (start_ns < now_ns or start_ns > end_ns) and end_ns > now_ns:
        return Window(True, end_ns - now_ns)
    return Window(False)


def _instant(wall: datetime, where: tzinfo) -> int:
    """When a clock at ``where`` shows ``wall`` (nanoseconds); what it never or twice shows is as in Go."""
    naive = int(wall.replace(tzinfo=UTC).timestamp())
    offset = _offset(naive, where)
    return (naive - (_offset(naive - offset, where) if offset else 0)) * SECOND_NS


def _offset(instant: int, where: tzinfo) -> int:
    offset = datetime.fromtimestamp(instant, where).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
