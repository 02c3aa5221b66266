"""What is configured for one serial port: the only declaration of fields, defaults and their limits.

The edge's ``serial {}`` block and the flags of ``phloem bridge`` have the same names. A value that
cannot work raises ``ConfigError`` when the settings are made, not when the device is plugged in.
"""

import os.path
import re
from collections.abc import Sequence
from itertools import zip_longest

import msgspec

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.answers import NEXT, pattern_of
from phloem.firmware_bridge.decoding.catalogue import decoding_of
from phloem.firmware_bridge.framing.catalogue import framing_of
from phloem.firmware_bridge.framing.escapes import unescape
from phloem.firmware_bridge.framing.framer import Framer
from phloem.firmware_bridge.modbus.settings import Poll, polls_of
from phloem.firmware_bridge.pipeline import Pipeline
from phloem.firmware_bridge.process.settings import Process, process_of
from phloem.firmware_bridge.selector import Network, Pseudo, Selector, selector_of
from phloem.firmware_bridge.shaping.settings import shape_of
from phloem.firmware_bridge.sharing.places import Place, place_of
from phloem.shared.errors import ConfigError
from phloem.shared.server.durations import parse_duration

BYTESIZES = (5, 6, 7, 8)
PROTOCOLS = ("edgelink",)
PARITIES = ("none", "even", "odd", "mark", "space")
STOPBITS = (1, 2)  # 2 means 1.5 with 5 bits, as the hardware does it
FLOW_CONTROLS = ("none", "xonxoff", "rtscts")
LINES = ("on", "off", "keep")
PORT_TOKEN = "$port"  # behind a port's subject: what it says of itself, and what it can be asked

_LINE_FIELDS = ("flow_control", "dtr", "rts")
_AROUND = ("process", "request_subject", "export", "poll", "modbus")  # what a protocol has no room for
_BAD_IN_SUBJECT = re.compile(r"[\x00-\x20\x7f]")


class SerialSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One port, one subject that its frames go to, one subject whose messages are written to it."""

    device: str
    """Which device: a path, ``by-id:``, ``by-path:``, ``usb:``, ``socket://``, ``rfc2217://`` or ``pty://``;
    ``selector.py`` has them."""
    subject: str = ""
    """Every frame is published here; empty: nowhere, for a device that only takes commands."""
    name: str = ""
    """Goes into ``Phloem-Port`` and the log; the last part of ``device`` unless given."""
    process: str | dict[str, object] = ""
    """``module:function`` that gets each reading (or frame, without ``decode``) and says what goes on, or its settings;
    ``process/settings.py`` has them. Empty: none."""
    request_subject: str = ""
    """Requests here are written to the device and answered with the next frame that matches; empty: none."""
    request_match: str = "next"
    """A regular expression that finds something in the frame that is the answer; ``next``: any frame."""
    request_timeout_ns: int = limits.REQUEST_TIMEOUT_NS
    """How long an answer may take, and how long a request waits for its turn."""
    poll: tuple[dict[str, object], ...] = ()
    """What Modbus devices at this port are asked, and how often; ``modbus/settings.py`` has it. Instead of ``framing``
    and ``decode``."""
    modbus: str = ""
    """``rtu`` or ``tcp``; unless given it is ``tcp`` for ``socket://``."""
    export: tuple[str, ...] = ()
    """Where other programs can use the port meanwhile: ``pty://NAME``, ``rfc2217://:PORT``."""
    raw_subject: str = ""
    """With ``decode``: frames as they came are published here as well; empty: nowhere."""
    command_subject: str = ""
    """Payloads published here are written to the device as they are; may have wildcards; empty: none."""
    port_subject: str = ""
    """Events and state of the port itself are published below this, and it is asked there; ``SUBJECT.$port`` unless
    given. A port without a subject has none unless given."""
    baud: int = 115_200
    bytesize: int = 8
    parity: str = "none"
    stopbits: int = 1
    flow_control: str = "none"
    dtr: str = "on"
    """What the line does while the port is open; ``keep`` leaves it alone, also when the port is closed."""
    rts: str = "on"
    init: tuple[str, ...] = ()
    """Written to the device each time it is opened, in this order; ``pause:500ms`` is a pause."""
    silent_after_ns: int = 0
    """A device that says nothing for so long is opened anew; 0: silence is no trouble."""
    capture: int = limits.CAPTURE_BYTES
    """Bytes of the line's recent traffic that are kept in memory, to be asked for after a fault; 0: none."""
    framing: str | dict[str, object] = "line"
    """A framing's name, or its settings with the name in ``type``; ``framing/catalogue.py`` has them."""
    decode: str | dict[str, object] = ""
    """A decoder's name, or its settings; ``decoding/catalogue.py`` has them. Empty: frames go out as they came."""
    shape: dict[str, object] = {}
    """Which readings go on; ``shaping/settings.py``. Needs ``decode``."""
    protocol: str = ""
    """``edgelink``: a board that loses nothing (docs/edgelink.md), instead of ``framing``, ``decode`` and ``shape``."""
    images: dict[str, object] = {}
    """Firmware for the board out of an object store; ``images/settings.py``, docs/firmware.md. Empty: none."""
    max_frame_bytes: int = limits.FRAME_BYTES
    idle_gap_ns: int = 0
    """Silence that ends a ``raw`` frame, or breaks an unfinished ``line``; 0: silence says nothing."""
    retry_min_ns: int = limits.RETRY_MIN_NS
    retry_max_ns: int = limits.RETRY_MAX_NS

    def __post_init__(self) -> None:
        if not self.name:
            msgspec.structs.force_setattr(self, "name", os.path.basename(self.device))
        if not self.port_subject and self.subject:
            msgspec.structs.force_setattr(self, "port_subject", f"{self.subject}.{PORT_TOKEN}")
        self._check_device()
        self._check_port()
        self._check_lines()
        self._check_subjects()
        self._check_requests()
        self._check_polls()
        self._check_framing()
        self._check_protocol()
        self._check_images()

    @property
    def selector(self) -> Selector:
        """What ``device`` selects."""
        return selector_of(self.device)

    @property
    def greeting(self) -> tuple[bytes | int, ...]:
        """``init``: bytes to write, and pauses in nanoseconds.

        Raises:
            ConfigError: An entry is neither.
        """
        try:
            return tuple(_init(entry) for entry in self.init)
        except ValueError as error:
            raise ConfigError(f"init: {error}") from None

    def framer(self) -> Framer:
        """A fresh framer for this port.

        Raises:
            ConfigError: The framing's settings do not fit together, or do not fit the port's.
        """
        try:
            return framing_of(self.framing).framer(self.max_frame_bytes, self.idle_gap_ns)
        except ValueError as error:
            raise ConfigError(f"framing: {error}") from None

    def pipeline(self) -> Pipeline | None:
        """What makes readings of this port's frames, and shapes them; None if there are none.

        Raises:
            ConfigError: The settings of ``decode`` or ``shape`` cannot work.
        """
        if not (self.decode or self.process or self.poll):
            return None
        try:
            decoder = decoding_of(self.decode).decoder() if self.decode else None
            return Pipeline(decoder, shape_of(self.shape).stages())
        except ValueError as error:
            raise ConfigError(str(error)) from None

    @property
    def polls(self) -> tuple[Poll, ...]:
        """What is asked. Raises ConfigError."""
        return polls_of(self.poll)

    @property
    def modbus_kind(self) -> str:
        """``rtu`` or ``tcp``."""
        is_socket = isinstance(self.selector, Network) and not self.selector.rfc2217
        return self.modbus or ("tcp" if is_socket else "rtu")

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the port is shared. Raises ConfigError."""
        return tuple(map(place_of, self.export))

    @property
    def worker(self) -> Process | None:
        """The function of ``process``.

        Raises:
            ConfigError: Its settings cannot work.
        """
        return process_of(self.process) if self.process else None

    def _check_device(self) -> None:
        """A setting that this kind of device has not is refused, not ignored."""
        match self.selector:
            case Network(rfc2217=False):
                kind, without = "socket://", ("baud", "bytesize", "parity", "stopbits", *_LINE_FIELDS)
            case Pseudo():
                kind, without = "pty://", ("baud", "bytesize", "parity", "stopbits", *_LINE_FIELDS)
            case _:
                return
        for field in msgspec.structs.fields(type(self)):
            if field.name in without and getattr(self, field.name) != field.default:
                raise ConfigError(f"{field.name} means nothing for {kind}")

    def _check_port(self) -> None:
        if not self.name.isascii() or not self.name.isprintable() or self.name != self.name.strip():
            raise ConfigError(f"name {self.name!r} does not fit into a header; use plain ASCII")
        if not self.device.isprintable() or len(self.device.encode()) > limits.DEVICE_BYTES_MAX:
            raise ConfigError(f"device {self.device!r} does not fit into a header")
        if not 0 < self.baud <= limits.BAUD_MAX:
            raise ConfigError(f"baud {self.baud} is not between 1 and {limits.BAUD_MAX}")
        _check_choice("bytesize", self.bytesize, BYTESIZES)
        _check_choice("parity", self.parity, PARITIES)
        _check_choice("stopbits", self.stopbits, STOPBITS)
        if not 0 < self.retry_min_ns <= self.retry_max_ns:
            raise ConfigError("retry_min must be above 0 and not above retry_max")

    def _check_lines(self) -> None:
        _check_choice("flow_control", self.flow_control, FLOW_CONTROLS)
        _check_choice("dtr", self.dtr, LINES)
        _check_choice("rts", self.rts, LINES)
        if self.flow_control == "rtscts" and self.rts != "on":
            raise ConfigError("with flow_control rtscts the hardware moves RTS; leave rts on")
        if self.silent_after_ns and self.silent_after_ns < limits.SILENT_MIN_NS:
            raise ConfigError("silent_after must be 0 or at least 100ms")
        if not 0 <= self.capture <= limits.CAPTURE_BYTES_MAX:
            raise ConfigError(f"capture {self.capture} is not between 0 and {limits.CAPTURE_BYTES_MAX}")
        for entry in self.greeting:
            if isinstance(entry, int) and not 0 < entry <= limits.INIT_PAUSE_MAX_NS:
                raise ConfigError("init: a pause must be above 0 and not above 60s")

    def _check_subjects(self) -> None:
        if not (self.subject or self.command_subject or self.request_subject):
            raise ConfigError("a serial port needs a subject, a command_subject or a request_subject")
        for field in ("subject", "raw_subject", "port_subject"):
            subject = getattr(self, field)
            if subject:
                _check_subject(field, subject)
            if any(token in ("*", ">") for token in subject.split(".")):
                raise ConfigError(f"{field} {subject!r} has a wildcard; frames go to one subject")
        if self.raw_subject and not (self.decode or self.process or self.poll):
            raise ConfigError("raw_subject needs decode, process or poll: frames go out as they came already")
        for field in ("command_subject", "request_subject"):
            if getattr(self, field):
                _check_subject(field, getattr(self, field))
                self._check_no_echo(field)
        if self.request_subject and _overlap(self.command_subject, self.request_subject):
            raise ConfigError(
                f"command_subject {self.command_subject!r} includes request_subject; it would be written twice"
            )

    def _check_no_echo(self, what: str) -> None:
        """What the port publishes must not come back to it as commands or requests."""
        own = (
            ("subject", self.subject),
            ("subject", f"{self.subject}.*" if self.decode or self.process or self.poll else ""),
            ("raw_subject", self.raw_subject),
            ("port_subject", self.port_subject),
            ("port_subject", f"{self.port_subject}.>" if self.port_subject else ""),
        )
        for field, subject in own:
            if subject and _overlap(getattr(self, what), subject):
                raise ConfigError(
                    f"{what} {getattr(self, what)!r} includes {field} {getattr(self, field)!r}: "
                    "the device would be sent its own output"
                )

    def _check_requests(self) -> None:
        if not limits.REQUEST_TIMEOUT_MIN_NS <= self.request_timeout_ns <= limits.REQUEST_TIMEOUT_MAX_NS:
            raise ConfigError("request_timeout is not between 1ms and 60s")
        if len(self.places) > limits.EXPORTS_MAX or len(set(self.places)) < len(self.places):
            raise ConfigError(f"export has the same place twice, or more than {limits.EXPORTS_MAX}")
        try:
            pattern_of(self.request_match)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if not self.request_subject and self.request_match != NEXT:
            raise ConfigError("request_match needs a request_subject")

    def _check_polls(self) -> None:
        """Who asks knows where answers end and what they mean."""
        if self.modbus:
            _check_choice("modbus", self.modbus, ("rtu", "tcp"))
        if not self.polls:
            if self.modbus:
                raise ConfigError("modbus needs poll")
            return
        for field in msgspec.structs.fields(type(self)):
            without = (
                "framing",
                "decode",
                "command_subject",
                "max_frame_bytes",
                "idle_gap_ns",
                "request_match",
            )
            if field.name in without and getattr(self, field.name) != field.default:
                raise ConfigError(f"{field.name} means nothing with poll")

    def _check_framing(self) -> None:
        if not 0 < self.max_frame_bytes <= limits.FRAME_BYTES_MAX:
            raise ConfigError(
                f"max_frame_bytes {self.max_frame_bytes} is not between 1 and {limits.FRAME_BYTES_MAX}"
            )
        if self.idle_gap_ns < 0:
            raise ConfigError("idle_gap must not be below 0")
        self.framer()
        if self.shape and not (self.decode or self.process or self.poll):
            raise ConfigError("shape needs decode: it works on readings, and frames as they came have none")
        for field in ("decode", "process", "poll"):
            if getattr(self, field) and not self.subject:
                raise ConfigError(f"{field} needs a subject for the readings")
        self.pipeline()
        assert self.worker is None or self.worker.function

    def _check_protocol(self) -> None:
        """A protocol says itself where frames end and what they mean; a setting for that is refused, not ignored."""
        if not self.protocol:
            return
        _check_choice("protocol", self.protocol, PROTOCOLS)
        if not self.subject:
            raise ConfigError(f"protocol {self.protocol} needs a subject for the readings")
        if any(token in ("*", ">") for token in self.command_subject.split(".")):
            raise ConfigError(
                f"command_subject {self.command_subject!r} has a wildcard; the board is behind it"
            )
        if f"{self.command_subject}.".startswith(f"{self.subject}."):
            raise ConfigError(
                f"command_subject {self.command_subject!r} is below subject {self.subject!r}: the stream that takes "
                "the readings would answer the commands"
            )
        for field in msgspec.structs.fields(type(self)):
            mine = ("framing", "decode", "shape", "raw_subject", "max_frame_bytes", "idle_gap_ns", *_AROUND)
            default = {} if field.name == "shape" else field.default
            if field.name in mine and getattr(self, field.name) != default:
                raise ConfigError(f"{field.name} means nothing with protocol {self.protocol}")

    def _check_images(self) -> None:
        if self.images:
            from phloem.firmware_bridge.images.settings import image_settings  # noqa: PLC0415  (only who has them)

            image_settings(self.images, self.protocol)


def check_distinct(ports: Sequence[SerialSettings]) -> None:
    """Raise ConfigError if two of ``ports`` have the same name or device, or are shared at the same place."""
    for field in ("name", "device", "export"):
        values = [getattr(port, field) for port in ports]
        if field == "export":
            values = [place for places in values for place in places]
        for value in values:
            if values.count(value) > 1:
                raise ConfigError(f"two serial ports have the {field} {value!r}")


def _check_choice(field: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{field} {value!r} is none of {', '.join(map(str, choices))}")


def _check_subject(field: str, subject: str) -> None:
    tokens = subject.split(".")
    too_long = len(subject.encode()) > limits.SUBJECT_BYTES_MAX
    if too_long or "" in tokens or _BAD_IN_SUBJECT.search(subject) or ">" in tokens[:-1]:
        raise ConfigError(f"{field} {subject!r} is not a valid subject")


def _overlap(one: str, other: str) -> bool:
    """Whether there is a subject that both patterns match."""
    for mine, theirs in zip_longest(one.split("."), other.split(".")):
        if None in (mine, theirs):
            return False
        if ">" in (mine, theirs):
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
    return True


def _init(entry: str) -> bytes | int:
    """Bytes to write, or a pause in nanoseconds. Raises ValueError."""
    if entry.startswith("pause:"):
        return parse_duration(entry.removeprefix("pause:"))
    return unescape("init", entry, 1, limits.INIT_BYTES_MAX)
