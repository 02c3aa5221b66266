"""What is plugged in, as a table: ``phloem bridge --list``."""

import os

from rich.console import Console
from rich.table import Table

from phloem.firmware_bridge.selector import BY_PATH, stable_names, usb_ports, usb_selector


def print_ports(console: Console) -> None:
    """Print the serial ports of this machine, or what to do if there are none."""
    ports = usb_ports()
    if not ports:
        console.print("No serial ports found. Plug a device in; `dmesg | tail` shows whether Linux sees it.")
        return
    # Two adapters without a serial number have the same by-id link; the socket they are in tells them apart.
    stable = stable_names(BY_PATH) | stable_names()
    table = Table(box=None, pad_edge=False)
    for heading in ("device", "what it is", "usb", "name that stays the same"):
        table.add_column(heading, overflow="fold")
    for port in ports:
        what = port.description if port.description not in (None, "n/a") else ""
        name = stable.get(os.path.realpath(port.device), "")
        table.add_row(port.device, what, usb_selector(port), name)
    console.print(table)
