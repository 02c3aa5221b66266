"""Options that are phloem's own: serial devices, and what nats-server has not. Declared as in ``options.py``."""

from typing import Annotated, Any

import msgspec

from phloem.shared import limits
from phloem.shared.server.declare import Duration, Kind, Opt, Size
from phloem.shared.server.options_link import LinkOptions

INT32_MAX = (1 << 31) - 1


class Serial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A serial device whose frames are published and that takes commands. phloem's own."""

    name: Annotated[str, Opt("The block's name.", key="")] = ""
    device: Annotated[
        str,
        Opt(
            "Path, or by-id:, by-path:, usb:VID:PID[:SERIAL], socket://, rfc2217:// or pty://; docs/serial.md.",
            example='"/dev/ttyACM0"',
        ),
    ] = ""
    baud: Annotated[int, Opt("Bits per second.", least=1, most=INT32_MAX)] = limits.SERIAL_BAUD
    bytesize: Annotated[int, Opt("Data bits.", least=5, most=8)] = 8
    parity: Annotated[str, Kind.CHOICE, Opt("Parity bit.", choices="none even odd mark space")] = "none"
    stopbits: Annotated[int, Opt("Stop bits.", least=1, most=2)] = 1
    flow_control: Annotated[
        str,
        Kind.CHOICE,
        Opt("What keeps either side from sending too fast.", choices="none xonxoff rtscts"),
    ] = "none"
    dtr: Annotated[
        str,
        Kind.CHOICE,
        Opt(
            "What DTR, which resets many boards, does while the port is open; keep: it is left alone.",
            choices="on off keep",
        ),
    ] = "on"
    rts: Annotated[str, Kind.CHOICE, Opt("The same for RTS.", choices="on off keep")] = "on"
    init: Annotated[
        tuple[str, ...],
        Opt(
            "Written to the device whenever it is opened; pause:500ms is a pause.",
            example=r'["ATZ\\r", "pause:500ms"]',
        ),
    ] = ()
    silent_after_ns: Annotated[
        Duration, Opt("A device that says nothing for so long is opened anew; 0: never.", example='"30s"')
    ] = 0
    capture: Annotated[
        Size,
        Opt(
            "Recent traffic that is kept in memory, to be asked for after a fault; 0: none.",
            least=0,
            most=limits.SERIAL_CAPTURE_MAX,
        ),
    ] = limits.SERIAL_CAPTURE
    framing: Annotated[
        str | dict[str, Any],
        Kind.TYPED,
        Opt("Where frames end; docs/serial.md has all of them.", example='"line"'),
    ] = "line"
    idle_gap_ns: Annotated[
        Duration, Opt("Silence that ends a raw frame, or breaks an unfinished one; 0: it says nothing.")
    ] = 0
    protocol: Annotated[
        str,
        Kind.CHOICE,
        Opt(
            "A board that loses nothing, instead of framing, decode and shape; docs/edgelink.md.",
            choices="edgelink",
            example="edgelink",
        ),
    ] = ""
    decode: Annotated[
        str | dict[str, Any],
        Kind.TYPED,
        Opt(
            "What frames say: their values go out as readings, one subject for each channel.",
            example='"json"',
        ),
    ] = ""
    shape: Annotated[
        dict[str, Any],
        Kind.SETTINGS,
        Opt("Which readings are worth the disk and the link.", example="{ changes { deadband: 0.2 } }"),
    ] = {}
    images: Annotated[
        dict[str, Any],
        Kind.SETTINGS,
        Opt(
            "Firmware for the board, out of an object store; docs/firmware.md.",
            example='{ board: pump-v2, keys: ["/etc/phloem/firmware.pub"], state_dir: /var/lib/phloem/firmware }',
        ),
    ] = {}
    process: Annotated[
        str | dict[str, Any],
        Kind.TYPED,
        Opt(
            "Your own function, in a process of its own, for each reading or frame; docs/serial.md.",
            example='"cooling:dew_point"',
        ),
    ] = ""
    poll: Annotated[
        tuple[dict[str, Any], ...],
        Kind.SETTINGS_LIST,
        Opt(
            "What Modbus devices are asked, and how often.",
            example="[{ unit: 3, function: input_registers, address: 0, every: 5s, names: [voltage] }]",
        ),
    ] = ()
    modbus: Annotated[
        str,
        Kind.CHOICE,
        Opt("How Modbus devices are asked; tcp without it for socket://.", choices="rtu tcp", example="rtu"),
    ] = ""
    export: Annotated[
        tuple[str, ...],
        Opt(
            "Where other programs can use the port meanwhile: pty://NAME, rfc2217://:PORT.",
            example='"rfc2217://:2217"',
        ),
    ] = ()
    request_subject: Annotated[
        str,
        Opt("Requests on it are written to the device; the next frame is the answer.", example='"ask.bench"'),
    ] = ""
    request_match: Annotated[
        str, Opt("A regular expression that the frame has to match; next: any.", example='"^OK"')
    ] = "next"
    request_timeout_ns: Annotated[Duration, Opt("How long the device has to answer a request or a poll.")] = (
        limits.SERIAL_REQUEST_TIMEOUT_NS
    )
    max_frame_bytes: Annotated[
        Size, Opt("A longer frame is dropped.", least=1, most=limits.SERIAL_FRAME_MAX)
    ] = limits.SERIAL_FRAME
    subject: Annotated[str, Opt("Where frames are published.", example='"sensors.bench"')] = ""
    raw_subject: Annotated[
        str, Opt("With decode: frames as they came are published here as well.", example='"raw.bench"')
    ] = ""
    port_subject: Annotated[
        str,
        Opt(
            "What the port says of itself is below this, and it is asked there; SUBJECT.$port without it.",
            example='"ports.bench"',
        ),
    ] = ""
    command_subject: Annotated[
        str, Opt("Messages on it are written to the device.", example='"commands.bench"')
    ] = ""
    retry_min_ns: Annotated[Duration, Opt("First pause before opening the device again.")] = (
        limits.SERIAL_RETRY_MIN_NS
    )
    retry_max_ns: Annotated[Duration, Opt("Longest pause; pauses double up to it.")] = (
        limits.SERIAL_RETRY_MAX_NS
    )


class Twin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device shares with its hub. phloem's own."""

    device: Annotated[
        str, Opt("Name of the device at the hub; server_name without it.", example='"greenhouse-1"')
    ] = ""
    account: Annotated[str, Opt("Account of the device's buckets, and of its link.", example='"A"')] = ""
    hub_domain: Annotated[str, Opt("JetStream domain of the hub.")] = "hub"
    config_keys: Annotated[
        tuple[str, ...],
        Opt(
            "Top-level options that the hub may set, also serial.process, serial.images and serial.export. What is "
            "not taken over on reload is refused in any case.",
            example='["serial", "debug", "trace", "leafnodes"]',
        ),
    ] = ("serial", "debug", "trace", "logtime", "logtime_utc", "max_connections")
    config_credentials: Annotated[
        bool, Opt("Whether there may be passwords, keys and paths of credentials among them.")
    ] = False
    config_trial_ns: Annotated[
        Duration, Opt("A new configuration is taken back unless the hub was reached within this.")
    ] = limits.TWIN_TRIAL_NS
    heartbeat_ns: Annotated[
        Duration, Opt("How often the hub says that it is still there, while nothing changes.")
    ] = limits.TWIN_HEARTBEAT_NS


class PhloemOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What nats-server does not have."""

    unix_socket: Annotated[
        str, Opt("Path of a socket for clients on this machine.", example='"/run/phloem/nats.sock"')
    ] = ""
    unix_socket_mode: Annotated[int, Kind.FILE_MODE, Opt("Permissions of that socket.")] = 0o660
    log_format: Annotated[
        str,
        Kind.CHOICE,
        Opt(
            "journal: systemd's, with fields; auto: journal when systemd reads the log, else text.",
            choices="auto text json journal",
            flags="log_format",
            reload=True,
            value="format",
        ),
    ] = "auto"
    forward_to: Annotated[
        str,
        Kind.CHOICE,
        Opt(
            "What takes what is forwarded. phloem: a hub of phloem's; jetstream: streams of any hub with JetStream; "
            "auto: a hub of phloem's if there is one, else jetstream.",
            choices="auto phloem jetstream",
        ),
    ] = "auto"
    hub_domain: Annotated[
        str,
        Opt(
            "JetStream domain of the hub, for `forward_to`, if it is another one than that of the server this one is "
            "linked to.",
            example='"hub"',
        ),
    ] = ""
    store_key_file: Annotated[
        str,
        Opt(
            "File with the key of jetstream, instead of `key` there; a name without a slash is a credential of "
            "systemd (`LoadCredential=`).",
            example='"store-key"',
        ),
    ] = ""
    store_prev_key_file: Annotated[str, Opt("The same for `prev_key`.")] = ""
    link: Annotated[LinkOptions, Opt("Links on bad and on costly networks.", reload=True)] = LinkOptions()
