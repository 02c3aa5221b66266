"""What an account imports and maps, as the kernel wants to be told: decided elsewhere, only carried out there.

Subjects are bytes and valid. Wildcards of patterns are plain ``*`` and ``>``; what becomes of them is in the steps.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from phloem.shared.kernel.reactor import Account

SINGLETON, STREAMED, CHUNKED = range(3)  # kinds of reply; as in types.pxd


class Step(NamedTuple):
    """What one or more tokens of a new subject are made of; dots come between steps.

    ``what``: ``literal`` (``text``), ``rest`` (everything from the token on), or a function of mappings in lower case.
    ``tokens``: positions, from 0, in the subject that is transformed. ``number``: partitions, or a length in bytes.
    """

    what: str
    tokens: Sequence[int] = ()
    number: int = 0
    text: bytes = b""


class StreamImport(NamedTuple):
    """Messages on ``subject`` of ``exporter`` are there on ``local``.

    ``spelling``: ``local`` as it was written, which tells imports apart that differ in the order of wildcards only.
    ``forth`` makes the local subject from the exporter's, ``back`` the reverse; None: they are equal, or literal.
    """

    exporter: "Account"
    subject: bytes
    local: bytes
    spelling: bytes = b""
    forth: Sequence[Step] | None = None
    back: Sequence[Step] | None = None


class ServiceImport(NamedTuple):
    """Requests on ``local`` go to ``subject`` of ``exporter``; ``forth`` as above, in this direction.

    ``export_id``: one number for each export, 0 unknown; ``sampling``: percent of the requests that are measured, 0: if
    their headers ask for it, -1: none. ``share``: the exporter learns who asks. A reply is waited for ``threshold_ns``.
    """

    exporter: "Account"
    subject: bytes
    local: bytes
    spelling: bytes = b""
    forth: Sequence[Step] | None = None
    reply_kind: int = SINGLETON
    threshold_ns: int = 120_000_000_000
    share: bool = False
    export_id: int = 0
    sampling: int = -1


class Destination(NamedTuple):
    """Taken if a random number of 100 is below ``below`` and no destination before it was; None: the subject stays."""

    forth: Sequence[Step] | None
    below: int


class Mapping(NamedTuple):
    """What is published to ``source`` goes to one of ``destinations``, or nowhere if none is taken."""

    source: bytes
    destinations: Sequence[Destination]
