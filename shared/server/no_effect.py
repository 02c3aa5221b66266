"""Options of nats-server that are read, checked and of no effect here: each says so, and why, when the server starts.

A file that works with nats-server starts here as well. Refusing it would help nobody: what these options steer is not
there, so there is nothing that could be done otherwise than asked for. An option that asks for something which phloem
could do and does not is in ``unsupported.py`` and refused. Values are checked as nats-server 2.15 checks them.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from phloem.shared.server.conf.parser import Data, Value
from phloem.shared.server.load_values import wrong_type
from phloem.shared.server.options_jetstream import JetStream

CLUSTER = "this server is not part of a cluster"
STREAM_QUEUE = "a stream takes each message when it is read, and keeps none waiting"
REQUEST_QUEUE = "a request is carried out when it is read, and none waits in a queue"
DISK_QUEUE = "one thread writes for all streams, and nothing waits for its turn at the disk"

CONCURRENT_IO = range(4, 8192 + 1)
UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}  # of sizes in quotes: powers of two
MOST_DIGITS = 64
_DIGITS = re.compile(r"[-+]?[0-9]+")
_INT64 = range(-(1 << 63), 1 << 63)


def _whole(data: Data) -> bool:
    return isinstance(data, int) and not isinstance(data, bool)


def _text(key: str, value: Value) -> None:
    if not isinstance(value.data, str):
        raise wrong_type(key, value, "string")


def _switch(key: str, value: Value) -> None:
    if not isinstance(value.data, bool):
        raise wrong_type(key, value, "true or false")


def _count(key: str, value: Value) -> None:
    if not _whole(value.data):
        raise value.error(f'Expected a parseable size for "{key}", got {_shown(value.data)}')


def _size(key: str, value: Value) -> int:
    """Bytes: a number, or a text such as "64M"."""
    name, data = key.lower(), value.data
    if isinstance(data, int) and not isinstance(data, bool):
        return data
    if not isinstance(data, str):
        raise value.error(f"{name} must be int64 or string")
    if not data:
        return 0
    digits, unit = data[:-1], data[-1]
    if not _DIGITS.fullmatch(digits):
        raise value.error(f'{name} strconv.ParseInt: parsing "{digits}": invalid syntax')
    number = int(digits[:MOST_DIGITS])
    if number not in _INT64 or len(digits) > MOST_DIGITS:
        raise value.error(f'{name} strconv.ParseInt: parsing "{digits}": value out of range')
    if unit not in UNITS:
        raise value.error(f"{name} sizes defined as strings must end in K, M, G, T")
    return number << UNITS[unit]


def _any_size(key: str, value: Value) -> None:
    _size(key, value)


def _absolute_size(key: str, value: Value) -> None:
    if _size(key, value) < 0:
        raise value.error(f'Expected an absolute size for "{key}", got {_shown(value.data)}')


def _absolute_count(key: str, value: Value) -> None:
    if not (isinstance(value.data, int) and _whole(value.data) and value.data >= 0):
        raise value.error(f'Expected an absolute size for "{key}", got {_shown(value.data)}')


def _concurrent(key: str, value: Value) -> None:
    if not (_whole(value.data) and value.data in CONCURRENT_IO):
        raise value.error(
            f'Expected an absolute size for "{key}" between {CONCURRENT_IO[0]} and {CONCURRENT_IO[-1]}, '
            f"got {_shown(value.data)}"
        )


def _shown(data: Data) -> str:
    """As Go prints a plain value."""
    return (
        str(data).lower() if isinstance(data, bool) else f"{data:g}" if isinstance(data, float) else str(data)
    )


class NoEffect(NamedTuple):
    """One key. ``check`` raises ConfigError for a value that nats-server would not take; ``reason`` completes
    "has no effect: ..."."""

    key: str
    check: Callable[[str, Value], None]
    reason: str


NO_EFFECT: dict[type[msgspec.Struct], tuple[NoEffect, ...]] = {
    JetStream: (
        NoEffect("extension_hint", _text, CLUSTER),
        NoEffect("info_queue_limit", _count, REQUEST_QUEUE),
        NoEffect("max_buffered_msgs", _count, STREAM_QUEUE),
        NoEffect("max_buffered_size", _any_size, STREAM_QUEUE),
        NoEffect("max_concurrent_io", _concurrent, DISK_QUEUE),
        NoEffect("max_outstanding_catchup", _any_size, CLUSTER),
        NoEffect("meta_compact", _absolute_count, CLUSTER),
        NoEffect("meta_compact_size", _absolute_size, CLUSTER),
        NoEffect("meta_compact_sync", _switch, CLUSTER),
        NoEffect("request_queue_limit", _count, REQUEST_QUEUE),
        NoEffect("unique_tag", _text, CLUSTER),
    ),
}


def notice(row: NoEffect, key: str, value: Value) -> str:
    """What the log says of a key, with its position.

    Raises:
        ConfigError: The value is wrong.
    """
    row.check(key, value)
    return str(value.error(f'"{key}" has no effect: {row.reason}'))
