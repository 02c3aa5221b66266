"""What is plugged in, as a table: ``phloem bridge --list``."""

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table
from serial.tools import list_ports


def stable_names(folder: Path = Path("/dev/serial/by-id")) -> dict[str, str]:
    """Device path to the name that stays the same whatever else is plugged in."""
    if not folder.is_dir():
        return {}
    return {os.path.realpath(link): str(link) for link in sorted(folder.iterdir())}


def print_ports(console: Console) -> None:
    """Print the serial ports of this machine, or what to do if there are none."""
    stable = stable_names()
    ports = sorted(list_ports.comports())
    if not ports:
        console.print("No serial ports found. Plug a device in; `dmesg | tail` shows whether Linux sees it.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("device", "what it is", "usb id", "name that stays the same"):
        table.add_column(heading, overflow="fold")
    for port in ports:
        usb = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else ""
        what = port.description if port.description not in (None, "n/a") else ""
        table.add_row(port.device, what, usb, stable.get(os.path.realpath(port.device), ""))
    console.print(table)
