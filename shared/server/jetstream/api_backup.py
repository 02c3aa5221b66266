"""API endpoints of backups: STREAM.SNAPSHOT, STREAM.RESTORE, and what is under way of them (reference 5.4, 7)."""

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared import limits
from phloem.shared.jetstream import identity, strict_json
from phloem.shared.jetstream.archive import ArchiveError, State, check_state
from phloem.shared.jetstream.errors import error
from phloem.shared.jetstream.stream_config import RESERVED, StreamConfig, printed
from phloem.shared.jetstream.times import go_duration, rfc3339
from phloem.shared.server.jetstream import api_streams
from phloem.shared.server.jetstream.backup import SUBJECT_MAX, AccountLine, StreamSource, StreamTarget
from phloem.shared.server.jetstream.snapshot import Restore, Snapshot, SnapshotRequest
from phloem.shared.wire import subjects

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.api import Request
    from phloem.shared.server.jetstream.system import JetStream

log = logging.getLogger("phloem.jetstream")


class RestoreState(State):
    """The whole state, as a client hands back what it was given."""

    first_ts: str = ""
    last_ts: str = ""
    num_subjects: int = 0
    subjects: dict[str, int] | None = None
    num_deleted: int = 0
    deleted: list[int] | None = None
    lost: dict[str, Any] | None = None


class RestoreRequest(msgspec.Struct):
    """The body of STREAM.RESTORE."""

    config: StreamConfig = msgspec.field(default_factory=StreamConfig)
    state: RestoreState = msgspec.field(default_factory=RestoreState)


class Transfers:
    """Snapshots and restores of all accounts that are under way."""

    def __init__(self, system: "JetStream") -> None:
        self._system = system
        self._running: dict[Snapshot | Restore, AccountJetStream] = {}

    def _make_room(self, err_code: int) -> None:
        if len(self._running) >= limits.SNAPSHOTS_MAX:
            raise error(err_code, err=f"{limits.SNAPSHOTS_MAX} are under way, try again later")

    def _nuid(self) -> str:
        return identity.text_of(self._system.server.rng.randbytes(22), 22)

    def _advise(self, account: "AccountJetStream", word: str, stream: str, fields: dict[str, Any]) -> None:
        self._system.api.advise(
            account,
            f"ADVISORY.STREAM.{word}.{stream}",
            f"advisory.v1.{word.lower()}",
            {"stream": stream, **fields},
        )

    def send(self, request: "Request", source: StreamSource, wanted: SnapshotRequest) -> None:
        """Start a snapshot. Raises ApiError when there are too many."""
        self._make_room(10064)
        account, clock = request.account, self._system.clock
        client, began, monotonic = request.client(), clock.wall_ns(), clock.monotonic_ns()
        log.info("Starting snapshot for stream '%s > %s'", account.name, source.name)
        self._advise(account, "SNAPSHOT_CREATE", source.name, {"state": source.state, "client": client})

        def done(why: str) -> None:
            self._running.pop(running, None)
            span = go_duration(clock.monotonic_ns() - monotonic)
            if why:
                log.warning(
                    "Snapshot for stream '%s > %s' failed after %s: %s", account.name, source.name, span, why
                )
            else:
                log.info("Completed snapshot for stream '%s > %s' in %s", account.name, source.name, span)
            fields = {"start": rfc3339(began), "end": rfc3339(clock.wall_ns()), "client": client}
            if why:
                fields["error"] = why
            self._advise(account, "SNAPSHOT_COMPLETE", source.name, fields)

        running = Snapshot(AccountLine(account), source, wanted, self._nuid(), done)
        self._running[running] = account

    def receive(self, request: "Request", target: StreamTarget, state: State) -> str:
        """Start a restore; where its chunks go. Raises ApiError when there are too many."""
        self._make_room(10062)
        account, clock = request.account, self._system.clock
        client, began, monotonic = request.client(), clock.wall_ns(), clock.monotonic_ns()
        log.info("Starting restore for stream '%s > %s'", account.name, target.name)
        self._advise(account, "RESTORE_CREATE", target.name, {"client": client})

        def done(size: int, why: str) -> None:
            self._running.pop(running, None)
            span = go_duration(clock.monotonic_ns() - monotonic)
            if why:
                log.warning(
                    "Restore failed for stream '%s > %s' in %s: %s", account.name, target.name, span, why
                )
            else:
                log.info("Completed restore of stream '%s > %s' in %s", account.name, target.name, span)
            if not why:
                api_streams.advise_stream(self._system, account, target.name, "CREATED", "create")
            times = {"start": rfc3339(began), "end": rfc3339(clock.wall_ns())}
            self._advise(account, "RESTORE_COMPLETE", target.name, {**times, "bytes": size, "client": client})

        message_max = self._system.server.options.max_payload
        running = Restore(AccountLine(account), target, self._nuid(), message_max, done, state)
        self._running[running] = account
        return running.subject

    def cancel(self, account: "AccountJetStream | None" = None) -> None:
        """The server stops, or an account has no JetStream any more."""
        for running, owner in list(self._running.items()):
            if account is None or owner is account:
                running.cancel()
                del self._running[running]


def snapshot(request: "Request") -> dict[str, Any]:
    """STREAM.SNAPSHOT: the answer has configuration and state, the rest goes to the deliver subject."""
    if request.body.strip() in (b"", b"{}"):
        raise error(10003)
    stream = request.account.streams.get(request.tokens[0])
    if stream is None:
        raise error(10059)
    wanted = strict_json.decode(request.body, SnapshotRequest, strict=request.system.options.strict)
    deliver = wanted.deliver_subject
    if not (subjects.is_valid(deliver) and subjects.is_literal(deliver)) or len(deliver) > SUBJECT_MAX:
        raise error(10015)
    source = StreamSource(stream, consumers=not wanted.no_consumers)
    request.system.transfers.send(request, source, wanted)
    return {"config": printed(stream.config, full=False), "state": source.state}


def restore(request: "Request") -> dict[str, Any]:
    """STREAM.RESTORE: the answer says where the chunks go."""
    if request.body.strip() in (b"", b"{}"):
        raise error(10003)
    wanted = strict_json.decode(request.body, RestoreRequest, strict=request.system.options.strict)
    config, account = wanted.config, request.account
    config.name = config.name or request.tokens[0]
    if config.name != request.tokens[0]:
        raise error(10056)
    if set(config.name) & {"/", "\\"}:
        raise error(10128)
    config.metadata = {key: value for key, value in config.metadata.items() if key not in RESERVED}
    config = api_streams.checked_for_restore(request, config)

    def rules() -> None:
        api_streams.may_restore(account, config)

    rules()
    try:
        check_state(wanted.state)
    except ArchiveError:
        raise error(10003) from None
    return {
        "deliver_subject": request.system.transfers.receive(
            request, StreamTarget(account, config, rules), wanted.state
        )
    }
