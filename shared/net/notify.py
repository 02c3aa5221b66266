"""What a service says to systemd: sd_notify(3), without libsystemd.

A message is one datagram of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET`` names. Without that variable, and
when the manager does not take a message, nothing happens: a service must not fail because nobody listens.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

ADDRESS = "NOTIFY_SOCKET"
MICRO = 1000  # nanoseconds
EXTEND_S = 30.0  # what a start or stop that moves on is given at a time
EXTEND_EVERY_S = 5.0
NAME_LONGEST = 255  # of a descriptor, as the manager has it


class Notifier:
    """The way to the manager; ``address`` "" leads nowhere. ``watchdog_ns``: a sign of life is wanted at least so
    often; 0: none is."""

    def __init__(self, address: str = "", watchdog_ns: int = 0) -> None:
        self.watchdog_ns = watchdog_ns
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    @classmethod
    def of(cls, environ: MutableMapping[str, str], pid: int) -> "Notifier":
        """As the environment says. It is taken out of there: what this one starts is another service."""
        address = environ.pop(ADDRESS, "")
        meant, micros = environ.pop("WATCHDOG_PID", str(pid)), environ.pop("WATCHDOG_USEC", "0")
        mine = address and meant == str(pid) and micros.isascii() and micros.isdecimal()
        return cls(address, int(micros) * MICRO if mine else 0)

    def __bool__(self) -> bool:
        """Whether somebody listens."""
        return bool(self._address)

    def send(self, *lines: str, descriptors: Sequence[int] = ()) -> bool:
        """One message; whether the manager has it."""
        if not self._address:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)  # a manager that hangs must not stop what it watches
            with suppress(OSError):
                sock.connect(self._address)
                socket.send_fds(sock, ["\n".join(lines).encode()], list(descriptors))
                return True
        return False

    def ready(self, status: str) -> None:
        """The service can be used; also the end of a reload."""
        self.send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows."""
        self.send(_status(text))

    def alive(self, status: str = "") -> None:
        """A sign of life for the watchdog, with a new status if there is one."""
        self.send("WATCHDOG=1", *([_status(status)] if status else []))

    def reloading(self, monotonic_ns: int) -> None:
        """The configuration is being read again; ``ready`` ends it."""
        self.send(
            "RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // MICRO}", _status("reading the configuration")
        )

    def stopping(self, status: str = "stopping") -> None:
        """The end has begun."""
        self.send("STOPPING=1", _status(status))

    def extend(self, seconds: float, status: str) -> None:
        """A start or stop needs more time, from now."""
        self.send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", _status(status))

    def keep(self, name: str, descriptor: int) -> bool:
        """The manager holds this descriptor until this service takes it back, after a restart under the same name."""
        return self.send("FDSTORE=1", f"FDNAME={name}", descriptors=[descriptor])

    def forget(self, name: str) -> None:
        """The manager closes what it holds under this name."""
        self.send("FDSTOREREMOVE=1", f"FDNAME={name}")


class Extending:
    """While the block runs, the manager is asked for more time, as long as something moves.

    From a thread: opening a large store holds up the loop. ``progress`` says what has been done so far (anything that
    compares); without a change nothing is asked for, so that a start that hangs ends at the unit's timeout.
    """

    def __init__(self, notifier: Notifier, doing: str, progress: Callable[[], object] | None = None) -> None:
        self._notifier, self._doing = notifier, doing
        self._progress = progress or work_done
        self._before: object = None
        self._asked_s = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> bool:
        """What the thread does each ``EXTEND_EVERY_S``; whether more time was asked for."""
        now = self._progress()
        moves, self._before = now != self._before, now
        self._asked_s += EXTEND_EVERY_S
        if moves:
            self._notifier.extend(EXTEND_S, f"{self._doing}, {self._asked_s:.0f} s so far")
        return moves

    def __enter__(self) -> Self:
        if self._notifier:
            self._thread = self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def while_(self, goes_on: Callable[[], bool]) -> None:
        """The same without a block, as long as ``goes_on`` says so."""
        if self._notifier:
            self._begin(goes_on)

    def _begin(self, goes_on: Callable[[], bool] = lambda: True) -> threading.Thread | None:
        self._before = self._progress()
        thread = threading.Thread(target=self._run, args=(goes_on,), name=self._doing, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # TasksMax=: what is done meanwhile, the end above all, is done all the same
            return None
        return thread

    def _run(self, goes_on: Callable[[], bool]) -> None:
        while not self._over.wait(EXTEND_EVERY_S) and goes_on():
            self.look()


def extend_until_taken(environ: Mapping[str, str] = os.environ) -> None:
    """More time is asked for from the first moment of a service on until ``Notifier.of`` has taken the address out of
    the environment: on a slow device that is busy the imports alone may take longer than its unit gives a start."""
    Extending(Notifier(environ.get(ADDRESS, "")), "starting").while_(lambda: ADDRESS in environ)


def work_done() -> object:
    """What this process has done so far: hundredths of a second of the processor, and bytes read and written."""
    times = os.times()
    try:
        with open("/proc/self/io") as stream:
            moved = stream.read()
    except OSError:  # not every kernel counts
        moved = ""
    return round((times.user + times.system) * 100), moved


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
