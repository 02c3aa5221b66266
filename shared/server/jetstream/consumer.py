"""A consumer of a stream: how it begins, what it is asked, what an answer says of it."""

import logging
import re
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared.engine import consumer_face as compiled
from phloem.shared.jetstream.archive import ConsumerState
from phloem.shared.jetstream.consumer_config import ConsumerConfig, printed
from phloem.shared.jetstream.pull_request import BadRequest, PullRequest, decode_pull
from phloem.shared.jetstream.strict_json import UNREADABLE
from phloem.shared.jetstream.times import go_duration, parse_go_duration, parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream

log = logging.getLogger("phloem.jetstream")

ACKS = {
    "none": compiled.ACK_NONE,
    "all": compiled.ACK_ALL,
    "explicit": compiled.ACK_EXPLICIT,
    "flow_control": compiled.ACK_FLOW,
}
POLICIES = {
    "none": compiled.NO_PRIORITY,
    "overflow": compiled.OVERFLOW,
    "pinned_client": compiled.PINNED,
    "prioritized": compiled.PRIORITIZED,
}


class ConsumerRecord(msgspec.Struct):
    """What the store remembers of a consumer beside its state."""

    ident: int
    stream: str
    name: str
    created_ns: int
    start_seq: int
    config: ConsumerConfig


class Consumer:
    """One consumer while the server runs."""

    def __init__(self, stream: "Stream", record: ConsumerRecord) -> None:
        self.stream = stream
        self.system = stream.system
        self.record = record
        self.durable = stream.config.storage == "file" and not record.config.mem_storage
        last_seqs: list[int] = []
        if record.config.deliver_policy == "last_per_subject":
            last_seqs = stream.log.last_of_subjects(
                [f.encode() for f in record.config.filters], record.start_seq - 1
            )
        self.engine = compiled.Consumer(
            stream.engine,
            record.name.encode(),
            record.ident,
            start_seq=record.start_seq,
            last_seqs=last_seqs,
            durable_state=self.durable,
        )
        self.configure()
        if self.durable:
            state, notes = self.system.store.state(record.ident)
            if state is not None or notes:
                self.engine.restore(state, notes)

    @property
    def config(self) -> ConsumerConfig:
        """The configuration that holds."""
        return self.record.config

    def configure(self) -> None:
        """Hand the configuration to the engine."""
        config = self.config
        sample = int(config.sample_freq.removesuffix("%") or 0)
        self.engine.configure(
            filters=[one.encode() for one in config.filters if one != ">"],
            ack_policy=ACKS[config.ack_policy],
            ack_wait_ns=config.ack_wait,
            backoff_ns=config.backoff,
            max_deliver=config.max_deliver,
            max_ack_pending=config.max_ack_pending,
            max_waiting=config.max_waiting,
            deliver_subject=config.deliver_subject.encode(),
            deliver_group=config.deliver_group.encode(),
            headers_only=config.headers_only,
            replay_original=config.replay_policy == "original",
            flow_control=config.flow_control,
            heartbeat_ns=config.idle_heartbeat,
            rate_bytes=config.rate_limit_bps // 8,
            inactive_ns=config.inactive_threshold,
            priority_policy=POLICIES[config.priority_policy],
            pin_ttl_ns=config.priority_timeout,
            samples=sample > 0,
        )
        self._pause()

    def _pause(self) -> None:
        until = self.paused_until_ns()
        wall = self.system.clock.wall_ns()
        if until > wall:
            self.engine.pause(self.system.clock.monotonic_ns() + until - wall)
        else:
            self.engine.pause(0)

    def paused_until_ns(self) -> int:
        """Wall clock; 0: not paused."""
        return parse_rfc3339(self.config.pause_until) if self.config.pause_until else 0

    def update(self, config: ConsumerConfig) -> None:
        """Another configuration, already checked."""
        self.record = msgspec.structs.replace(self.record, config=config)
        self.keep_record()
        self.configure()

    def pause(self, until: str | None) -> None:
        """Until a time, or not any more."""
        self.update(msgspec.structs.replace(self.config, pause_until=until))

    def reset(self, start: int) -> None:
        """As if it were new, from this sequence on."""
        self.engine.reset(start)
        self.keep_state()

    def adopt(self, state: ConsumerState) -> None:
        """How far the consumer was whose backup this is; what is outstanding has its whole wait."""
        self.engine.adopt(
            state.delivered.consumer_seq,
            state.delivered.stream_seq,
            state.ack_floor.consumer_seq,
            state.ack_floor.stream_seq,
            state.outstanding(),
        )
        self.keep_state()

    def keep_record(self) -> None:
        """Write what the store remembers."""
        account = self.stream.account
        account.keep(account.consumer_key(self.stream.name, self.record.name), self.record)

    def keep_state(self) -> None:
        """The whole state into the store, instead of the notes so far."""
        if self.durable:
            self.system.store.put_state(self.record.ident, self.engine.snapshot())

    # --- requests --------------------------------------------------------------------------------------

    def next(self, reply: bytes, body: bytes) -> None:
        """CONSUMER.MSG.NEXT. Whatever is wrong is answered with a status."""
        if self.config.deliver_subject:
            self.engine.status(reply, b"409 Consumer is push based")
            return
        try:
            request = decode_pull(body)
            self._check(request)
        except BadRequest as problem:
            self.engine.status(reply, str(problem).encode())
            return
        if request.expires < 0:  # over before it begins, whatever there is
            left = f"Nats-Pending-Messages: {request.batch}\r\nNats-Pending-Bytes: {request.max_bytes}"
            self.engine.status(reply, f"408 Request Timeout\r\n{left}".encode())
            return
        self.engine.pull(
            reply,
            batch=request.batch,
            expires_ns=request.expires,
            no_wait=request.no_wait or (request.batch <= 0 and request.expires == 0),
            max_bytes=request.max_bytes,
            heartbeat_ns=max(request.idle_heartbeat, 0),
            min_pending=max(request.min_pending, 0),
            min_ack_pending=max(request.min_ack_pending, 0),
            priority=request.priority,
            pin=request.id.encode(),
        )

    def _check(self, request: PullRequest) -> None:
        config = self.config
        if config.max_batch and request.batch > config.max_batch:
            raise BadRequest(f"409 Exceeded MaxRequestBatch of {config.max_batch}")
        if config.max_expires and request.expires > config.max_expires:
            raise BadRequest(f"409 Exceeded MaxRequestExpires of {go_duration(config.max_expires)}")
        if config.max_bytes and request.max_bytes > config.max_bytes:
            raise BadRequest(f"409 Exceeded MaxRequestMaxBytes of {config.max_bytes}")
        if (request.min_pending or request.min_ack_pending) and config.priority_policy != "overflow":
            raise BadRequest("400 Bad Request - Not a Overflow Priority consumer")
        if request.id and config.priority_policy != "pinned_client":
            raise BadRequest("400 Bad Request - Not a Pinned Client Priority consumer")
        if not 0 <= request.priority <= 9:
            raise BadRequest("400 Bad Request - Priority must be between 0 and 9")
        if config.priority_policy == "none" or (
            request.group is None and config.priority_policy != "pinned_client"
        ):
            return
        if not request.group:
            raise BadRequest("400 Bad Request - Priority Group missing")
        if request.group not in config.priority_groups:
            raise BadRequest("400 Bad Request - Invalid Priority Group")

    def on_ack(self, seq: int, reply: bytes, payload: bytes) -> None:
        """-NAK with a delay, +TERM with a reason, +NXT."""
        text = payload.decode(errors="replace")
        if text.startswith("-NAK"):
            self.engine.nak(seq, _delay(text[4:].strip()))
        elif text.startswith("+TERM"):
            found = self.engine.term(seq)
            if found is not None:
                self.advise_terminated(seq, *found, text[5:].strip())
        elif text.startswith("+NXT"):
            self.engine.ack(seq)
            if reply:
                self.next(reply, payload[4:].strip())
            return
        if reply:
            server = self.system.engine
            server.answer(self.stream.account.kernel_account, reply, b"", b"", durable=self.durable)

    # --- what happens ----------------------------------------------------------------------------------

    def advise_terminated(self, seq: int, consumer_seq: int, deliveries: int, reason: str) -> None:
        """The advisory of a message that is never handed out again."""
        extra: dict[str, Any] = {"reason": reason} if reason else {}
        self._advise(
            "ADVISORY.CONSUMER.MSG_TERMINATED",
            "advisory.v1.terminated",
            consumer_seq=consumer_seq,
            stream_seq=seq,
            deliveries=deliveries,
            **extra,
        )

    def happened(self, what: int, seq: int, consumer_seq: int, deliveries: int, ns: int) -> None:
        """An event of the engine."""
        if what == compiled.INACTIVE:
            if not self.system.stopping:
                self.delete()
        elif what == compiled.MAX_DELIVERIES:
            self._advise(
                "ADVISORY.CONSUMER.MAX_DELIVERIES",
                "advisory.v1.max_deliver",
                stream_seq=seq,
                deliveries=deliveries,
            )
        elif what == compiled.NAKED:
            self._advise(
                "ADVISORY.CONSUMER.MSG_NAKED",
                "advisory.v1.nak",
                consumer_seq=consumer_seq,
                stream_seq=seq,
                deliveries=deliveries,
            )
        elif what == compiled.TERMINATED:
            reason = "Unacknowledged message was deleted" if ns else ""
            self.advise_terminated(seq, consumer_seq, deliveries, reason)
        elif what == compiled.ACKED:
            self._sample(seq, consumer_seq, deliveries, ns)
        elif what in (compiled.PIN_SET, compiled.PIN_LOST):
            self._pinned(what == compiled.PIN_SET, bool(deliveries))
        elif what == compiled.RESUMED:
            self.advise_pause()

    def _sample(self, seq: int, consumer_seq: int, deliveries: int, ns: int) -> None:
        share = int(self.config.sample_freq.removesuffix("%") or 0)
        if share >= 100 or self.system.server.rng.randrange(100) < share:
            self._advise(
                "METRIC.CONSUMER.ACK",
                "metric.v1.consumer_ack",
                consumer_seq=consumer_seq,
                stream_seq=seq,
                ack_time=ns,
                deliveries=deliveries,
            )

    def _pinned(self, on: bool, admin: bool) -> None:
        group = self.config.priority_groups[0] if self.config.priority_groups else ""
        account = {"account": self.stream.account.name}
        if on:
            pin = self.engine.numbers["pin"].decode()
            self._advise(
                "ADVISORY.CONSUMER.PINNED",
                "advisory.v1.consumer_group_pinned",
                first=account,
                group=group,
                pinned_id=pin,
            )
        else:
            self._advise(
                "ADVISORY.CONSUMER.UNPINNED",
                "advisory.v1.consumer_group_unpinned",
                first=account,
                group=group,
                reason="admin" if admin else "timeout",
            )

    def advise_pause(self) -> None:
        """The advisory of a pause that begins or ends."""
        until = self.paused_until_ns()
        self._advise(
            "ADVISORY.CONSUMER.PAUSE",
            "advisory.v1.consumer_pause",
            paused=until > self.system.clock.wall_ns(),
            pause_until=rfc3339(until),
        )

    def _advise(self, subject: str, kind: str, first: dict[str, Any] | None = None, **fields: Any) -> None:
        names = {"stream": self.stream.name, "consumer": self.record.name}
        self.system.api.advise(
            self.stream.account,
            f"{subject}.{self.stream.name}.{self.record.name}",
            kind,
            {**(first or {}), **names, **fields},
        )

    # --- what answers say ------------------------------------------------------------------------------

    def _time_of(self, monotonic_ns: int) -> dict[str, str]:
        if not monotonic_ns:
            return {}
        clock = self.system.clock
        return {"last_active": rfc3339(clock.wall_ns() - clock.monotonic_ns() + monotonic_ns)}

    def info(self, *, full: bool = True) -> dict[str, Any]:
        """ConsumerInfo."""
        n = self.engine.numbers
        shown: dict[str, Any] = {
            "stream_name": self.stream.name,
            "name": self.record.name,
            "created": rfc3339(self.record.created_ns),
            "config": printed(self.config, full=full),
            "delivered": {
                "consumer_seq": n["delivered_consumer"],
                "stream_seq": n["delivered_stream"],
                **self._time_of(n["last_sent_ns"]),
            },
            "ack_floor": {
                "consumer_seq": n["floor_consumer"],
                "stream_seq": n["floor_stream"],
                **self._time_of(n["last_ack_ns"]),
            },
            "num_ack_pending": n["num_ack_pending"],
            "num_redelivered": n["num_redelivered"],
            "num_waiting": n["num_waiting"],
            "num_pending": n["num_pending"],
        }
        if n["push_bound"]:
            shown["push_bound"] = True
        left = self.paused_until_ns() - self.system.clock.wall_ns()
        if left > 0:
            shown |= {"paused": True, "pause_remaining": left}
        shown["ts"] = rfc3339(self.system.clock.wall_ns())
        if self.config.priority_policy != "none":
            shown["priority_groups"] = [self._group(self.config.priority_groups[0], n)]
        return shown

    def _group(self, group: str, n: "compiled.Numbers") -> dict[str, Any]:
        shown: dict[str, Any] = {"group": group}
        if n["pin"]:
            shown["pinned_client_id"] = n["pin"].decode()
        clock = self.system.clock
        since = clock.wall_ns() - clock.monotonic_ns() + n["pinned_ns"] if n["pin"] else 0
        shown["pinned_ts"] = rfc3339(since)
        return shown

    # --- the end ---------------------------------------------------------------------------------------

    def close(self, status: bytes) -> None:
        """It hands nothing out any more; what it knows stays in the store."""
        self.engine.close(status)
        self.stream.account.by_engine.pop(id(self.engine), None)

    def shut_down(self) -> None:
        """The server stops."""
        self.keep_state()
        self.engine.close(b"409 Server Shutdown")

    def delete(self) -> None:
        """Everything of it goes; messages that only it wanted go with it."""
        account = self.stream.account
        self.close(b"409 Consumer Deleted")
        self.stream.consumers.pop(self.record.name, None)
        if self.durable:
            self.system.store.drop_state(self.record.ident)
        self.system.store.delete(account.consumer_key(self.stream.name, self.record.name))
        self.stream.publish.interest_changed()
        self._advise("ADVISORY.CONSUMER.DELETED", "advisory.v1.consumer_action", action="delete")


def _delay(text: str) -> int:
    """Of a negative acknowledgement: {"delay": ns} or a Go duration; what is neither, or too long, is no delay."""
    try:
        if text.startswith("{"):
            delay = int(msgspec.json.decode(text.encode()).get("delay", 0))
        else:
            delay = parse_go_duration(text) if re.match(r"[\d.]", text) else 0
    except (ValueError, TypeError, AttributeError, OverflowError, *UNREADABLE):
        return 0
    return delay if 0 < delay < 1 << 63 else 0
