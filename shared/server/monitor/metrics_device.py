"""The part of /metrics about a device: disk, wear of its card, clock, serial ports. Only an edge has it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phloem.shared.server.monitor.metrics_mqtt import mqtt_families
from phloem.shared.server.monitor.prometheus import Labels, Samples, family, one

_DISK = (
    ("budget_bytes", "What streams may take of the disk.", "budget"),
    ("allowed_bytes", "The same, with regard to what the file system has left.", "allowed"),
    ("used_bytes", "What counts against the budget.", "used"),
    ("live_bytes", "Of LMDB's file, what something is on.", "live"),
    ("file_bytes", "LMDB's file, which is used again and never becomes smaller.", "file"),
    ("reserve_bytes", "Set aside for alarms; 0 when it has been given back.", "reserve"),
    ("free_bytes", "What the file system has left.", "free"),
)

_PORT_STATES = ("open", "absent", "lost", "refused", "silent", "closed")
_PORT_COUNTERS = (
    ("frames", "Frames read.", "frames"),
    ("read_bytes", "Bytes read.", "bytes_read"),
    ("written_bytes", "Bytes written: commands and init strings.", "bytes_written"),
    ("resyncs", "Times that the place in the stream of bytes was lost.", "resyncs"),
    ("dropped_bytes", "Bytes that belonged to no frame.", "dropped_bytes"),
    ("damaged_frames", "Frames with a wrong checksum.", "damaged"),
    ("undecodable_frames", "Frames that said nothing.", "undecodable"),
    ("readings", "Readings published.", "readings"),
    ("withheld_readings", "Readings that were not worth it.", "withheld"),
    ("commands", "Commands written.", "commands"),
    ("dropped_commands", "Commands that the device did not take or was not there for.", "commands_dropped"),
    ("requests", "Requests to the device.", "requests"),
    ("failed_requests", "Requests that were answered with an error.", "requests_failed"),
    ("polls", "Questions to Modbus devices.", "polls"),
    ("failed_polls", "Questions without an answer of use.", "polls_failed"),
    ("processed", "Frames or readings that the function of process took.", "processed"),
    ("unprocessed", "Those that it did not take.", "unprocessed"),
    ("process_ends", "Times that the function's process died or was ended.", "process_ends"),
    ("guest_dropped_bytes", "Of programs that share the port, and to them.", "guest_dropped_bytes"),
    ("opens", "Times it was opened.", "opens"),
    ("losses", "Times it went away while it was open.", "losses"),
    ("silences", "Times it was opened anew for saying nothing.", "silences"),
)


def device_families(figures: Mapping[str, Any]) -> Iterator[str]:
    """All of it; nothing for a server that is no device."""
    yield from mqtt_families(figures.get("mqtt", {}))
    if disk := figures.get("disk"):
        yield from _disk(disk)
    if wear := figures.get("wear"):
        yield from _wear(wear)
    if forward := figures.get("forward"):
        yield one("forward_waiting_messages", "gauge", "That the hub does not have.", forward["waiting"])
        yield one(
            "forward_stuck",
            "gauge",
            "1 while nothing moves to the hub, tried in vain.",
            bool(forward["stuck"]),
        )
    if clock := figures.get("clock"):
        yield one("clock_known", "gauge", "1 if the true time is known.", clock["known"])
        yield one("clock_error_seconds", "gauge", "How far it may be off; -1: unknown.", clock["error_s"])
        yield one("clock_off_seconds", "gauge", "What the system's clock is ahead of it.", clock["off_s"])
        yield one("clock_steps_total", "counter", "Times the system's clock was set.", clock["steps"])
    if ports := figures.get("ports"):
        yield from _ports([({"port": port["port"]}, port) for port in ports])


def _disk(disk: Mapping[str, Any]) -> Iterator[str]:
    for name, about, key in _DISK:
        yield one(f"disk_{name}", "gauge", about, disk[key])
    yield one("disk_held", "gauge", "1 while only alarms are taken.", bool(disk["held"]))
    yield family("disk_shed_messages_total", "counter", "Removed to make room.", _by_class(disk["shed"]))
    yield family("disk_refused_messages_total", "counter", "Not taken.", _by_class(disk["refused"]))
    streams: Samples = [
        ({name: each[name] for name in ("class", "account", "stream", "reason")}, each["messages"])
        for each in disk["shed_from"]
    ]
    yield family("disk_shed_from_messages_total", "counter", "The same by stream and reason.", streams)


def _wear(wear: Mapping[str, Any]) -> Iterator[str]:
    yield family("wear_written_bytes_total", "counter", "Written to the disk.", _by_class(wear["written"]))
    yield one("wear_bytes_per_day", "gauge", "Written a day.", wear["per_day"])
    yield one("wear_lifetime_bytes_total", "counter", "Written since the store was made.", wear["total"])
    yield one("card_life_days", "gauge", "How long the card lasts like that; -1: unknown.", wear["life_days"])


def _by_class(counts: Mapping[str, int]) -> Samples:
    return [({"class": cls}, count) for cls, count in sorted(counts.items())]


def _ports(ports: Sequence[tuple[Labels, Mapping[str, Any]]]) -> Iterator[str]:
    states: Samples = [
        ({**labels, "state": state}, port["state"] == state)
        for labels, port in ports
        for state in _PORT_STATES
    ]
    yield family("port_state", "gauge", "1 for the state that the port is in.", states)
    garbled: Samples = [(labels, port["garbled"]) for labels, port in ports]
    yield family("port_garbled", "gauge", "1 while most of what comes makes no sense.", garbled)
    ages: Samples = [(labels, port["frame_age_s"]) for labels, port in ports]
    yield family("port_frame_age_seconds", "gauge", "Since the last frame; -1: there was none.", ages)
    waiting: Samples = [(labels, port["process_waiting"]) for labels, port in ports]
    yield family("port_process_waiting", "gauge", "What waits for the function of process.", waiting)
    for name, about, key in _PORT_COUNTERS:
        counts: Samples = [(labels, port[key]) for labels, port in ports]
        yield family(f"port_{name}_total", "counter", about, counts)
    errors: Samples = [
        ({**labels, "kind": kind}, count)
        for labels, port in ports
        for kind, count in port["line_errors"].items()
    ]
    yield family("port_line_errors_total", "counter", "What the hardware saw on the wire.", errors)
