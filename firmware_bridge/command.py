"""``phloem bridge``: one serial port and any NATS server."""

import asyncio
import logging
import signal
import sys
from random import SystemRandom

import click
import msgspec
from rich.console import Console

from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.decoding.catalogue import DECODINGS
from phloem.firmware_bridge.framing.catalogue import FRAMINGS
from phloem.firmware_bridge.listing import print_ports
from phloem.firmware_bridge.nats_publisher import NatsPublisher
from phloem.firmware_bridge.settings import (
    BYTESIZES,
    FLOW_CONTROLS,
    LINES,
    PARITIES,
    PROTOCOLS,
    STOPBITS,
    SerialSettings,
)
from phloem.shared.clock import SystemClock
from phloem.shared.errors import ConfigError
from phloem.shared.server.durations import parse_duration

_DEFAULTS = {
    field.name: field.default
    for field in msgspec.structs.fields(SerialSettings)
    if field.default is not msgspec.NODEFAULT
}
_WITH_SETTINGS = ("delimiter", "fixed", "length_prefix", "csv", "regex", "struct")  # only in a file
_SCHEMES = ("nats", "tls", "ws", "wss")


def _list(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        print_ports(Console())
        ctx.exit()


def _check_servers(_ctx: click.Context, _param: click.Parameter, servers: tuple[str, ...]) -> tuple[str, ...]:
    for server in servers:
        scheme, found, rest = server.partition("://")
        if (found and scheme not in _SCHEMES) or not (rest if found else server):
            raise click.BadParameter(f"{server!r} is not like nats://127.0.0.1:4222")
    return servers


def _duration(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}
)
@click.option(
    "--device",
    required=True,
    metavar="DEVICE",
    help="Path of a serial device (see --list), by-id:NAME, by-path:NAME, usb:VID:PID[:SERIAL], socket://HOST:PORT, "
    "rfc2217://HOST:PORT or pty://NAME.",
)
@click.option("--subject", required=True, help="Where every frame is published.")
@click.option(
    "--command-subject", default="", help="Payloads published here are written to the device as they are."
)
@click.option(
    "--request-subject",
    default="",
    help="Requests published here are written to the device; the next frame is the answer.",
)
@click.option(
    "--request-match",
    default=_DEFAULTS["request_match"],
    metavar="REGEX",
    help="What the frame that answers a request looks like; next: any frame.",
)
@click.option(
    "--request-timeout",
    "request_timeout_ns",
    default="1s",
    callback=_duration,
    metavar="TIME",
    help="How long the device has to answer.",
)
@click.option("--raw-subject", default="", help="With --decode: frames as they came go here as well.")
@click.option(
    "--port-subject",
    default="",
    show_default="SUBJECT.$port",
    help="Events of the port go to PORT_SUBJECT.EVENT; requests there ask for its state and recent traffic.",
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    default=["nats://127.0.0.1:4222"],
    callback=_check_servers,
    metavar="URL",
    help="NATS server; nats://user:password@host:port works too. Repeat for a cluster.",
)
@click.option(
    "--name", default="", show_default="last part of the device", help="Name for Phloem-Port and the log."
)
@click.option("--baud", type=int, default=_DEFAULTS["baud"], help="Speed of the line.")
@click.option("--bytesize", type=click.Choice(BYTESIZES), default=_DEFAULTS["bytesize"], help="Data bits.")
@click.option("--parity", type=click.Choice(PARITIES), default=_DEFAULTS["parity"], help="Parity bit.")
@click.option("--stopbits", type=click.Choice(STOPBITS), default=_DEFAULTS["stopbits"], help="Stop bits.")
@click.option(
    "--flow-control",
    type=click.Choice(FLOW_CONTROLS),
    default=_DEFAULTS["flow_control"],
    help="What keeps either side from sending too fast.",
)
@click.option(
    "--dtr",
    type=click.Choice(LINES),
    default=_DEFAULTS["dtr"],
    help="Line that resets many boards when it comes on; keep: leave it as it is, at closing as well.",
)
@click.option("--rts", type=click.Choice(LINES), default=_DEFAULTS["rts"], help="The same for RTS.")
@click.option(
    "--init",
    multiple=True,
    metavar="TEXT",
    help=r"Written when the device is opened, with \r, \n, \x03; 'pause:500ms' is a pause. Repeat for more.",
)
@click.option(
    "--silent-after",
    "silent_after_ns",
    default="0",
    callback=_duration,
    metavar="TIME",
    help="A device that says nothing for so long, as 30s, is opened anew; 0: never.",
)
@click.option(
    "--capture",
    type=int,
    default=_DEFAULTS["capture"],
    metavar="BYTES",
    help="Recent traffic to keep in memory, to be asked for after a fault.",
)
@click.option(
    "--framing",
    type=click.Choice([name for name in FRAMINGS if name not in _WITH_SETTINGS]),
    default=_DEFAULTS["framing"],
    help="line: text lines, ended by LF, CR LF or CR. raw: bytes as they come. docs/serial.md has all.",
)
@click.option(
    "--decode",
    type=click.Choice([name for name in DECODINGS if name not in _WITH_SETTINGS]),
    show_default="frames go out as they came",
    help="Publish the values that frames say, each channel to SUBJECT.CHANNEL as JSON.",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    show_default="frames, see --framing",
    help="edgelink: a board that loses nothing; SUBJECT.> has to be in a stream. docs/edgelink.md.",
)
@click.option(
    "--process",
    default="",
    metavar="MODULE:FUNCTION",
    help="Your own function for each reading, or each frame without --decode; it runs in a process of its own.",
)
@click.option(
    "--export",
    multiple=True,
    metavar="PLACE",
    help="pty://NAME or rfc2217://:PORT: other programs can use the port there meanwhile. Repeat for more.",
)
@click.option(
    "--max-frame-bytes",
    type=int,
    default=_DEFAULTS["max_frame_bytes"],
    help="Longer lines are dropped and counted; raw frames are cut.",
)
@click.option(
    "--idle-gap-ms",
    type=click.IntRange(0),
    default=0,
    help="Silence that ends a raw frame or breaks an unfinished line; 0: it says nothing.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, not only what goes wrong.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="Show the serial ports of this machine and exit.",
)
def bridge(servers: tuple[str, ...], idle_gap_ms: int, verbose: bool, **fields: object) -> None:
    """Connect a serial device to any NATS server.

    Frames that the device sends are published with the headers Phloem-Port, Phloem-Seq (counts from 1;
    a gap is a loss), Phloem-Time (unix nanoseconds), Phloem-Boot (changes with every start), Phloem-Device,
    Phloem-Mono (the monotonic clock) and Phloem-Clock (synced, est, unsynced).
    A device that is missing or unplugged is waited for, and so is the server.

    A sensor that prints lines:

    \b
      phloem bridge --device /dev/ttyUSB0 --subject tele.greenhouse
      nats sub tele.greenhouse

    One that takes commands. What is published is what is written, so send the line end too:

    \b
      phloem bridge --device /dev/ttyACM0 --subject tele.pump --command-subject cmd.pump
      nats pub cmd.pump $'speed 40\\n'

    A scale or a Modbus RTU device, where silence ends a message:

    \b
      phloem bridge --device /dev/ttyUSB0 --baud 9600 --framing raw --idle-gap-ms 20 \\
                    --subject raw.scale

    Nothing comes, or nonsense? What the port says of itself, and the last bytes on the line:

    \b
      nats sub 'tele.greenhouse.$port.>'
      nats req 'tele.greenhouse.$port' capture

    Without hardware, you type what the device says:

    \b
      socat pty,raw,echo=0,link=/tmp/sensor -
      phloem bridge --device /tmp/sensor --subject tele.me

    All ports of a device as a service, with the serial blocks of a file, to the broker's Unix socket:

    \b
      phloem bridge -c /etc/phloem/bridge.conf
    """
    try:
        fields["decode"], fields["protocol"] = fields["decode"] or "", fields["protocol"] or ""
        settings = msgspec.convert({**fields, "idle_gap_ns": idle_gap_ms * 1_000_000}, SerialSettings)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    asyncio.run(_run(settings, servers))


async def _run(settings: SerialSettings, servers: tuple[str, ...]) -> None:
    """Until SIGINT or SIGTERM; then say what was done."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    rng = SystemRandom()
    commands = f" and {settings.command_subject} to it" if settings.command_subject else ""
    click.echo(f"{settings.device} to {settings.subject}{commands}; Ctrl-C ends", err=True)
    async with NatsPublisher(servers, rng, name=f"phloem bridge {settings.name}") as publisher:
        async with Bridge([settings], publisher, SystemClock(), rng, requests=publisher) as running:
            await stop.wait()
        done = running.sessions[0].counters
    click.echo(
        f"{done.frames} frames, {done.resyncs} resyncs, {publisher.backlog.dropped} dropped, "
        f"{done.commands} commands, {done.commands_dropped} commands dropped, opened {done.opens} times",
        err=True,
    )
