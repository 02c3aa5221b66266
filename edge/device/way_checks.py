"""The doctor on what comes in and goes out: configurations, serial ports, the link to the hub."""

import os
import stat
from collections.abc import Iterator

from phloem.edge.device.finding import Finding, Level
from phloem.edge.device.patient import Patient
from phloem.edge.ports import port_settings
from phloem.firmware_bridge.diagnose import holder
from phloem.shared.errors import ConfigError
from phloem.shared.server.options import Options

CONFIGURATION, PORTS, LINK = "configuration", "ports", "link"
OURS = ("phloem", "python", "python3")


def configuration(patient: Patient) -> Iterator[Finding]:
    """Whether the files are there and right."""
    for problem in patient.problems:
        yield Finding(
            CONFIGURATION, Level.BAD, problem, "correct the file; phloem edge -c FILE -t looks at it again"
        )
    if patient.broker is None and not patient.problems:
        yield Finding(CONFIGURATION, Level.BAD, f"{patient.edge_file} is not there", "sudo phloem install")
    for options in (patient.broker, patient.bridge):
        if options is not None:
            yield from _of_file(options)


def _of_file(options: Options) -> Iterator[Finding]:
    try:
        port_settings(options)
    except ConfigError as error:
        yield Finding(CONFIGURATION, Level.BAD, str(error), "correct the serial block")
        return
    yield Finding(CONFIGURATION, Level.OK, f"{options.config_file} is right")


def ports(patient: Patient) -> Iterator[Finding]:
    """Each serial port: is it there, may it be opened, who has it."""
    blocks = [block for options in (patient.broker, patient.bridge) if options for block in options.serial]
    if patient.broker is not None and patient.broker.serial:
        yield Finding(
            PORTS,
            Level.WARN,
            f"{patient.edge_file} has serial blocks, and phloem-edge.service may open no devices",
            f"move them to {patient.bridge_file}, or see systemd/README.md for a drop-in",
        )
    for block in blocks:
        if block.device.startswith("/"):
            yield from _port(patient, block.name, block.device)
    if blocks and patient.live and _runs(patient, "ModemManager"):
        rules = [
            patient.at(folder) / "70-phloem.rules" for folder in ("etc/udev/rules.d", "usr/lib/udev/rules.d")
        ]
        if not any(path.exists() for path in rules):
            yield Finding(
                PORTS,
                Level.WARN,
                "ModemManager runs and talks to serial devices when they are plugged in",
                "sudo phloem install, which tells it to leave them alone; or remove it: apt-get remove modemmanager",
            )
    for line in patient.read("proc/cmdline").split():
        name, _, value = line.partition("=")
        if name == "console" and any(
            _same(patient, f"/dev/{value.split(',')[0]}", block.device) for block in blocks
        ):
            yield Finding(
                PORTS,
                Level.BAD,
                f"the kernel writes its messages to {value}, which is one of the ports",
                f"take  {line}  out of /boot/firmware/cmdline.txt, and disable serial-getty@{value.split(',')[0]}",
            )


def _port(patient: Patient, name: str, device: str) -> Iterator[Finding]:
    path = patient.at(device)
    told = f"{name} ({device})"
    try:
        status = path.stat()
    except OSError:
        yield Finding(
            PORTS, Level.WARN, f"{told}: not there", "plug it in; phloem bridge --list shows what is there"
        )
        return
    if not stat.S_ISCHR(status.st_mode):
        yield Finding(
            PORTS, Level.BAD, f"{told}: not a serial port", "phloem bridge --list shows what is there"
        )
        return
    found = holder(str(path), patient.at("proc"))
    who = found if isinstance(found, str) else found[0]
    if who and not who.startswith(OURS):
        yield Finding(
            PORTS,
            Level.BAD,
            f"{told}: in use by {who}",
            f"end that program, or keep it from the port: fuser -v {device}",
        )
    elif "/ttyUSB" in device or "/ttyACM" in device:
        yield Finding(
            PORTS,
            Level.WARN,
            f"{told}: there, under a name that the next boot may give to another device",
            "use the name in /dev/serial/by-id or /dev/serial/by-path that leads to it: ls -l /dev/serial/*",
        )
    else:
        yield Finding(PORTS, Level.OK, f"{told}: there{f', in use by {who}' if who else ''}")


def _runs(patient: Patient, name: str) -> bool:
    return any(
        patient.read(f"proc/{entry.name}/comm") == name[:15]
        for entry in patient.at("proc").iterdir()
        if entry.name.isdigit()
    )


def _same(patient: Patient, one: str, other: str) -> bool:
    return os.path.realpath(patient.at(one)) == os.path.realpath(patient.at(other))


def link(patient: Patient) -> Iterator[Finding]:
    """The way to the hub, as the broker has it."""
    options = patient.broker
    if options is None or patient.is_hub:
        return
    if not options.leafnodes.remotes:
        yield Finding(
            LINK,
            Level.WARN,
            "no hub is configured: messages stay on this device",
            "add  leafnodes { remotes }  to edge.conf; docs/leafnodes.md",
        )
        return
    page = patient.page("/leafz")
    if page is None:
        yield Finding(
            LINK,
            Level.UNKNOWN,
            "the broker does not answer",
            'is it running? systemctl status phloem-edge; has edge.conf  http: "127.0.0.1:8222" ?',
        )
        return
    for uplink in page.get("phloem", {}).get("uplinks", []):
        yield _uplink(uplink)


def _uplink(uplink: dict[str, object]) -> Finding:
    name, state = str(uplink.get("name", "")), uplink.get("state")
    minutes = int(str(uplink.get("for_ms", 0))) // 60_000
    if state == "up":
        rtt_ms = int(str(uplink.get("rtt_ns", 0))) / 1e6
        return Finding(LINK, Level.OK, f"to {name} up for {minutes} min, {rtt_ms:.0f} ms")
    host = name.rpartition(":")[0] or name
    return Finding(
        LINK,
        Level.BAD,
        f"to {name} down for {minutes} min after {uplink.get('attempts', 0)} attempts; messages are kept meanwhile",
        f"is there a network (ip route), a name (getent hosts {host}), a way (nc -vz {name.replace(':', ' ')})? "
        "journalctl -u phloem-edge PHLOEM_LOGGER=phloem.leaf says what the hub answers",
    )


def health(patient: Patient) -> Iterator[Finding]:
    """What the broker says of itself."""
    page = patient.page("/healthz")
    if page is not None and page.get("status") != "ok":
        told = str(page.get("error") or page.get("status"))
        yield Finding(
            "broker", Level.BAD, told, "docs/operations.md, the store, says what that means and what to do"
        )
    elif page is not None:
        yield Finding("broker", Level.OK, "healthy")
