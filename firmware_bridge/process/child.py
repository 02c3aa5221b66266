"""The process that calls a user's function: ``python -m …child DESCRIPTOR MODULE:FUNCTION``.

It calls the function with one frame (``bytes``) or ``Reading`` after the other, and ends when the bridge does. What
the function prints goes to the bridge's log.
"""

import importlib
import math
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from phloem.firmware_bridge.decoding.decoder import READINGS_MAX
from phloem.firmware_bridge.decoding.fields import CHANNEL
from phloem.firmware_bridge.process.messages import PACKET_BYTES_MAX, STARTED, Done, Said, Task
from phloem.firmware_bridge.reading import Quality, Reading

_ERROR_MAX = 300  # characters of what went wrong
_GRACE_S = 1.0  # a function that is not at work needs less than that to end in good order


def main(words: Sequence[str]) -> int:
    """Serve until the bridge has closed the connection; the exit code."""
    connection = socket.socket(fileno=int(words[0]))
    # A signal is meant for the bridge, which ends us when what is under way is done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(Task).decode
    try:
        function = load(words[1])
    except Exception as error:  # whatever a module does when it is imported
        connection.send(encode(Done(STARTED, error=words_of(error))))
        return 1
    connection.send(encode(Done(STARTED)))
    while packet := connection.recv(PACKET_BYTES_MAX):
        task = decode(packet)
        try:
            answer = encode(call(function, task))
        except OverflowError as error:  # a whole number beyond 64 bits
            answer = encode(Done(task.number, error=words_of(error)))
        if len(answer) > PACKET_BYTES_MAX:
            answer = encode(Done(task.number, error=f"{len(answer)} bytes of readings are too many"))
        connection.send(answer)
    return 0


def load(name: str) -> Callable[[Any], Any]:
    """The function that ``MODULE:FUNCTION`` names; whatever importing it raises, and TypeError if it is none."""
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    for part in function.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} is no function")
    return found


def call(function: Callable[[Any], Any], task: Task) -> Done:
    """What the function makes of one frame or reading."""
    given = Reading(*task.reading) if task.reading is not None else task.frame
    try:
        readings = [_checked(each) for each in _several(function(given))]
    except Exception as error:  # of the user's code
        return Done(task.number, error=words_of(error))
    if len(readings) > READINGS_MAX:
        return Done(task.number, error=f"{len(readings)} readings of one call are too many")
    return Done(task.number, readings)


def words_of(error: BaseException) -> str:
    """One line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:_ERROR_MAX] if text else type(error).__name__


def _several(result: Any) -> Iterator[Any]:
    """None, a reading, or any number of them; a reading may be a plain tuple that begins with its channel."""
    if result is None:
        return
    if isinstance(result, tuple) and result and isinstance(result[0], str):
        yield result
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes | dict):
        yield from result
    else:
        raise TypeError(f"neither None nor readings: {result!r}")


def _checked(result: Any) -> Said:
    if not isinstance(result, tuple) or not 2 <= len(result) <= len(Reading._fields):
        raise TypeError(f"no reading: {result!r}")
    reading = Reading(*result)
    if not isinstance(reading.channel, str) or not CHANNEL.fullmatch(reading.channel):
        raise ValueError(f"channel {reading.channel!r} is not one token of a subject")
    if not isinstance(reading.value, bool | int | float | str | bytes):
        raise TypeError(f"channel {reading.channel}: a value cannot be {type(reading.value).__name__}")
    if isinstance(reading.value, float) and not math.isfinite(reading.value):
        raise ValueError(f"channel {reading.channel}: {reading.value} is no number")
    if not isinstance(reading.unit, str):
        raise TypeError(f"channel {reading.channel}: unit {reading.unit!r} is no text")
    if not isinstance(reading.mono_ns, int):
        raise TypeError(f"channel {reading.channel}: mono_ns {reading.mono_ns!r} is no whole number")
    return Said(*reading._replace(quality=Quality(reading.quality)))


def _end_with(descriptor: int) -> None:
    """End when the bridge has, also when the function does not return any more."""
    waiting = select.poll()
    waiting.register(descriptor, 0)  # a hang-up is told without asking
    while not any(event & (select.POLLHUP | select.POLLNVAL) for _, event in waiting.poll()):
        pass
    threading.Event().wait(_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
