"""/healthz: whether the server can be used, for probes (security_ops 4.4).

With JetStream, also whether its store takes messages and has all that was stored, and whether the account, stream or
consumer that is asked for is there. ``js-server-only`` leaves all of that out, ``js-enabled-only`` asks for no more
than that JetStream runs.
"""

import os
from collections.abc import Iterator
from http import HTTPStatus

import msgspec

from phloem.shared.server.monitor.query import Query
from phloem.shared.server.monitor.records import JetStreamFigures, MonitorSource, StreamFigures

_FLAGS = ("js-enabled", "js-enabled-only", "js-server-only", "js-meta-only")


class HealthError(msgspec.Struct, omit_defaults=True):
    """One thing that is wrong."""

    type: str
    account: str = ""
    stream: str = ""
    consumer: str = ""
    error: str = ""


class Health(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The page: ``error``, or ``errors`` with ``details=1``."""

    status: str
    error: str = ""
    errors: list[HealthError] = []


class _Unwell(Exception):
    """Something is wrong."""

    def __init__(self, code: HTTPStatus, status: str, *errors: HealthError) -> None:
        super().__init__(errors[0].error)
        self.code, self.status, self.errors = code, status, list(errors)


def healthz(source: MonitorSource, query: Query) -> tuple[int, Health]:
    """The HTTP status and the page.

    Raises:
        BadParameter: A flag is no boolean.
    """
    flags = {name: query.flag(name) for name in _FLAGS}
    detailed = query.flag("details")
    account, stream, consumer = (query.text(name) for name in ("account", "stream", "consumer"))
    try:
        if stream and not account:
            raise _bad_request('"account" must not be empty when checking stream health')
        if consumer and not stream:
            raise _bad_request('"stream" must not be empty when checking consumer health')
        if error := source.unready():
            raise _Unwell(
                HTTPStatus.INTERNAL_SERVER_ERROR, "error", HealthError(type="CONNECTION", error=error)
            )
        js = None if flags["js-server-only"] else source.jetstream()
        if js is not None and not (flags["js-enabled-only"] or flags["js-enabled"]):
            _check_store(js)
            _check_asset(js, account, stream, consumer)
    except _Unwell as unwell:
        if detailed:
            return unwell.code, Health(status="error", errors=unwell.errors)
        return unwell.code, Health(status=unwell.status, error=unwell.errors[0].error)
    return HTTPStatus.OK, Health(status="ok")


def _bad_request(text: str) -> _Unwell:
    return _Unwell(HTTPStatus.BAD_REQUEST, "error", HealthError(type="BAD_REQUEST", error=text))


def _check_store(js: JetStreamFigures) -> None:
    """A store that the disk has refused acknowledges nothing any more; what was lost is told until somebody acts."""
    errors = []
    if js.store_error:
        text = f"JetStream store write error: {os.strerror(js.store_error)}"
        errors.append(HealthError(type="JETSTREAM", error=text))
    if js.store_full:
        errors.append(
            HealthError(type="JETSTREAM", error="JetStream store has no space: nothing new is taken")
        )
    for account in js.accounts:
        for stream in account.streams:
            errors += _losses(account.name, stream)
    errors += [HealthError(type="JETSTREAM", error=f"JetStream store: {text}") for text in js.damage]
    if errors:
        raise _Unwell(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", *errors)


def _losses(account: str, stream: StreamFigures) -> Iterator[HealthError]:
    name = f"JetStream stream '{account} > {stream.name}'"
    if stream.lost:
        text = f"{name} is read-only: {stream.lost}"
        yield HealthError(type="STREAM", account=account, stream=stream.name, error=text)
    if stream.damaged:
        first, last = stream.damaged
        text = f"{name} has damaged messages, sequences {first} to {last}; look with phloem store check"
        yield HealthError(type="STREAM", account=account, stream=stream.name, error=text)


def _check_asset(js: JetStreamFigures, account: str, stream: str, consumer: str) -> None:
    """What is asked for by name has to be there."""
    if not account:
        return
    accounts = [found for found in js.accounts if found.name == account]
    if not accounts:
        raise _missing("ACCOUNT", f'JetStream account "{account}" not found', account=account)
    if not stream:
        return
    streams = [found for found in accounts[0].streams if found.name == stream]
    if not streams:
        text = f'JetStream stream "{stream}" not found on account "{account}"'
        raise _missing("STREAM", text, account=account, stream=stream)
    if consumer and all(found.name != consumer for found in streams[0].consumers):
        text = f'JetStream consumer "{consumer}" not found for stream "{stream}" on account "{account}"'
        raise _missing("CONSUMER", text, account=account, stream=stream, consumer=consumer)


def _missing(kind: str, text: str, **names: str) -> _Unwell:
    return _Unwell(HTTPStatus.NOT_FOUND, "unavailable", HealthError(type=kind, **names, error=text))
