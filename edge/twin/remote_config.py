"""Configuration from the hub: checked, written down, applied as a reload; proved by reaching the hub, or taken back."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from phloem.edge.line import NoAnswer, Refused
from phloem.edge.twin.bucket import Bucket
from phloem.edge.twin.overlay import lay_over, read_kept, write_kept
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.options import Options
from phloem.shared.server.reload import use
from phloem.shared.twin.command import digest
from phloem.shared.twin.names import CONFIG
from phloem.shared.twin.trial import Outcome, Verdict

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.twin")

RELOADED = "the configuration was reloaded on the device meanwhile"


class RemoteConfig:
    """The key ``config`` of both buckets. ``finish``: the product's own part of making options."""

    def __init__(
        self,
        server: "Server",
        path: Path,
        reported: Bucket,
        trial_ns: int,
        finish: Callable[[Options], Options],
    ) -> None:
        self._server, self._path, self._reported = server, path, reported
        self._trial_ns, self._finish = trial_ns, finish
        self._kept = read_kept(path)
        self._wanted: tuple[str, int] | None = None  # text, revision
        self._came = asyncio.Event()
        self._proved = asyncio.Event()
        self._tried: Options | None = None

    async def begin(self) -> None:
        """What a trial before this start has come to. Raises OSError, NoAnswer, Refused."""
        kept = self._kept.started()
        if kept is not self._kept:
            log.warning("twin: %s", kept.verdict.error if kept.verdict else "")
            write_kept(self._path, kept)
            self._kept = kept
        await self._report()

    def changed(self, body: bytes | None, revision: int) -> None:
        """The hub wants this; None: what the device has by itself."""
        self._wanted = ((body or b"").decode(errors="replace"), revision)
        self._came.set()

    def acknowledged(self, body: bytes) -> None:
        """The hub has this report."""
        verdict, kept = _verdict(body), self._kept.verdict
        if kept is not None and verdict == kept and verdict.state is Outcome.TRIAL:
            self._proved.set()

    async def keep(self, linked: asyncio.Event) -> None:
        """Take what comes, for ever; a trial needs a link to begin with. Raises OSError, NoAnswer, Refused."""
        while True:
            await self._came.wait()
            await linked.wait()
            self._came.clear()
            if self._wanted is None:
                continue
            text, revision = self._wanted
            mark = digest(text.encode())
            if self._kept.is_new(revision, mark):
                await self._try(text, revision, mark)

    async def _try(self, text: str, revision: int, mark: str) -> None:
        before = self._server.options
        local = before.local or before
        try:
            new = self._finish(lay_over(local, text))
        except ConfigError as problem:
            await self._refuse(revision, mark, problem)
            return
        log.info("twin: revision %d of the configuration is tried", revision)
        self._kept = self._kept.begin(text, revision, mark)
        write_kept(self._path, self._kept)
        self._proved.clear()
        try:
            use(self._server, lambda: new)
        except (ConfigError, OSError) as problem:
            await self._refuse(revision, mark, problem)
            return
        self._tried = self._server.options
        try:
            why = await self._prove()
        except BaseException:  # the twin ends, and nobody would take it back
            self._take_back(before)
            raise
        if why:
            self._take_back(before)
        self._tried = None
        self._kept = self._kept.fail(why) if why else self._kept.pass_()
        write_kept(self._path, self._kept)
        log.log(logging.WARNING if why else logging.INFO, "twin: revision %d: %s", revision, why or "applied")
        await self._report()

    def _take_back(self, before: Options) -> None:
        if self._server.options is not self._tried:
            return  # a reload on the device has done it
        try:
            use(self._server, lambda: before)
        except (ConfigError, OSError) as problem:  # as when a file that it names is gone
            log.critical("twin: the former configuration cannot be had back before a restart: %s", problem)

    async def _prove(self) -> str:
        """Why it is no good; empty: the hub could be reached with it."""
        try:
            async with asyncio.timeout(self._trial_ns / SECOND_NS):
                await self._report()
                await self._proved.wait()
        except TimeoutError:
            return f"the hub was not reached within {self._trial_ns / SECOND_NS:g} s"
        except (NoAnswer, Refused) as problem:
            return f"nothing could be stored: {problem}"
        return RELOADED if self._server.options is not self._tried else ""

    async def _refuse(self, revision: int, mark: str, problem: Exception) -> None:
        log.warning("twin: revision %d of the configuration is refused: %s", revision, problem)
        self._kept = self._kept.refuse(revision, mark, str(problem))
        write_kept(self._path, self._kept)
        await self._report()

    async def _report(self) -> None:
        verdict = self._kept.verdict
        here = self._reported.value(CONFIG)
        if verdict is not None and (here is None or _verdict(here.body) != verdict):
            await self._reported.put(CONFIG, msgspec.json.encode(verdict))


def _verdict(body: bytes) -> Verdict | None:
    try:
        return msgspec.json.decode(body, type=Verdict)
    except (ValueError, RecursionError):
        return None
