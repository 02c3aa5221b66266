"""The demo from start to summary: write lines, cut and mend the cable, show what happens, wait for the last, count.

Time and signals are the only input. A stop (end of ``--for``, Ctrl-C, a closed terminal) ends the writing and mends the
cable; what waits then still arrives and counts.
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
from phloem.edge.demo.story import CUT, MEND, Do, Story
from phloem.edge.demo.tally import Rate
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

PLAIN_EVERY_S, LIVE_EVERY_S = 1.0, 0.125
PACE_S = 0.005  # lines of a rate above 200/s are written in bursts this far apart
STORY_S = 0.02
SETTLE_TIMEOUT_S = 15.0  # without any progress, dialling included; then what has not arrived is lost
SETTLE_LOOK_S = 0.02
LINK_LINE_BYTES, LINK_BYTES_MIN = 100, 4000  # the link a second: a backlog takes a while, as over radio


class Wishes(NamedTuple):
    """What the command line asks for."""

    for_ns: int
    rate: float
    plain: bool

    @property
    def link_rate(self) -> int:
        """Bytes a second that the cable carries."""
        return max(round(self.rate * LINK_LINE_BYTES), LINK_BYTES_MIN)

    @property
    def room(self) -> int:
        """Readings that will wait at most, about."""
        return round(self.rate * self.for_ns / SECOND_NS * (MEND - CUT)) + 1


class Show:
    """One run. ``run`` gives the summary."""

    def __init__(self, wishes: Wishes, console: Console, clock: Clock, rng: Random) -> None:
        self._wishes, self._console, self._clock, self._rng = wishes, console, clock, rng
        self._plain = wishes.plain or not console.is_terminal
        self._stop = asyncio.Event()
        self._start_ns = 0
        self._stored = Stored()
        self._story = Story(wishes.for_ns)
        self._rates = [Rate() for _ in range(3)]

    async def run(self) -> Summary:
        """Until stopped.

        Raises:
            DemoError: It cannot go on, or was stopped before it began.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        with tempfile.TemporaryDirectory(prefix="phloem-demo-") as folder:
            self._say(
                "starting a hub, an edge and a sensor on this machine, and a narrow cable between the two"
            )
            opening = open_scene(
                Path(folder), self._wishes.link_rate, self._clock, self._rng, self._check_stopped
            )
            async with opening as scene:
                self._say(
                    f"hub {scene.hub.url('nats')}, edge {scene.edge.url('nats')}, sensor {scene.sensor.link}, "
                    f"cable {scene.cable.rate:,} B/s"
                )
                loop.call_later(self._wishes.for_ns / SECOND_NS, self._stop.set)
                await self._play(scene)
                return await self._summary(scene)

    def _check_stopped(self) -> None:
        if self._stop.is_set():
            raise DemoError("stopped before it began")

    def _say(self, text: str) -> None:
        self._console.print(text, style=None if self._plain else "dim", highlight=False, soft_wrap=True)

    def _tell(self, text: str) -> None:
        style = None if self._plain else "bold"
        self._console.print(
            f"{self._now() / SECOND_NS:6.1f} s  {text}", style=style, highlight=False, soft_wrap=True
        )

    @property
    def _every_s(self) -> float:
        return PLAIN_EVERY_S if self._plain else LIVE_EVERY_S

    def _now(self) -> int:
        return self._clock.monotonic_ns() - self._start_ns

    async def _play(self, scene: Scene) -> None:
        """Write, tell and show until stopped, and until all has arrived."""
        self._start_ns = self._clock.monotonic_ns()
        writing = asyncio.create_task(self._write(scene), name="sensor")
        story = asyncio.create_task(self._happen(scene), name="story")
        live = None if self._plain else Live(console=self._console, auto_refresh=False)
        try:
            with live or nullcontext():
                while not self._stop.is_set():
                    await self._show(scene, live)
                    scene.check()
                    if story.done():
                        story.result()
                    await self._pause(self._every_s)
                await story
                await self._settle(scene, live)
        finally:
            writing.cancel()
            story.cancel()
            await asyncio.wait({writing, story})

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
            wanted = int(self._now() * rate / SECOND_NS) + 1
            while due < wanted:
                sensor.emit()
                due += 1
            await asyncio.sleep(max(1 / rate / 2, PACE_S))

    async def _happen(self, scene: Scene) -> None:
        """What the story says, when it says so, until stopped."""
        story = self._story
        while not self._stop.is_set():
            self._hear(scene)
            match story.due(self._now(), scene.facts()):
                case Do.CUT:
                    await scene.cable.cut()
                    self._tell(story.cut(self._now()))
                case Do.ALARM:
                    self._tell(story.raised(self._now(), scene.facts()))
                    await scene.raise_alarm()
                case Do.MEND:
                    self._mend(scene)
            await asyncio.sleep(STORY_S)

    def _hear(self, scene: Scene) -> None:
        for text in self._story.arrived(self._now(), scene.facts()):
            self._tell(text)

    def _mend(self, scene: Scene) -> None:
        scene.cable.mend()
        self._tell(self._story.mended(self._now(), scene.facts()))

    async def _show(self, scene: Scene, live: Live | None) -> None:
        link = await read_link(scene.edge.url("monitoring"))
        self._stored = await read_stored(scene.edge.url("monitoring")) or self._stored
        now = self._look(scene, link)
        if live is not None:
            live.update(picture(now), refresh=True)
        else:
            self._say(plain_line(now))

    def _look(self, scene: Scene, link: Leaf | None) -> Shown:
        now_ns, facts = self._now(), scene.facts()
        at_hub, sensor, cable = scene.at_hub, scene.sensor, scene.cable
        counts = (sensor.sent, at_hub.lines, cable.carried)
        written, received, carried = (
            rate.update(now_ns, count) for rate, count in zip(self._rates, counts, strict=True)
        )
        return Shown(
            elapsed_s=now_ns / SECOND_NS,
            act=self._story.act,
            written=Stage(sensor.sent, sensor.bytes_sent, written),
            received=Stage(at_hub.lines, at_hub.bytes, received),
            historical=scene.historical,
            waiting=facts.waiting,
            room=max(self._wishes.room, self._story.peak),
            link=link if cable.is_whole else None,
            carried=Stage(0, cable.carried, carried),
            stored=self._stored,
            latest=at_hub.latest,
        )

    async def _settle(self, scene: Scene, live: Live | None) -> None:
        """Wait for what is on its way, as long as something moves."""
        if not scene.cable.is_whole:
            self._mend(scene)
        progress_ns = shown_ns = self._now()
        seen: tuple[int, ...] = ()
        while (facts := scene.facts()).arrived < scene.sensor.sent or facts.alarms < facts.raised:
            self._hear(scene)
            now_ns = self._now()
            if facts != seen:
                progress_ns, seen = now_ns, facts
            if now_ns - progress_ns > SETTLE_TIMEOUT_S * SECOND_NS:
                break
            if now_ns - shown_ns > self._every_s * SECOND_NS:
                shown_ns = now_ns
                await self._show(scene, live)
            scene.check()
            scene.sensor.write(b"")  # finishes a line that the kernel took only in part
            await asyncio.sleep(SETTLE_LOOK_S)
        await scene.settle()
        self._hear(scene)
        await self._show(scene, live)

    async def _summary(self, scene: Scene) -> Summary:
        """By what the hub's streams hold, not by what was seen on its way into them."""
        readings, alarms = await scene.audit()
        written = scene.sensor.sent + scene.sensor.lost
        return Summary(
            written=written,
            read=scene.at_edge.distinct,
            delivered=readings.distinct,
            lost=written - readings.distinct,
            unread=scene.sensor.lost,
            duplicated=readings.duplicated + alarms.duplicated,
            disordered=readings.disordered + alarms.disordered,
            garbled=readings.garbled + alarms.garbled,
            late=scene.historical,
            peak=self._story.peak,
            raised=scene.raised,
            alarms=alarms.distinct,
            overtaken=self._story.overtaken,
            carried=scene.cable.carried,
        )

    def finish(self, summary: Summary) -> None:
        """Print what came of it."""
        if self._plain:
            self._say(plain_summary(summary))
        else:
            self._console.print(summary_table(summary))
