"""A product's own defaults: options that a device or a hub starts with unless its user says otherwise.

A product declares them once, each with its reason; what applies them and what ``--help`` says come from there.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from phloem.shared.server.options import Options

WIDTH, COLUMN = 100, 38


class Default(NamedTuple):
    """``field`` of ``Options`` starts as ``value``; ``shown`` is how a user would write that."""

    field: str
    value: int | str
    shown: str
    why: str


STORE = Default(
    "store_dir",
    "/var/lib/phloem",
    "/var/lib/phloem",
    "In jetstream: what is acknowledged has to be there after a restart; nats-server's default, "
    "/tmp/nats, may not be.",
)


def apply(options: Options, defaults: Sequence[Default]) -> Options:
    """``options`` with the defaults of a product; what the file or a flag set stays. Doing it twice is harmless."""
    wanted: dict[str, Any] = {
        each.field: each.value for each in defaults if each.field not in options.explicit
    }
    stored = options.jetstream
    if stored is not None and not stored.store_dir:
        wanted["jetstream"] = msgspec.structs.replace(stored, store_dir=STORE.value)
    return msgspec.structs.replace(options, **wanted)


def describe(defaults: Sequence[Default]) -> str:
    """The defaults as lines for ``--help``."""
    lines = []
    for each in defaults:
        first, *more = textwrap.wrap(each.why, WIDTH - COLUMN)
        key = f"    {each.field.removesuffix('_ns')}: {each.shown}"
        lines.append(f"{key:<{COLUMN}}{first}")
        lines += [" " * COLUMN + line for line in more]
    return "\n".join(lines) + "\n"
