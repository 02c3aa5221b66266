"""Options of what accounts share and may have: exports, imports, limits. Declared as in ``options.py``.

They are what a file says; ``definitions.py`` makes of them what the rest of the server works with.
"""

from typing import Annotated, ClassVar

import msgspec

from phloem.shared.accounts.definition import SERVICE_THRESHOLD_NS, UNLIMITED, Latency, ResponseType
from phloem.shared.server.declare import Kind, Opt, Size


class Export(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subject that other accounts may import: either ``stream`` or ``service``."""

    ARRAY: ClassVar[str] = "Exports should be an array"
    ITEM: ClassVar[str] = "Export Items should be a map with type entry"

    stream: Annotated[str, Opt("Messages on these subjects.", example='"sensors.>"', reload=True)] = ""
    service: Annotated[str, Opt("Requests on these subjects.", reload=True)] = ""
    accounts: Annotated[
        tuple[str, ...], Kind.ARRAY, Opt("Who may import it; without it everybody.", reload=True)
    ] = ()
    account_token_position: Annotated[
        int,
        Opt(
            "Token of the subject, from 1, that has to be the importer's name; 0 for none.",
            least=0,
            reload=True,
        ),
    ] = 0
    response_type: Annotated[
        ResponseType,
        Kind.RESPONSE_TYPE,
        Opt(
            "Replies that a request gets: single, stream or chunked. Services only.",
            aliases="response",
            reload=True,
        ),
    ] = ResponseType.SINGLETON
    response_threshold_ns: Annotated[
        int,
        Kind.THRESHOLD,
        Opt(
            "How long replies are waited for. Services only.",
            aliases="threshold response_max_time response_time",
            reload=True,
        ),
    ] = SERVICE_THRESHOLD_NS
    latency: Annotated[
        Latency | None,
        Kind.LATENCY,
        Opt(
            "Where measurements go, and of how many requests: 1 to 100 percent, or headers. Services only.",
            example='{ sampling: "50%", subject: "latency.jobs" }',
            reload=True,
        ),
    ] = None
    allow_trace: Annotated[
        bool, Opt("Traced messages are traced on in here. Services only.", reload=True)
    ] = False


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is imported."""

    account: Annotated[str, Opt("Whose.", example="PLANT", reload=True)] = ""
    subject: Annotated[str, Opt("Subject in that account.", example='"sensors.>"', reload=True)] = ""


class Import(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subject of another account: either ``stream`` or ``service``."""

    ARRAY: ClassVar[str] = "Imports should be an array"
    ITEM: ClassVar[str] = "Import Items should be a map with type entry"

    stream: Annotated[
        Source | None,
        Kind.SOURCE,
        Opt(
            "Messages of another account.",
            example='{ account: PLANT, subject: "sensors.>" }',
            reload=True,
        ),
    ] = None
    service: Annotated[
        Source | None,
        Kind.SOURCE,
        Opt(
            "Requests are answered by another account.",
            example='{ account: PLANT, subject: "jobs.*" }',
            reload=True,
        ),
    ] = None
    prefix: Annotated[str, Opt("Comes before the subject in here. Streams only.", reload=True)] = ""
    to: Annotated[str, Opt("Subject in here; the same when empty.", reload=True)] = ""
    share: Annotated[bool, Opt("Tell who asks. Services only.", reload=True)] = False
    allow_trace: Annotated[bool, Opt("Traced messages are traced on in here. Streams only.", reload=True)] = (
        False
    )


class AccountLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an account may have on this server; -1 is no limit."""

    EXPECTED: ClassVar[str] = "Expected account limits to be a map/struct"
    UNKNOWN: ClassVar[str] = "parsing account limits"

    max_connections: Annotated[int, Opt("Clients at the same time.", aliases="max_conn", reload=True)] = (
        UNLIMITED
    )
    max_subscriptions: Annotated[
        int, Opt("Subscriptions of all its clients.", aliases="max_subs", reload=True)
    ] = UNLIMITED
    max_payload: Annotated[Size, Opt("Bytes of one message.", aliases="max_pay", reload=True)] = UNLIMITED
    max_leafnodes: Annotated[int, Opt("Leaf links at the same time.", aliases="max_leafs", reload=True)] = (
        UNLIMITED
    )
