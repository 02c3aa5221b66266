"""Commands as they are written at the hub, and records of what has become of them. Both are JSON.

A command, the value of ``command.<id>`` in ``twin_desired``::

    {"name": "reboot", "data": ..., "expires_s": 3600, "timeout_s": 30, "idempotent": false, "absent": "wait"}

Only ``name`` is needed. ``data`` is a text, or any JSON, and goes to the handler as the body of a request to
``cmd.<name>`` (``data_base64`` for bytes). It may begin until ``deadline`` (RFC 3339), or for ``expires_s`` after the
hub has stored it: a day without either. ``timeout_s`` is how long the handler may take to answer. An ``idempotent``
command may run again when the device was interrupted; any other runs once at most. ``absent``: whether to ``wait`` for
a handler until the deadline, or to ``fail`` when there is none.
"""

import base64
import enum
import hashlib
from typing import Any, Literal, NamedTuple

import msgspec

from phloem.shared.jetstream.times import SECOND_NS, parse_rfc3339
from phloem.shared.twin.names import DAY_NS
from phloem.shared.wire.subjects import is_valid

EXPIRES_MAX_S = 10 * 365 * 24 * 3600.0
TIMEOUT_MAX_S = 24 * 3600.0
RESULT_BYTES = 64 << 10  # of an answer; it goes over the link


class State(enum.StrEnum):
    """Of a command. ``queued`` is told by nobody: it is in ``desired`` and not in ``reported``."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    EXECUTING = "executing"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def rank(self) -> int:
        """States only go upwards."""
        return min(list(State).index(self), 3)

    @property
    def final(self) -> bool:
        """Nothing follows."""
        return self.rank == 3


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written at the hub."""

    name: str
    data: Any = None
    data_base64: str = ""
    deadline: str = ""
    expires_s: float = 0
    timeout_s: float = 30
    idempotent: bool = False
    absent: Literal["wait", "fail"] = "wait"


class Order(NamedTuple):
    """The same, checked. Times in nanoseconds, the deadline since 1970."""

    name: str
    body: bytes
    deadline_ns: int
    timeout_ns: int
    idempotent: bool
    waits: bool


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has become of a command. Times are nanoseconds since 1970 by the device's clock, 0: not yet."""

    state: State
    name: str = ""
    digest: str = ""
    attempt: int = 0
    deadline_ns: int = 0
    delivered_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    result: str | None = None
    result_base64: str | None = None
    error: str = ""

    def to(self, state: State, **changes: Any) -> "Record":
        """The record in another state."""
        return msgspec.structs.replace(self, state=state, **changes)


def digest(body: bytes) -> str:
    """What tells two commands under one id apart."""
    return hashlib.sha256(body).hexdigest()[:16]


def order_of(body: bytes, stored_ns: int) -> Order:
    """What a value asks for; ``stored_ns``: when the hub has stored it.

    Raises:
        ValueError: It is not a command.
    """
    try:
        said = msgspec.json.decode(body, type=Command)
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not is_valid(f"cmd.{said.name}") or "*" in said.name or ">" in said.name:
        raise ValueError(f"{said.name!r} is not a name for a subject")
    if said.deadline and said.expires_s:
        raise ValueError("deadline and expires_s: one of them")
    if not 0 <= said.expires_s <= EXPIRES_MAX_S:
        raise ValueError("expires_s is out of range")
    if not 0 < said.timeout_s <= TIMEOUT_MAX_S:
        raise ValueError("timeout_s is out of range")
    if said.deadline:
        deadline_ns = parse_rfc3339(said.deadline)
    else:
        deadline_ns = stored_ns + (round(said.expires_s * SECOND_NS) or DAY_NS)
    return Order(
        said.name,
        _bytes(said),
        deadline_ns,
        round(said.timeout_s * SECOND_NS),
        said.idempotent,
        said.absent == "wait",
    )


def _bytes(said: Command) -> bytes:
    if said.data_base64:
        if said.data is not None:
            raise ValueError("data and data_base64: one of them")
        return base64.b64decode(said.data_base64, validate=True)
    if said.data is None:
        return b""
    return said.data.encode() if isinstance(said.data, str) else msgspec.json.encode(said.data)


def result_fields(body: bytes) -> dict[str, str]:
    """An answer, as a record has it."""
    if len(body) > RESULT_BYTES:
        return {
            "error": f"the answer has {len(body)} bytes, of which {RESULT_BYTES} are here"
        } | result_fields(body[:RESULT_BYTES])
    try:
        return {"result": body.decode()}
    except UnicodeDecodeError:
        return {"result_base64": base64.b64encode(body).decode()}
