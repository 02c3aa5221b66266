"""From a port's settings to an open line, of whatever kind ``device`` selects."""

import asyncio

from phloem.firmware_bridge.port import Line
from phloem.firmware_bridge.port_network import open_network
from phloem.firmware_bridge.port_pty import open_pty
from phloem.firmware_bridge.port_tty import TtyLine, open_tty
from phloem.firmware_bridge.selector import AtPath, Linked, Network, Pseudo, Usb
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.timers import CallLater


async def open_line(settings: SerialSettings, call_later: CallLater) -> Line:
    """Open and configure what ``device`` selects. Nothing stays open when this raises or is cancelled.

    Raises:
        PortAbsent: It is not there.
        PortRefused: It may not be used, or not like this.
    """
    match settings.selector:
        case Network() as place:
            return await open_network(settings, place, call_later)
        case Pseudo(name):
            return open_pty(name)
        case selector:
            return await _open_aside(settings, selector)


async def _open_aside(settings: SerialSettings, selector: AtPath | Linked | Usb) -> TtyLine:
    """In a thread, as a device that does not answer must not stop the event loop."""
    attempt = asyncio.get_running_loop().run_in_executor(None, open_tty, settings, selector)
    try:
        return await asyncio.shield(attempt)
    except asyncio.CancelledError:
        attempt.add_done_callback(_close_unwanted)
        raise


def _close_unwanted(attempt: "asyncio.Future[TtyLine]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
