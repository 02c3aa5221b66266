"""The command ``phloem demo``."""

import asyncio
import sys
from random import Random

import click
from rich.console import Console

from phloem.edge.demo.children import DemoError
from phloem.edge.demo.show import Show, Wishes
from phloem.shared.clock import SystemClock
from phloem.shared.server.durations import parse_duration

RATE_MAX = 5000.0  # the sensor is a Python program; beyond this it would be what is measured


def _duration(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    """``10s``, ``1m30s`` as nanoseconds."""
    try:
        duration_ns = parse_duration(text)
    except ValueError:
        duration_ns = 0
    if duration_ns <= 0:
        raise click.BadParameter(f"{text!r} is not a time such as 10s or 1m30s")
    return duration_ns


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--for",
    "for_ns",
    default="30s",
    show_default=True,
    callback=_duration,
    metavar="TIME",
    help="How long readings are written; the cable is cut after a fifth of it, for two fifths.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, RATE_MAX, min_open=True),
    default=200.0,
    show_default=True,
    metavar="LINES",
    help="Lines that the sensor writes each second.",
)
@click.option("--plain", is_flag=True, help="A line each second instead of a picture, as without a terminal.")
def demo(for_ns: int, rate: float, plain: bool) -> None:
    """Show what a bad link does to readings: nothing.

    Starts a hub, an edge, a simulated sensor on a real pseudo-terminal that the edge serves as a serial device,
    and a narrow cable between edge and hub, all on this machine. The edge forwards the readings to a stream of
    the hub. After a while the cable is cut, and readings wait on the edge's disk; then it is mended, and they
    follow, behind the alarms that were raised meanwhile.

    Each line that the sensor writes carries a number. At the end, which is also Ctrl-C, the hub's stream is read
    and they are counted: the exit status is 0 only if every line is in it exactly once and in order.

    \b
      phloem demo
      phloem demo --for 10s --rate 500
      phloem demo --for 1m --plain > demo.log
    """
    try:
        ok = asyncio.run(_run(Wishes(for_ns, rate, plain)))
    except (DemoError, OSError) as error:
        click.echo(f"phloem demo: {error}", err=True)
        sys.exit(1)
    sys.exit(0 if ok else 1)


async def _run(wishes: Wishes) -> bool:
    show = Show(wishes, Console(), SystemClock(), Random())
    summary = await show.run()
    show.finish(summary)
    return summary.is_clean
