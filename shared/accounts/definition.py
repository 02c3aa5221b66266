"""What an account is, wherever it is written down: in a configuration's block or in a JWT (security_ops 2.6, 2.10.2).

Both become these values; from here on nobody asks where an account came from. Whether an import is allowed is decided
by ``crossings``, what the kernel has to do for it follows from that.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from phloem.shared.limits import SECOND_NS

UNLIMITED = -1
SERVICE_THRESHOLD_NS = 120 * SECOND_NS  # how long a reply is waited for


class Kind(Enum):
    """What crosses: messages to whoever listens, or requests and their replies."""

    STREAM = "stream"
    SERVICE = "service"


class ResponseType(Enum):
    """How many replies a request gets."""

    SINGLETON = "Singleton"
    STREAM = "Stream"
    CHUNKED = "Chunked"


class Latency(NamedTuple):
    """Measuring a service: ``sampling`` percent of the requests, 0 for those whose headers ask for it."""

    sampling: int
    subject: str


class Export(NamedTuple):
    """A subject of this account that others may import.

    ``accounts`` of ``None``: any; ``token_required``: with an activation only; ``token_position`` (from 1, 0 without):
    the token of the subject that has to be the importer's name. ``revocations``: importers ("*" all) and the time of
    issue, in seconds, up to which their activations are void.
    """

    kind: Kind
    subject: str
    accounts: frozenset[str] | None = None
    token_required: bool = False
    token_position: int = 0
    response_type: ResponseType = ResponseType.SINGLETON
    threshold_ns: int = SERVICE_THRESHOLD_NS
    latency: Latency | None = None
    allow_trace: bool = False
    revocations: Mapping[str, int] = {}


class Import(NamedTuple):
    """A subject of another account.

    ``subject`` is the exporter's, ``to`` the local one (empty: the same), with ``$1`` or wildcards in their order where
    the other one has wildcards. ``share``: the exporter learns who asks. ``token``: an activation JWT.
    """

    kind: Kind
    account: str
    subject: str
    to: str = ""
    share: bool = False
    allow_trace: bool = False
    token: str = ""


class Destination(NamedTuple):
    """Where a mapped subject goes, in ``weight`` of 100 cases; with ``cluster``, on that cluster's servers."""

    subject: str
    weight: int = 100
    cluster: str = ""


class SubjectMapping(NamedTuple):
    """Messages published to ``source`` go to one of ``destinations`` instead."""

    source: str
    destinations: Sequence[Destination]


class Limits(NamedTuple):
    """What an account may have; -1 is no limit. ``payload``: bytes of one message."""

    connections: int = UNLIMITED
    subscriptions: int = UNLIMITED
    payload: int = UNLIMITED
    leafnodes: int = UNLIMITED


class Definition(NamedTuple):
    """One account. ``name``: in JWTs the public key; ``title``: what people call it."""

    name: str
    title: str = ""
    limits: Limits = Limits()
    exports: Sequence[Export] = ()
    imports: Sequence[Import] = ()
    mappings: Sequence[SubjectMapping] = ()
