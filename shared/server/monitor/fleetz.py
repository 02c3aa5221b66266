"""/fleetz: devices that forward to this hub, by account. phloem's own; the ledger has more of each (docs/fleet.md)."""

from collections.abc import Iterator

import msgspec

from phloem.shared.server.monitor.prometheus import Labels, family
from phloem.shared.server.monitor.query import Query
from phloem.shared.server.monitor.records import FleetDevice, FleetFigures, MonitorSource
from phloem.shared.server.monitor.render import date

LIMIT = 1024  # devices of one page


class DeviceInfo(msgspec.Struct, kw_only=True):
    """One device. Counts are messages, but for ``streams``, ``paused`` and ``refused``."""

    name: str
    online: bool
    since: str
    streams: int
    paused: int
    refused: int
    received: int
    duplicates: int
    missing: int
    backlog: int
    copies: bool


class AccountFleet(msgspec.Struct, kw_only=True):
    """Devices of one account. ``known``: all in the ledger; ``present``: in memory, and counted here."""

    account: str
    known: int
    present: int
    online: int
    ledger_writes: int
    offset: int
    devices: list[DeviceInfo]


class Fleetz(msgspec.Struct, kw_only=True):
    """The page."""

    server_id: str
    now: str
    accounts: list[AccountFleet]


def fleetz(source: MonitorSource, query: Query) -> Fleetz:
    """Devices by name, ``limit`` of them (1024 by default) from ``offset`` on; ``acc`` is one account.

    Raises:
        BadParameter: No number.
    """
    offset, limit = max(query.integer("offset"), 0), query.integer("limit")
    wanted = query.text("acc")
    return Fleetz(
        server_id=source.settings().server_id,
        now=date(source.clock.wall_ns()),
        accounts=[
            _account(fleet, offset, limit if 0 < limit < LIMIT else LIMIT)
            for fleet in source.fleet()
            if wanted in ("", fleet.account)
        ],
    )


def _account(fleet: FleetFigures, offset: int, limit: int) -> AccountFleet:
    return AccountFleet(
        account=fleet.account,
        known=fleet.known,
        present=len(fleet.devices),
        online=sum(device.online for device in fleet.devices),
        ledger_writes=fleet.written,
        offset=offset,
        devices=[_device(device) for device in fleet.devices[offset : offset + limit]],
    )


def _device(device: FleetDevice) -> DeviceInfo:
    return DeviceInfo(
        name=device.name,
        online=device.online,
        since=date(device.since_wall_ns),
        streams=device.streams,
        paused=device.paused,
        refused=device.refused,
        received=device.received,
        duplicates=device.duplicates,
        missing=device.missing,
        backlog=device.backlog,
        copies=device.copies,
    )


def fleet_families(fleets: "list[FleetFigures]") -> Iterator[str]:
    """For /metrics: sums over the devices of an account, since there may be many thousands."""
    if not fleets:
        return
    labelled: list[tuple[Labels, FleetFigures]] = [({"account": fleet.account}, fleet) for fleet in fleets]
    yield family(
        "fleet_known", "gauge", "Devices in the ledger.", [(labels, f.known) for labels, f in labelled]
    )
    yield family(
        "fleet_ledger_writes_total",
        "counter",
        "Documents of the ledger that were written.",
        [(labels, f.written) for labels, f in labelled],
    )
    yield family(
        "fleet_online",
        "gauge",
        "Devices whose link is there.",
        [(labels, sum(device.online for device in f.devices)) for labels, f in labelled],
    )
    for name, about, key in _SUMS:
        sums = [(labels, sum(getattr(device, key) for device in f.devices)) for labels, f in labelled]
        yield family(f"fleet_{name}", "gauge", about, sums)


_SUMS = (  # devices that are away are forgotten after a while, so none of these is a counter
    ("received", "Messages received from devices that are in memory.", "received"),
    ("duplicates", "Of these, came again and were not stored again.", "duplicates"),
    ("missing", "Messages that will not come.", "missing"),
    ("backlog", "Messages that devices have still to send.", "backlog"),
    ("paused_streams", "Streams of devices that have to wait.", "paused"),
    ("refused_streams", "Streams of devices that are refused.", "refused"),
    ("copies", "Names under which two devices take turns.", "copies"),
)
