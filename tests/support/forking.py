"""Servers out of one process that has imported phloem already: a start costs a fork instead of half a second.

The process (``main``) is asked over a socket pair. With each question come the write ends of two pipes: standard error
of the server, and where its exit code is written. A server is as if ``python -m phloem`` had been called: with its own
arguments, environment, folder, without descriptors of anybody else, and it ends as a Python program does. What a fresh
process is needed for (imports, memory, the interpreter's flags) has :class:`~tests.support.phloem_server.PhloemServer`.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

MESSAGE_BYTES = 1 << 18
DESCRIPTORS = 4096  # a child closes those that it was born with
LATE = (
    "encodings.idna",
    "nacl.bindings",
)  # what each server would import when it has its key and its first port


class Forked:
    """A server, with what :class:`subprocess.Popen` has and :class:`ServerProcess` uses."""

    def __init__(self, pid: int, stderr: int, ended: int) -> None:
        self.pid = pid
        self.stderr: TextIO = os.fdopen(stderr, errors="replace")
        self._ended = ended
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, or that of the signal, negative; ``None`` while it runs."""
        return self._look(0)

    def wait(self, timeout_s: float | None = None) -> int:
        """As ``poll``, but waits. Raises subprocess.TimeoutExpired."""
        code = self._look(timeout_s)
        if code is None:
            raise subprocess.TimeoutExpired("phloem", timeout_s or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it is gone, and that is not told yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout_s: float | None) -> int | None:
        if self._code is None:
            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            if poll.poll(None if timeout_s is None else timeout_s * 1000):
                self._code = int(os.read(self._ended, 100) or b"-9")
                os.close(self._ended)
        return self._code


class Nursery:
    """The process that servers are forked from."""

    def __init__(self) -> None:
        self._asks, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forking", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parent.parent.parent,
        )
        theirs.close()
        self._ready = False

    def wait_ready(self) -> None:
        """Return when everything is imported, which takes seconds; else the first one who starts a server waits."""
        if not self._ready:
            self._asks.recv(100)
            self._ready = True

    def start(self, argv: list[str], env: Mapping[str, str], folder: Path) -> Forked:
        """``python -m phloem`` with these arguments."""
        self.wait_ready()
        stderr, their_stderr = os.pipe()
        ended, their_ended = os.pipe()
        question = json.dumps({"argv": argv, "env": dict(env), "folder": str(folder)}).encode()
        socket.send_fds(self._asks, [question], [their_stderr, their_ended])
        os.close(their_stderr)
        os.close(their_ended)
        return Forked(int(self._asks.recv(100)), stderr, ended)

    def close(self) -> None:
        """No more servers; those that run go on."""
        self._asks.close()
        self._process.wait()


@functools.cache
def nursery() -> Nursery:
    """The one of this process, from the first server on."""
    made = Nursery()
    atexit.register(made.close)
    return made


def _import_all() -> None:
    import phloem

    for module in pkgutil.walk_packages(phloem.__path__, "phloem."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    importlib.import_module("phloem.__main__")
    for name in LATE:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def main(asked: socket.socket) -> dict[str, Any] | None:
    """Answer until nobody asks any more; returns in each child, with what was asked."""
    asked.send(b"ready")
    children: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready = select.select([asked, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 1000)
            _bury(children)
        if asked in ready:
            data, descriptors, _, _ = socket.recv_fds(asked, MESSAGE_BYTES, 2)
            if not data:
                return None
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.dup2(descriptors[0], 2)
                asked.detach()
                os.closerange(3, DESCRIPTORS)
                return dict(json.loads(data))
            children[pid] = descriptors[1]
            os.close(descriptors[0])
            asked.send(str(pid).encode())


def _bury(children: dict[int, int]) -> None:
    """Tell of every child that has ended."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        told = children.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody wants to know
            os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(told)


if __name__ == "__main__":
    _import_all()
    wanted = main(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None:
        os.environ.clear()
        os.environ.update(wanted["env"])
        os.chdir(wanted["folder"])
        program = sys.modules["phloem.__main__"]
        sys.argv = [str(program.__file__), *wanted["argv"]]
        program.main()
