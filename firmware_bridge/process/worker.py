"""The bridge's side of a user's function: hands over what a port says, and sees to the process that the function is in.

* ``offer`` returns at once, whatever the function does; what waits for it is bounded, and the oldest go first.
* Calls are answered in order, one packet each, so it is known which call a process died or hung in. That one is not
  tried again: what kills a function once kills it twice. The calls behind it are, in the next process.
* A process is started by the first thing to do, and again with growing pauses. While it cannot be started at all
  nothing waits for it.
* Trouble is said once, until the function has been well for a while.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import TypeAlias

import msgspec

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.backoff import Backoff
from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.process.messages import PACKET_BYTES_MAX, Done, Said, Task
from phloem.firmware_bridge.process.settings import Process
from phloem.firmware_bridge.reading import Reading
from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.shared.clock import Clock
from phloem.shared.limits import SECOND_NS

CHILD = "phloem.firmware_bridge.process.child"
_NOT_OF_THE_CHILD = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
_SHOWN = 32  # bytes of what a function failed with, in words
_ITEM_BYTES = 256  # what an item takes beside its bytes, for the bound
_EXIT_S = 1.0

Told: TypeAlias = Callable[[str, str], None]
"""Gets an event's kind and its reason."""


class Item(msgspec.Struct, frozen=True):
    """What is to be processed: ``frame``, or ``reading`` if there is one; ``seq`` and times are those of the frame."""

    seq: int
    wall_ns: int
    mono_ns: int
    frame: bytes = b""
    reading: Reading | None = None

    @property
    def size(self) -> int:
        """Bytes that it takes while it waits, on the safe side."""
        value = self.frame if self.reading is None else self.reading.value
        return _ITEM_BYTES + (
            len(value) * 4 if isinstance(value, str) else 0 if isinstance(value, int | float) else len(value)
        )

    def __str__(self) -> str:
        if self.reading is not None:
            return f"reading {self.reading.channel}={str(self.reading.value)[:_SHOWN]}"
        return f"frame {self.seq}, {self.frame[:_SHOWN]!r}"


class Worker:
    """One port's. ``took`` gets what came of an item, ``failed`` an item that was not processed, and why: ``raised``,
    ``timeout``, ``died``, ``full``, ``down`` or ``closed``."""

    def __init__(
        self,
        settings: Process,
        clock: Clock,
        rng: Random,
        counters: Counters,
        call_later: CallLater,
        took: Callable[[Item, Sequence[Reading]], None],
        failed: Callable[[Item, str], None],
        told: Told,
    ) -> None:
        self._settings, self._clock, self._counters = settings, clock, counters
        self._call_later, self._took, self._failed, self._told = call_later, took, failed, told
        self._backoff = Backoff(limits.PROCESS_RETRY_MIN_NS, limits.PROCESS_RETRY_MAX_NS, rng)
        self._queue: deque[Item] = deque()
        self._flying: deque[Item] = deque()
        self._queue_bytes = self._flying_bytes = 0
        self._number = 0  # of the newest call
        self._answered = 0
        self._encode, self._decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Done).decode
        self._life: asyncio.Task[None] | None = None
        self._connection: socket.socket | None = None  # while there is a process
        self._over: asyncio.Future[tuple[str, str]] | None = None  # why this process has to end
        self._ready = self._down = self._pausing = self._closing = self._troubled = False
        self._good = 0  # calls in a row
        self._since_ns = 0  # when the call that is under way began
        self._timer: Timer | None = None
        self._wake, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        """Items that have no result yet."""
        return len(self._queue) + len(self._flying)

    def offer(self, item: Item) -> None:
        """Have this processed."""
        if self._down or self._closing:
            self._fail(item, "down")
            return
        self._put(item)
        while len(self._queue) > self._settings.queue or self._queue_bytes > limits.PROCESS_QUEUE_BYTES_MAX:
            self._fail(self._pop(), "full")
        if self._life is None:
            self._life = asyncio.get_running_loop().create_task(self._live(), name="process of a port")
        self._pump()

    async def close(self) -> None:
        """Wait for what is under way, but not for long, then end the process."""
        self._closing = True
        if self._life is None:
            return
        if self.waiting and not self._pausing:
            timer = self._call_later(limits.PROCESS_CLOSE_NS, self._empty.set)
            try:
                await self._empty.wait()
            finally:
                timer.cancel()
                self._wake.set()
                self._end("", "")
        self._wake.set()
        self._end("", "")
        await asyncio.wait({self._life})
        self._flush("closed")
        self._life.result()

    # -- the process, from start to end, again and again -----------------------------------------

    async def _live(self) -> None:
        while not self._closing:
            why = await self._once()
            if self._closing:
                break
            self._trouble(why)
            self._pausing = True
            timer = self._call_later(self._backoff.next_ns(), self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            self._pausing = self._down = False
            if not self._queue and not self._closing:
                self._life = None  # the next item starts one
                return

    async def _once(self) -> str:
        """One process, from start to end; in words, what ended it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            process = await asyncio.to_thread(_start, self._settings, theirs)
        except OSError as error:
            ours.close()
            self._give_up()
            return f"it cannot be started: {error.strerror}"
        finally:
            theirs.close()
        kind, reason = await self._serve(ours)
        code = await asyncio.to_thread(_bury, process, 0 if kind == "timeout" else _EXIT_S)
        if kind == "":
            return ""
        self._counters.process_ends += 1
        return self._blame(kind, reason or f"it died ({_words_of(code)})")

    async def _serve(self, connection: socket.socket) -> tuple[str, str]:
        """Until this process ends or has to: ``died``, ``timeout``, or "" if that was wanted; and why, if known."""
        loop = asyncio.get_running_loop()
        self._connection, self._over, self._ready = connection, loop.create_future(), False
        self._since_ns = self._clock.monotonic_ns()
        self._watch()
        loop.add_reader(connection.fileno(), self._readable)
        if self._closing and not self.waiting:
            self._end("", "")
        try:
            return await self._over
        finally:
            loop.remove_reader(connection.fileno())
            connection.close()
            self._connection = None
            self._watch_no_more()

    def _blame(self, kind: str, words: str) -> str:
        """Give up the call that it ended in, keep the others for the next process; in words."""
        if not self._ready:
            self._give_up()
            return words
        self._answered = self._number
        if not self._flying:
            return words
        culprit = self._flying.popleft()
        while self._flying:
            self._put(self._flying.pop(), first=True)
        self._flying_bytes = 0
        self._fail(culprit, kind)
        return f"{words} in {culprit}"

    def _give_up(self) -> None:
        """There will be none for a while: nothing waits for it."""
        self._down = True
        self._flush("down")

    def _end(self, kind: str, reason: str) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result((kind, reason))

    # -- calls --------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Hand over as much as the window has room for."""
        if self._connection is None or not self._ready or self._over is None or self._over.done():
            return
        while self._queue and len(self._flying) < limits.PROCESS_WINDOW:
            item = self._queue[0]
            if self._flying and self._flying_bytes + item.size > limits.PROCESS_WINDOW_BYTES_MAX:
                break
            frame = item.frame if item.reading is None else None
            packet = self._encode(Task(self._number + 1, frame, item.reading and Said(*item.reading)))
            if len(packet) > PACKET_BYTES_MAX:
                self._fail(self._pop(), "full")
                continue
            try:
                self._connection.send(packet)
            except BlockingIOError:
                break  # it goes on with the next answer
            except OSError:
                break  # it is gone, which reading tells
            self._number += 1
            if not self._flying:
                self._since_ns = self._clock.monotonic_ns()
            self._flying.append(self._pop())
            self._flying_bytes += item.size
        self._watch()

    def _readable(self) -> None:
        if self._connection is None:
            return
        for _ in range(limits.PROCESS_WINDOW):
            try:
                packet = self._connection.recv(PACKET_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionResetError:
                continue  # it ended with calls unread; what it answered before is still there
            except OSError:
                packet = b""
            if not packet:
                self._end("died", "")
                return
            try:
                self._answer(self._decode(packet))
            except msgspec.DecodeError:
                self._end("died", "it said what makes no sense")
            if self._over is None or self._over.done():
                return
        self._pump()

    def _answer(self, done: Done) -> None:
        self._since_ns = self._clock.monotonic_ns()
        if not self._ready:
            self._ready = not done.error
            self._watch_no_more()
            if done.error:
                self._end("died", f"it cannot be loaded: {done.error}")
            return
        if not self._flying or done.number != self._answered + 1:
            self._end("died", "it said what makes no sense")
            return
        self._answered = done.number
        item = self._flying.popleft()
        self._flying_bytes -= item.size
        if done.error:
            self._trouble(f"it raised {done.error} for {item}")
            self._fail(item, "raised")
            return
        self._counters.processed += 1
        self._well()
        readings = [Reading(*said) for said in done.readings]
        self._took(item, [each if each.mono_ns else each._replace(mono_ns=item.mono_ns) for each in readings])
        self._looked()

    # -- time -----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """One timer that looks when it fires for how long a call has taken, instead of one for every call."""
        if self._timer is None and (self._flying or not self._ready):
            self._timer = self._call_later(self._limit_ns - self._spent_ns, self._look)

    def _look(self) -> None:
        self._timer = None
        self._readable()  # what the loop has not come to is not the function's fault
        if self._spent_ns < self._limit_ns or (self._ready and not self._flying):
            self._watch()
        else:
            words = "did not return" if self._ready else "was not ready"
            self._end("timeout", f"it {words} within {self._limit_ns / SECOND_NS:g} s")

    def _watch_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _limit_ns(self) -> int:
        return self._settings.timeout_ns if self._ready else limits.PROCESS_START_NS

    @property
    def _spent_ns(self) -> int:
        return self._clock.monotonic_ns() - self._since_ns

    # -- items that come, go and fail -----------------------------------------------------------------

    def _put(self, item: Item, *, first: bool = False) -> None:
        (self._queue.appendleft if first else self._queue.append)(item)
        self._queue_bytes += item.size
        self._empty.clear()

    def _pop(self) -> Item:
        item = self._queue.popleft()
        self._queue_bytes -= item.size
        return item

    def _flush(self, reason: str) -> None:
        self._queue.extendleft(reversed(self._flying))
        self._flying.clear()
        self._queue_bytes = self._flying_bytes = 0
        waiting, self._queue = self._queue, deque()
        for item in waiting:
            self._fail(item, reason)

    def _fail(self, item: Item, reason: str) -> None:
        self._counters.unprocessed += 1
        if reason == "full":
            self._trouble("it is too slow: what waits longest is not processed")
        self._failed(item, reason)
        self._looked()

    def _looked(self) -> None:
        if not self.waiting:
            self._empty.set()

    def _trouble(self, text: str) -> None:
        self._good = 0
        if not self._troubled:
            self._troubled = True
            self._told("process_failed", f"{self._settings.function}: {text}")

    def _well(self) -> None:
        self._good += 1
        if self._good == limits.PROCESS_GOOD:
            self._backoff.reset()
            if self._troubled:
                self._troubled = False
                self._told("process_works", "")


def _start(settings: Process, theirs: socket.socket) -> "subprocess.Popen[bytes]":
    """May block while the kernel starts a program. Raises OSError."""
    ways = [settings.path or os.getcwd(), *(path or os.getcwd() for path in sys.path)]
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_OF_THE_CHILD}
    # -P: only these folders, not that of the program or the working directory as well.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", CHILD, str(theirs.fileno()), settings.function],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=2,
        env=environ | {"PYTHONPATH": os.pathsep.join(ways)},
    )


def _bury(process: "subprocess.Popen[bytes]", patience_s: float) -> int:
    """Its exit code. One that ends by itself has a moment for that."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(patience_s)
    process.kill()
    return process.wait()


def _words_of(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
