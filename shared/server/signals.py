"""``--signal``: tell a running server to reload, reopen its log, drain or end, without knowing its id.

Running servers are found in /proc by their command line, so that no other program is needed. More than one
is an error that names them all, unless the id was given as a pattern that ends in ``*``.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from phloem.shared.errors import ConfigError

PACKAGED = "start.py"  # what /usr/bin/phloem of the Debian package runs, in /usr/lib/phloem
SIGNALS = {
    "stop": signal.SIGKILL,
    "quit": signal.SIGINT,
    "term": signal.SIGTERM,
    "reload": signal.SIGHUP,
    "reopen": signal.SIGUSR1,
    "ldm": signal.SIGUSR2,
}


def send_signal(
    request: str,
    command: str,
    *,
    proc: Path = Path("/proc"),
    kill: Callable[[int, int], None] = os.kill,
) -> None:
    """Do what ``--signal request`` asks: ``name``, ``name=pid``, ``name=pidfile`` or ``name=pattern*``.

    Raises:
        ConfigError: The request is wrong, no or several servers run, or the system refuses.
    """
    name, *targets = request.split("=")
    if len(targets) > 1:
        raise ConfigError(f"invalid signal parameters: [{' '.join(targets[1:])}]")
    if name not in SIGNALS:
        raise ConfigError(f'unknown signal "{name}"')
    pids = _pids(_target(targets[0]) if targets else "", command, proc)
    failures = []
    for pid in pids:
        try:
            kill(pid, SIGNALS[name])
        except OSError as error:
            failures.append(f'signal "{name}" {pid}: {(error.strerror or str(error)).lower()}')
    if failures:
        raise ConfigError("\n".join(failures))


def running(command: str, proc: Path = Path("/proc")) -> list[int]:
    """Process ids of ``phloem <command>`` on this machine without this process."""
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue  # it ended meanwhile, or it is hidden from us
        if _is_ours(words, command):
            found.append(int(entry.name))
    return sorted(found)


def _is_ours(words: list[str], command: str) -> bool:
    """``python [options] .../phloem <command>``, ``python -m phloem <command>``, ``python .../nats-server``, and as the
    Debian package does ``python -I .../phloem/start.py <command>``.

    The real nats-server is no Python program and is never meant.
    """
    interpreter, *rest = words
    if not os.path.basename(interpreter).startswith("python"):
        return False
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "-m":
            return rest[:2] == ["phloem", command]
        if option in ("-X", "-W"):
            del rest[:1]
    folder, script = os.path.split(rest[0]) if rest else ("", "")
    ours = script == "phloem" or (script == PACKAGED and os.path.basename(folder) == "phloem")
    return (ours and rest[1:2] == [command]) or (script == "nats-server" and command == "server")


def _target(text: str) -> str:
    """The id in the file of that name if there is one, else the text itself."""
    try:
        return Path(text).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return text


def _pids(target: str, command: str, proc: Path) -> list[int]:
    start, pattern = target.removesuffix("*"), target.endswith("*")
    if start and not (start.isascii() and start.isdecimal()):
        raise ConfigError(f"invalid pid: {start}")
    if start and not pattern:
        return [int(start)]
    pids = [pid for pid in running(command, proc) if str(pid).startswith(start)]
    if not pids:
        raise ConfigError(f"no phloem {command} processes running")
    if len(pids) > 1 and not pattern:
        raise ConfigError("\n".join([f"multiple phloem {command} processes running:", *map(str, pids)]))
    return pids
