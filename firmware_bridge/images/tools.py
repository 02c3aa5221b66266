"""Programs that flash: esptool, avrdude, openocd, anything with a command line.

A tool runs without a shell, in its own process group: words are handed to it as they are, with ``{port}``, ``{file}``
and ``{version}`` filled in. What it prints goes into the log line by line. It has a time limit, after which its whole
group is ended, as is what it left behind.
"""

import asyncio
import logging
import os
import re
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from phloem.firmware_bridge.images import limits
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SECOND_NS

logger = logging.getLogger("phloem.bridge")

PLACES = frozenset({"port", "file", "version"})
_PLACE = re.compile(r"\{(\w*)\}")


def check_words(field: str, words: Sequence[str]) -> None:
    """Raise ConfigError if a word has a place that nothing is known for."""
    for word in words:
        if strange := set(_PLACE.findall(word)) - PLACES:
            raise ConfigError(f"{field}: {{{min(strange)}}} is none of {{port}}, {{file}} and {{version}}")
    if words and not words[0]:
        raise ConfigError(f"{field}: the program's name is empty")


def filled(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """The words with what belongs into their places; what is filled in is not looked at again."""
    return [_PLACE.sub(lambda found: places[found[1]], word) for word in words]


class NotStarted(Exception):
    """There is no such program, or it may not be run: nothing was done."""


async def run(name: str, words: Sequence[str], limit_ns: int) -> str:
    """Run a tool to its end; "" if it was content, else why not, with its last lines. ``name`` is for the log.

    Cancelled, it ends the tool and waits for that.

    Raises:
        NotStarted: It could not be begun.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise NotStarted(f"{words[0]} cannot be started: {why}") from None
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=limits.OUTPUT_TAIL)
    reading = asyncio.ensure_future(_read(name, process.stdout, last))
    waiting = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({waiting}, timeout=limit_ns / SECOND_NS)
        late = not waiting.done()
    finally:
        await _end(process, waiting)
        await asyncio.wait({reading}, timeout=limits.KILL_S)  # longer only if something has left the group
        reading.cancel()
        await asyncio.wait({reading})
    tail = "; ".join(last)
    if late:
        return f"{words[0]} took longer than {limit_ns / SECOND_NS:g} s" + (f": {tail}" if tail else "")
    if process.returncode:
        return f"{words[0]} ended with {process.returncode}" + (f": {tail}" if tail else "")
    return ""


async def _read(name: str, pipe: asyncio.StreamReader, last: "deque[str]") -> None:
    lines, rest = 0, b""
    while data := await pipe.read(4096):
        *whole, rest = re.split(rb"[\r\n]+", rest + data)
        if len(rest) > 4096:
            whole, rest = [*whole, rest], b""
        for line in [*whole]:
            if text := line.decode(errors="replace").strip():
                last.append(text[:200])
                lines += 1
                if lines <= limits.OUTPUT_LINES_MAX:
                    logger.info("%s: %s", name, text)
    if text := rest.decode(errors="replace").strip():
        last.append(text[:200])
        logger.info("%s: %s", name, text)


async def _end(process: asyncio.subprocess.Process, waiting: "asyncio.Future[int]") -> None:
    """End the group, whatever of it is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    if not waiting.done():
        await asyncio.wait({waiting}, timeout=limits.KILL_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait({waiting})
