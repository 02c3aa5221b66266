"""What a bridge leaves to the next one, so that a restart loses no byte of a device.

* *Open ports.* systemd keeps a copy of each descriptor (FDSTORE). While no bridge runs the kernel goes on taking bytes,
  DTR does not drop (no board resets), and the lock on the port stays. The next bridge reads on. A port is kept under a
  name that has the device and all settings of its line in it: with other settings it is opened anew.
* *The beginning of a frame* that was read and not finished, and *messages that no server has confirmed*: in a file in
  memory that is kept the same way, written at an orderly end. A bridge that is killed loses those, and no more.

The kernel has room for some kilobytes of a port, some seconds at 115,200 baud. A port that was unplugged meanwhile is
dropped: by systemd, which sees the hang-up, and here, where the path has to lead to the same device still.
"""

import hashlib
import os
import select
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import msgspec

from phloem.firmware_bridge.headers import Encoded, decode_headers, encode_headers
from phloem.firmware_bridge.port_tty import TtyLine, kept_tty
from phloem.firmware_bridge.settings import SerialSettings

PORT, CARRIED = "serial-", "carried"
NOT_OF_THE_LINE = (  # fields of settings that the open descriptor knows nothing of
    *("name", "subject", "command_subject", "framing", "decode", "shape", "max_frame_bytes", "idle_gap_ns"),
    *("retry_min_ns", "retry_max_ns", "silent_after_ns", "capture", "raw_subject", "port_subject", "images"),
    *("export", "poll", "modbus", "process", "request_subject", "request_match", "request_timeout_ns"),
)


class Keeper(Protocol):
    """Whoever keeps descriptors while no bridge runs: ``Notifier``."""

    def keep(self, name: str, descriptor: int) -> bool:
        """Hold a copy under this name; whether it is held."""
        ...

    def forget(self, name: str) -> None:
        """Close what is held under this name."""
        ...


class Carried(msgspec.Struct):
    """Beginnings of frames by the name of the port's descriptor, and messages, oldest first."""

    rests: dict[str, bytes] = {}
    messages: list[tuple[str, bytes, dict[str, str]]] = []


class Handover:
    """``given``: descriptors by name, as the last bridge left them; they are ours now."""

    def __init__(self, keeper: Keeper, given: dict[str, int]) -> None:
        self._keeper = keeper
        self._ports = {name: number for name, number in given.items() if name.startswith(PORT)}
        self._rests: dict[str, bytes] = {}
        self.messages: list[Encoded] = []
        for name, number in given.items():
            if name == CARRIED:
                self._read(number)
            if name not in self._ports:
                os.close(number)
                keeper.forget(name)

    def take(self, settings: SerialSettings) -> TtyLine | None:
        """The port if it is open still."""
        name = name_of(settings)
        descriptor = self._ports.pop(name, None)
        if descriptor is None:
            return None
        if _leads_to(settings.device, descriptor):
            return kept_tty(descriptor, settings.device)
        self._drop(name, descriptor)
        return None

    def take_rest(self, settings: SerialSettings) -> bytes:
        """What was read of a frame that has not ended; the line goes on behind it."""
        return self._rests.pop(name_of(settings), b"")

    def opened(self, settings: SerialSettings, descriptor: int) -> None:
        """A port is open. What is no tty is not kept: a connection does not wait for us."""
        if os.isatty(descriptor):
            self._keeper.keep(name_of(settings), descriptor)

    def lost(self, settings: SerialSettings) -> None:
        """It is not any more."""
        self._keeper.forget(name_of(settings))

    def left(self, settings: SerialSettings, descriptor: int, rest: bytes) -> None:
        """The session ends and the port is well. It will close ``descriptor``, so a copy is made for the next one."""
        name = name_of(settings)
        if not os.isatty(descriptor):
            return
        self._ports[name] = os.dup(descriptor)
        if rest:
            self._rests[name] = rest

    def only(self, ports: Iterable[SerialSettings]) -> None:
        """Ports with other settings than these are not wanted any more."""
        wanted = {name_of(settings) for settings in ports}
        for name in set(self._ports) - wanted:
            self._drop(name, self._ports.pop(name))
        self._rests = {name: rest for name, rest in self._rests.items() if name in wanted}

    def end(self, messages: Iterable[Encoded]) -> bool:
        """The process ends; whether somebody keeps what it leaves."""
        carried = Carried(
            self._rests,
            [(subject.decode(), payload, decode_headers(block)) for subject, block, payload in messages],
        )
        kept = True
        if carried.rests or carried.messages:
            file = os.memfd_create("phloem-carried", os.MFD_CLOEXEC)
            with open(file, "wb", buffering=0) as stream:
                stream.write(msgspec.msgpack.encode(carried))
                kept = self._keeper.keep(CARRIED, stream.fileno())
        for descriptor in self._ports.values():
            os.close(descriptor)
        self._ports = {}
        return kept

    def _drop(self, name: str, descriptor: int) -> None:
        os.close(descriptor)
        self._keeper.forget(name)

    def _read(self, number: int) -> None:
        with open(number, "rb", closefd=False) as stream:
            stream.seek(0)
            with suppress(
                msgspec.DecodeError
            ):  # of another version: it is worth no more than what a crash loses
                carried = msgspec.msgpack.decode(stream.read(), type=Carried)
                self._rests = carried.rests
                self.messages = [
                    (subject.encode(), encode_headers(headers), payload)
                    for subject, payload, headers in carried.messages
                ]


def name_of(settings: SerialSettings) -> str:
    """Under which a port is kept: the same only if the line is configured the same."""
    line = {
        key: value for key, value in msgspec.structs.asdict(settings).items() if key not in NOT_OF_THE_LINE
    }
    digest = hashlib.blake2b(msgspec.json.encode(line, order="sorted"), digest_size=12).hexdigest()
    return f"{PORT}{digest}"


def _leads_to(device: str, descriptor: int) -> bool:
    """Whether this is still what the descriptor was opened from, and there. What is no path (``usb:2341:0043``) is
    asked for under the name that the descriptor has."""
    poll = select.poll()
    poll.register(descriptor, 0)  # a hang-up is told without asking
    try:
        path = device if device.startswith("/") else os.ttyname(descriptor)
        return os.stat(path).st_rdev == os.fstat(descriptor).st_rdev and not poll.poll(0)
    except OSError:
        return False
