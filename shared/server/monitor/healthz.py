"""/healthz: whether the server can be used, for probes (security_ops 4.4).

Streams and consumers are not looked for: there are none, and nats-server without JetStream says ``ok``, too.
"""

from http import HTTPStatus

import msgspec

from phloem.shared.server.monitor.query import Query
from phloem.shared.server.monitor.records import MonitorSource

_FLAGS = ("js-enabled", "js-enabled-only", "js-server-only", "js-meta-only")


class HealthError(msgspec.Struct):
    """One thing that is wrong."""

    type: str
    error: str


class Health(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The page: ``error``, or ``errors`` with ``details=1``."""

    status: str
    error: str = ""
    errors: list[HealthError] = []


def healthz(source: MonitorSource, query: Query) -> tuple[int, Health]:
    """The HTTP status and the page.

    Raises:
        BadParameter: A flag is no boolean.
    """
    for name in _FLAGS:
        query.flag(name)
    detailed = query.flag("details")
    account, stream, consumer = (query.text(name) for name in ("account", "stream", "consumer"))
    code, kind, error = HTTPStatus.OK, "", ""
    if stream and not account:
        code, kind = HTTPStatus.BAD_REQUEST, "BAD_REQUEST"
        error = '"account" must not be empty when checking stream health'
    elif consumer and not stream:
        code, kind = HTTPStatus.BAD_REQUEST, "BAD_REQUEST"
        error = '"stream" must not be empty when checking consumer health'
    elif error := source.unready():
        code, kind = HTTPStatus.INTERNAL_SERVER_ERROR, "CONNECTION"
    if not error:
        return code, Health(status="ok")
    if detailed:
        return code, Health(status="error", errors=[HealthError(kind, error)])
    return code, Health(status="error", error=error)
