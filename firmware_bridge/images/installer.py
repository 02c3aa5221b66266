"""Drives a port's machine: looks into the bucket, downloads, checks, flashes, and says how far it is.

Events and effects go through one queue, so that what is remembered is on the disk before what follows is begun. One
thing that takes time is under way at once.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from phloem.firmware_bridge.images import limits, machine, tools
from phloem.firmware_bridge.images.bucket import Bucket, BucketError, States
from phloem.firmware_bridge.images.machine import Flashed, Machine, Proof
from phloem.firmware_bridge.images.manifest import ObjectMeta, object_name, target_of
from phloem.firmware_bridge.images.record import Record, State, Target
from phloem.firmware_bridge.images.settings import ImageSettings
from phloem.firmware_bridge.images.shelf import Shelf
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.requests import Requests
from phloem.firmware_bridge.timers import CallLater, Timer, pause
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

logger = logging.getLogger("phloem.bridge")

Told = Callable[[Flashed | None, str], None]
"""How an upload stands: None when all of it is written, then once how it ended, and why."""


class Uploads(Protocol):
    """A port whose board takes images itself."""

    def install(self, image: bytes, version: str, told: Told) -> None:
        """Bring an image to the board; ``told`` may be called before this returns."""
        ...

    def give_up(self) -> None:
        """Nobody wants that any more; ``told`` is not called."""
        ...


class Lending(Protocol):
    """A port that can be had for a while."""

    def lent(self) -> AbstractAsyncContextManager[str]:
        """The device's path, which nothing of phloem has open meanwhile. Raises PortError."""
        ...


class _Case:
    """One board's, or for a tool one port's."""

    def __init__(self, key: str, uid: str, shelf: Shelf, machine_: Machine) -> None:
        self.key, self.uid, self.shelf, self.machine = key, uid, shelf, machine_
        self.offset = 0
        self.runs = ""


Work: TypeAlias = Callable[[_Case, Target], Coroutine[Any, Any, None]]


class Installer:
    """``run`` until cancelled. ``present`` and ``absent`` are told by the port.

    ``owners`` is shared by the ports of a bridge: who has a board's folder. A board that moves takes it along.
    """

    def __init__(
        self,
        name: str,
        settings: ImageSettings,
        port: Lending,
        uploads: Uploads | None,
        publisher: Publisher,
        requests: Requests,
        clock: Clock,
        call_later: CallLater,
        owners: "dict[str, Installer]",
    ) -> None:
        self.name, self.settings = name, settings
        self._owners = owners
        self._here: tuple[str, str] | None = None  # the board's uid and version
        self._port, self._uploads, self._publisher = port, uploads, publisher
        self._clock, self._call_later = clock, call_later
        self._keys = settings.public_keys()
        self._bucket = Bucket(requests, settings.bucket, settings.domain)
        self._states = States(requests, settings.states)
        self._inbox: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._look_now, self._say_now = asyncio.Event(), asyncio.Event()
        self._case: _Case | None = None
        self._work: asyncio.Task[None] | None = None
        self._group = asyncio.TaskGroup()
        self._timer: Timer | None = None
        self._warned = ""
        self._hinted = False
        self._to_say: deque[tuple[str, bytes]] = deque(maxlen=limits.STATES_MAX)

    # --- what is told ----------------------------------------------------------------------------------

    def present(self, uid: str, version: str) -> None:
        """A board is there. ``uid`` in hexadecimal and ``version`` are empty for one that does not say."""
        self._here = uid, version
        self._inbox.put_nowait(lambda: self._is_present(uid, version))

    def absent(self) -> None:
        """It is not any more."""

        self._here = None

        async def gone() -> None:
            if self._case is not None:
                self._case.machine.absent()

        self._inbox.put_nowait(gone)

    # --- the life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the port until cancelled; what is under way is ended then, and goes on at the next start."""
        unsubscribe = self._publisher.subscribe(f"$O.{self.settings.bucket}.M.>", self._hint)
        try:
            async with self._group as group:
                group.create_task(self._look_for_ever(), name=f"firmware bucket {self.name}")
                group.create_task(self._say_for_ever(), name=f"firmware states {self.name}")
                if self.settings.tool:
                    await self._open_case(_as_key(self.name), "")
                while True:
                    await (await self._inbox.get())()
        finally:
            unsubscribe()
            if self._timer is not None:
                self._timer.cancel()

    async def _is_present(self, uid: str, version: str) -> None:
        if self._here != (uid, version):
            return  # it has gone meanwhile
        case = self._case
        if case is None or (uid != case.uid and not self.settings.tool):
            await self._drop_case()
            owner = self._owners.get(uid)
            if owner is not None:
                self._inherit(owner, uid, version)
                return
            case = await self._open_case(uid, uid)
        case.uid, case.runs = uid, version
        await self._do(case, case.machine.present(version, self._clock.monotonic_ns()))
        self._look_now.set()

    def _inherit(self, owner: "Installer", uid: str, version: str) -> None:
        """Have the other port let go of a board that is here now. Nobody waits for anybody, as boards may change
        places."""

        async def let_go() -> None:
            if owner._case is not None and owner._case.key == uid:
                await owner._drop_case()
            if self._owners.get(uid) is owner:
                del self._owners[uid]
            self._inbox.put_nowait(lambda: self._is_present(uid, version))

        owner._inbox.put_nowait(let_go)

    async def _drop_case(self) -> None:
        await self._end_work()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._case is not None:
            self._owners.pop(self._case.key, None)
            self._case = None

    async def _open_case(self, key: str, uid: str) -> _Case:
        self._owners[key] = self
        shelf = Shelf(Path(self.settings.state_dir) / key)
        record = Record()
        try:
            record = await asyncio.to_thread(shelf.load)
        except OSError as error:
            logger.error("firmware of %s: %s: %s", self.name, error.filename, error.strerror)
        proof = Proof.TOOL if self.settings.verify else Proof.HELLO if self._uploads else Proof.EXIT
        hears, tool = self._uploads is not None, bool(self.settings.tool)
        self._case = case = _Case(key, uid, shelf, Machine(record, proof=proof, tool=tool, hears=hears))
        self._say(case, record)
        self._look_now.set()
        await self._do(case, case.machine.start(self._clock.monotonic_ns()))
        return case

    async def _do(self, case: _Case, effects: list[machine.Effect]) -> None:
        for effect in effects:
            match effect:
                case machine.Remember(record):
                    await self._remember(case, record)
                case machine.Stop():
                    await self._end_work()
                case machine.Fetch(target):
                    await self._begin(self._fetch, case, target)
                case machine.Check(target):
                    await self._begin(self._check, case, target)
                case machine.Flash(target):
                    await self._begin(self._flash, case, target)
                case machine.Prove(target):
                    await self._begin(self._prove, case, target)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (due_ns := case.machine.due_ns) is not None:
            wait_ns = due_ns - self._clock.monotonic_ns()
            self._timer = self._call_later(wait_ns, lambda: self._post(case, case.machine.expire))

    async def _begin(self, work: Work, case: _Case, target: Target) -> None:
        await self._end_work()
        self._work = self._group.create_task(work(case, target), name=f"firmware of {self.name}")

    async def _end_work(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
            self._work = None

    async def _remember(self, case: _Case, record: Record) -> None:
        """Nothing goes on before it is on the disk; a disk that refuses is waited for."""
        wait_ns = limits.RETRY_MIN_NS
        while True:
            try:
                await asyncio.to_thread(case.shelf.save, record)
                break
            except OSError as error:
                self._warn(f"its state cannot be kept: {error.strerror}")
            await pause(wait_ns, self._call_later)
            wait_ns = min(2 * wait_ns, limits.RETRY_MAX_NS)
        version = record.flashed.version if record.flashed is not None else ""
        level = logging.WARNING if record.state in (State.FAILED, State.ROLLED_BACK) else logging.INFO
        why = f": {record.why}" if record.why else ""
        logger.log(level, "firmware of %s: %s %s%s", self.name, version, record.state.value, why)
        self._say(case, record)

    def _post(self, case: _Case, told: Callable[[int], list[machine.Effect]]) -> None:
        async def step() -> None:
            if case is self._case:
                await self._do(case, told(self._clock.monotonic_ns()))

        self._inbox.put_nowait(step)

    # --- the bucket ------------------------------------------------------------------------------------

    async def _look_for_ever(self) -> None:
        failed_ns = limits.RETRY_MIN_NS
        while True:
            self._look_now.clear()
            hinted, self._hinted = self._hinted, False
            again_ns = limits.RETRY_MIN_NS if hinted else self.settings.look_ns
            case = self._case
            if case is not None:
                try:
                    target = await self._look(case.uid)
                except BucketError as error:
                    self._warn(f"the bucket {self.settings.bucket} cannot be read: {error}")
                    again_ns = min(again_ns, failed_ns)
                    failed_ns = min(2 * failed_ns, limits.RETRY_MAX_NS)
                else:
                    self._warned, failed_ns = "", limits.RETRY_MIN_NS
                    self._post(case, lambda now_ns, t=target, c=case: c.machine.wanted(t, now_ns))  # type: ignore[misc]
            timer = self._call_later(again_ns, self._look_now.set)
            await self._look_now.wait()
            timer.cancel()

    def _hint(self, _payload: bytes) -> None:
        """Something changes in the bucket: heard before its stream has it, so that it is asked now and once more."""
        self._hinted = True
        self._look_now.set()

    async def _look(self, uid: str) -> Target | None:
        """What this board has to run; None: nothing is said."""
        board = self.settings.board
        for only in (uid, "") if uid else ("",):
            meta: ObjectMeta | None = await self._bucket.look(object_name(board, only))
            if meta is not None:
                return target_of(meta, board, only, self._keys)
        return None

    async def _fetch(self, case: _Case, target: Target) -> None:
        wait_ns = limits.RETRY_MIN_NS
        while True:
            try:
                why = await self._fetch_on(case, target)
            except BucketError as error:
                self._warn(f"the download waits: {error}")
            except OSError as error:
                self._warn(f"the download waits: {error.strerror}")
            else:
                self._post(case, lambda _now_ns, why=why: case.machine.fetched(why))  # type: ignore[misc]
                return
            await pause(wait_ns, self._call_later)
            wait_ns = min(2 * wait_ns, limits.RETRY_MAX_NS)

    async def _fetch_on(self, case: _Case, target: Target) -> str:
        """From where the file ends to its end; or why it cannot be had."""
        shelf = case.shelf
        after, case.offset = await asyncio.to_thread(shelf.reached, target, target.nuid)
        if case.offset < target.size and not await asyncio.to_thread(shelf.room, target):
            return "there is no room for it on the disk"
        while case.offset < target.size:
            chunk = await self._bucket.chunk(target.nuid, after)
            if chunk is None:
                return "its bytes are not in the bucket"
            if case.offset + len(chunk.data) > target.size:
                return "it has more bytes than were signed"
            after = chunk.seq
            case.offset = await asyncio.to_thread(shelf.add, target, target.nuid, after, chunk.data)
            self._say_now.set()
        return ""

    async def _check(self, case: _Case, target: Target) -> None:
        try:
            why = await asyncio.to_thread(case.shelf.check, target)
        except OSError as error:
            why = f"the file cannot be read: {error.strerror}"
        self._post(case, lambda now_ns: case.machine.checked(why, now_ns))

    # --- the board -------------------------------------------------------------------------------------

    async def _flash(self, case: _Case, target: Target) -> None:
        how, why = await (self._run_tool(case, target) if self.settings.tool else self._upload(case, target))
        self._post(case, lambda now_ns: case.machine.flashed(how, why, now_ns))

    async def _run_tool(self, case: _Case, target: Target) -> tuple[Flashed, str]:
        try:
            why = await self._tool(self.settings.tool, case, target)
        except tools.NotStarted as error:
            return Flashed.UNHARMED, str(error)
        return (Flashed.BROKEN, why) if why else (Flashed.WRITTEN, "")

    async def _prove(self, case: _Case, target: Target) -> None:
        try:
            why = await self._tool(self.settings.verify, case, target)
        except tools.NotStarted as error:
            why = str(error)
        self._post(case, lambda now_ns: case.machine.proven(why, now_ns))

    async def _tool(self, words: tuple[str, ...], case: _Case, target: Target) -> str:
        """Raises NotStarted."""
        async with self._port.lent() as device:
            places = {"port": device, "file": str(case.shelf.image(target)), "version": target.version}
            name = f"firmware of {self.name}"
            return await tools.run(name, tools.filled(words, places), self.settings.limit_ns)

    async def _upload(self, case: _Case, target: Target) -> tuple[Flashed, str]:
        uploads = self._uploads
        assert uploads is not None
        try:
            image = await asyncio.to_thread(case.shelf.image(target).read_bytes)
        except OSError as error:
            return Flashed.UNHARMED, f"the file cannot be read: {error.strerror}"
        if hashlib.sha256(image).hexdigest() != target.sha256:
            return Flashed.UNHARMED, "the file has changed"
        ended: asyncio.Future[tuple[Flashed, str]] = asyncio.get_running_loop().create_future()
        whole = False

        def told(how: Flashed | None, why: str) -> None:
            nonlocal whole
            if how is None:
                whole = True
                self._post(case, case.machine.written)
            elif not ended.done():
                ended.set_result((how, why))

        def late() -> None:
            seconds = self.settings.limit_ns / SECOND_NS
            told(Flashed.BROKEN if whole else Flashed.UNHARMED, f"it took longer than {seconds:g} s")

        timer = self._call_later(self.settings.limit_ns, late)
        try:
            uploads.install(image, target.version, told)
            return await ended
        finally:
            timer.cancel()
            uploads.give_up()

    # --- what is said ----------------------------------------------------------------------------------

    def _say(self, case: _Case, record: Record) -> None:
        self._to_say.append((case.key, self._standing(case, record)))
        self._say_now.set()

    async def _say_for_ever(self) -> None:
        """Each state in order, and how far a download is once a second."""
        while True:
            await self._say_now.wait()
            self._say_now.clear()
            progress = not self._to_say
            if progress and self._case is not None:
                self._to_say.append((self._case.key, self._standing(self._case, self._case.machine.record)))
            while self._to_say:
                await self._put(*self._to_say[0])
                self._to_say.popleft()
            if progress:
                await pause(SECOND_NS, self._call_later)

    async def _put(self, key: str, told: bytes) -> None:
        wait_ns = limits.RETRY_MIN_NS
        while True:
            try:
                await self._states.put(key, told)
                return
            except BucketError as error:
                self._warn(f"its state cannot be told: {error}")
            await pause(wait_ns, self._call_later)
            wait_ns = min(2 * wait_ns, limits.RETRY_MAX_NS)

    def _standing(self, case: _Case, record: Record) -> bytes:
        target, good = record.target, record.good
        told: dict[str, object] = {
            "state": record.state.value,
            "port": self.name,
            "board": self.settings.board,
            "at": self._clock.wall_ns() // SECOND_NS,
        }
        told |= {"uid": case.uid} if case.uid else {}
        told |= {"runs": case.runs} if case.runs else {}
        told |= {"why": record.why} if record.why else {}
        if target is not None:
            told |= {"version": target.version, "size": target.size, "sha256": target.sha256}
        if record.state == State.DOWNLOADING:
            told["offset"] = case.offset
        if good is not None:
            told["good"] = good.version
        return msgspec.json.encode(told)

    def _warn(self, text: str) -> None:
        """Once for each trouble."""
        if text != self._warned:
            self._warned = text
            logger.warning("firmware of %s: %s", self.name, text)


def _as_key(name: str) -> str:
    """The name as a key of a KV bucket and as a folder."""
    return "".join(c if c.isalnum() or c in "-_" else f"={ord(c):02X}" for c in name)
