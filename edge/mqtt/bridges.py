"""The bridges of an edge: one for each ``bridge_mqtt`` block, each in a task of its own.

A broker in trouble, or streams that cannot be made, leave the others alone. A bug is logged, and that bridge starts
again.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phloem.edge.line import Line, NoAnswer, Refused
from phloem.edge.mqtt.commands import StreamCommands
from phloem.edge.mqtt.publisher import StreamPublisher
from phloem.edge.mqtt.settings import password_of
from phloem.edge.mqtt.streams import stream_for
from phloem.firmware_bridge.mqtt.bridge import MqttBridge
from phloem.firmware_bridge.mqtt.settings import MqttSettings
from phloem.firmware_bridge.timers import CallLater, pause
from phloem.shared.limits import SECOND_NS

if TYPE_CHECKING:
    from phloem.shared.server.server import Server
    from phloem.shared.store.store import Store

log = logging.getLogger("phloem.mqtt")

RESTART_NS = 10 * SECOND_NS  # after a bug, or while the streams cannot be made
KEY = b"mq/"  # in the store, with a bridge's name: what the broker's session has


class Bridges:
    """Starts with ``use``, and is told there what a reload wants; ends with ``stop``."""

    def __init__(self, server: "Server", call_later: CallLater) -> None:
        self._server, self._call_later = server, call_later
        self._tasks: dict[MqttSettings, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.running: dict[str, MqttBridge] = {}  # by name; those whose streams are there

    def use(self, settings: Sequence[MqttSettings]) -> None:
        """Bridge these from now on. Who is as before goes on unbroken."""
        for former in [one for one in self._tasks if one not in settings]:
            task = self._tasks.pop(former)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        for one in settings:
            if one not in self._tasks:
                work = self._keep(one, tuple(self._ending))
                self._tasks[one] = asyncio.create_task(work, name=f"mqtt {one.name}")

    async def stop(self) -> None:
        """End all of them."""
        tasks = [*self._tasks.values(), *self._ending]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def figures(self) -> dict[str, dict[str, Any]]:
        """For monitoring, by name."""
        return {name: bridge.figures() for name, bridge in sorted(self.running.items())}

    async def _keep(self, settings: MqttSettings, after: Sequence["asyncio.Task[None]"]) -> None:
        if after:  # one of them may have the same session, and the same name
            await asyncio.wait(after)
        said = ""
        while True:
            try:
                await self._serve(settings)
            except (NoAnswer, Refused) as problem:
                if str(problem) != said:
                    said = str(problem)
                    _unready(settings, said)
            except Exception:
                log.critical("bridge_mqtt %s: a bug ended it; it starts again", settings.name, exc_info=True)
            await pause(RESTART_NS, self._call_later)

    async def _serve(self, settings: MqttSettings) -> None:
        server = self._server
        mailbox = f"_INBOX_{server.name}.mqtt"
        line = Line(server, server.account(settings.account), mailbox)
        publisher = StreamPublisher(line, call_later=self._call_later)
        try:
            commands = await self._streams(settings, line)
            bridge = MqttBridge(
                settings,
                publisher,
                commands,
                _Kept(server, KEY + settings.name.encode()),
                server.clock,
                server.rng,
                password=lambda: password_of(settings),
                payload_max=server.options.max_payload,
                call_later=self._call_later,
            )
            self.running[settings.name] = bridge
            await bridge.run()
        finally:
            self.running.pop(settings.name, None)
            publisher.close()
            line.close()

    async def _streams(self, settings: MqttSettings, line: Line) -> StreamCommands | None:
        bounds: dict[str, Any] = {"max_bytes": settings.max_bytes, "max_age": settings.max_age_ns}
        if settings.topics:
            await stream_for(line, f"MQTT_{settings.name}", f"{settings.subject}.>", bounds)
        if not settings.command_subject:
            return None
        subject = f"{settings.command_subject}.>"
        stream = await stream_for(line, f"MQTTSET_{settings.name}", subject, {"retention": "workqueue"})
        if not stream:
            raise Refused(0, f"other streams have parts of {subject}, and commands come out of one")
        commands = StreamCommands(line, stream, subject, f"mqtt_{settings.name}", call_later=self._call_later)
        await commands.make()
        return commands


def _unready(settings: MqttSettings, problem: str) -> None:
    subjects = [f"{one}.>" for one in (settings.subject, settings.command_subject) if one]
    log.error(
        "bridge_mqtt %s: its streams cannot be used: %s; see which streams have %s; it is tried again",
        settings.name,
        problem,
        " and ".join(subjects),
    )


class _Kept:
    """A few bytes in the store of this server."""

    def __init__(self, server: "Server", key: bytes) -> None:
        self._server, self._key = server, key

    @property
    def _store(self) -> "Store":
        jetstream = self._server.jetstream
        assert jetstream is not None
        return jetstream.store

    def read(self) -> bytes:
        """As ``Memory`` has it."""
        return self._store.get(self._key) or b""

    def write(self, content: bytes) -> None:
        """As ``Memory`` has it."""
        self._server.do(lambda: self._store.put(self._key, content))
