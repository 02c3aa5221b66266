"""The demo from start to summary: write lines, show what happens to them, wait for the last, count.

Time and signals are the only input. A stop (end of ``--for``, Ctrl-C, a closed terminal) ends the writing; what is
in flight then still arrives and counts.
"""

import asyncio
import signal
import tempfile
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import NamedTuple

from rich.console import Console
from rich.live import Live

from phloem.edge.demo.children import DemoError
from phloem.edge.demo.pages import Leaf, Stored, read_link, read_stored
from phloem.edge.demo.picture import (
    Shown,
    Stage,
    Summary,
    picture,
    plain_line,
    plain_summary,
    summary_table,
)
from phloem.edge.demo.scene import Scene, open_scene
from phloem.edge.demo.tally import Rate
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

PLAIN_EVERY_S, LIVE_EVERY_S = 1.0, 0.125
PACE_S = 0.005  # lines of a rate above 200/s are written in bursts this far apart
SETTLE_TIMEOUT_S = 5.0  # without any progress; then what has not arrived is lost
SETTLE_LOOK_S = 0.02


class Wishes(NamedTuple):
    """What the command line asks for; ``for_ns`` 0 is until stopped."""

    for_ns: int
    rate: float
    plain: bool


class Show:
    """One run. ``run`` gives the summary."""

    def __init__(self, wishes: Wishes, console: Console, clock: Clock, rng: Random) -> None:
        self._wishes, self._console, self._clock, self._rng = wishes, console, clock, rng
        self._plain = wishes.plain or not console.is_terminal
        self._stop = asyncio.Event()
        self._start_ns = 0
        self._stored = Stored()
        self._rates = [Rate() for _ in range(4)]

    async def run(self) -> Summary:
        """Until stopped.

        Raises:
            DemoError: It cannot go on, or was stopped before it began.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        with tempfile.TemporaryDirectory(prefix="phloem-demo-") as folder:
            self._say("starting a hub, an edge and a sensor on this machine")
            async with open_scene(Path(folder), self._clock, self._rng, self._check_stopped) as scene:
                if self._wishes.for_ns:
                    loop.call_later(self._wishes.for_ns / SECOND_NS, self._stop.set)
                self._say(
                    f"hub {scene.hub.url('nats')}, edge {scene.edge.url('nats')}, sensor {scene.sensor.link}"
                )
                await self._play(scene)
                await self._settle(scene)
                return _summary(scene, self._stored)

    def _check_stopped(self) -> None:
        if self._stop.is_set():
            raise DemoError("stopped before it began")

    def _say(self, text: str) -> None:
        self._console.print(text, style=None if self._plain else "dim", highlight=False, soft_wrap=True)

    async def _play(self, scene: Scene) -> None:
        """Write and show until stopped."""
        self._start_ns = self._clock.monotonic_ns()
        writing = asyncio.create_task(self._write(scene), name="sensor")
        live = None if self._plain else Live(console=self._console, auto_refresh=False)
        try:
            with live or nullcontext():
                while True:
                    await self._show(scene, live)
                    if self._stop.is_set():
                        return
                    scene.check()
                    await self._pause(PLAIN_EVERY_S if self._plain else LIVE_EVERY_S)
        finally:
            writing.cancel()
            await asyncio.wait({writing})

    async def _pause(self, seconds: float) -> None:
        """So long, or until stopped."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _write(self, scene: Scene) -> None:
        """Lines at the rate asked for, counted from the start: one that came late does not delay the others."""
        rate, sensor, due = self._wishes.rate, scene.sensor, 0
        while not self._stop.is_set():
            wanted = int((self._clock.monotonic_ns() - self._start_ns) * rate / SECOND_NS) + 1
            while due < wanted:
                sensor.emit()
                due += 1
            await asyncio.sleep(max(1 / rate / 2, PACE_S))

    async def _show(self, scene: Scene, live: Live | None) -> None:
        link = await read_link(scene.edge.url("monitoring"))
        self._stored = await read_stored(scene.edge.url("monitoring")) or self._stored
        now = self._look(scene, link)
        if live is not None:
            live.update(picture(now), refresh=True)
        else:
            self._say(plain_line(now))

    def _look(self, scene: Scene, link: Leaf | None) -> Shown:
        now_ns = self._clock.monotonic_ns()
        at_edge, at_hub, sensor = scene.at_edge, scene.at_hub, scene.sensor
        counts = (sensor.sent, at_edge.lines, link.out_msgs if link else 0, at_hub.lines)
        written, published, crossed, received = (
            rate.update(now_ns, count) for rate, count in zip(self._rates, counts, strict=True)
        )
        return Shown(
            elapsed_s=(now_ns - self._start_ns) / SECOND_NS,
            written=Stage(sensor.sent, sensor.bytes_sent, written),
            published=Stage(at_edge.lines, at_edge.bytes, published),
            received=Stage(at_hub.lines, at_hub.bytes, received),
            link=link,
            link_rate=crossed,
            stored=self._stored,
            latency_ns=at_hub.latency_ns,
            latest=at_hub.latest,
        )

    async def _settle(self, scene: Scene) -> None:
        """Wait for what is in flight, as long as something moves."""
        progress, seen = self._clock.monotonic_ns(), -1
        while (
            min(scene.at_hub.distinct, self._stored.messages) < scene.sensor.sent
            or self._stored.store.pending_bytes
        ):
            self._stored = await read_stored(scene.edge.url("monitoring")) or self._stored
            now_ns = self._clock.monotonic_ns()
            if scene.at_hub.lines + self._stored.messages != seen:
                progress, seen = now_ns, scene.at_hub.lines + self._stored.messages
            if now_ns - progress > SETTLE_TIMEOUT_S * SECOND_NS:
                return
            scene.check()
            scene.sensor.write(b"")  # finishes a line that the kernel took only in part
            await asyncio.sleep(SETTLE_LOOK_S)
        await scene.settle()

    def finish(self, summary: Summary) -> None:
        """Print what came of it."""
        if self._plain:
            self._say(plain_summary(summary))
        else:
            self._console.print(summary_table(summary))


def _summary(scene: Scene, stored: Stored) -> Summary:
    sensor, at_hub = scene.sensor, scene.at_hub
    written = sensor.sent + sensor.lost
    return Summary(
        written=written,
        read=scene.at_edge.distinct,
        stored=stored.messages,
        delivered=at_hub.distinct,
        lost=written - at_hub.distinct,
        duplicated=at_hub.duplicated,
        garbled=at_hub.garbled,
        median_ns=at_hub.percentile_ns(50),
        worst_ns=at_hub.percentile_ns(99),
    )
