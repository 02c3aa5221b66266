"""Taking from a stream that is reached through its API: what it is asked, what its deliveries mean (reference 2.9).

An origin of another server or domain (``external``), or one whose consumer was made beforehand (``consumer``), is no
different from any push consumer: a request makes it or, for one that is there, resets it; messages carry their place in
the reply subject; each answer to flow control says how far everything is safe here, by which an origin with retention
by interest lets go of it. A gap, or silence, ends it, and it is asked again from where this side has got to.
"""

from typing import Any, NamedTuple

import msgspec

from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.headers import field_of
from phloem.shared.jetstream.identity import short_hash
from phloem.shared.jetstream.sourcing import index_of
from phloem.shared.jetstream.stream_config import StreamConfig, StreamSource
from phloem.shared.jetstream.times import SECOND_NS

API = "$JS.API"
LEVEL = 5
LEVEL_HEADER, IDENTITY_HEADER = b"Nats-Required-Api-Level", b"Nats-Stream-Identity"
TOO_NEW = (10185, 10025)  # how an older server refuses what it does not know
ANOTHER = 10225  # the stream was made anew
# A consumer that is acknowledged by flow control has no other in nats-server, which refuses or overrides it; one of an
# origin with retention by limits could have a longer one, up to what this side calls silence.
HEARTBEAT_NS = SECOND_NS
ACK_WAIT_NS = 22 * 3600 * SECOND_NS
INACTIVE_NS = 10 * SECOND_NS
HIGHEST = 1 << 64


class Place(NamedTuple):
    """Where to go on: behind ``seq`` of the stream with this identity; 0: from the beginning."""

    seq: int
    identity: bytes


class Asker(NamedTuple):
    """Who takes: the stream's name and configuration, its account, the server's domain."""

    config: StreamConfig
    account: str
    domain: str


class Question(NamedTuple):
    """A request."""

    subject: bytes
    header: bytes
    body: bytes


class Opened(NamedTuple):
    """What an answer grants.

    That is all that can be believed of it: for a consumer that was there before, nats-server makes up the answer while
    its deliveries are under way already. What it says to have delivered may have come after what was asked for, and the
    deliver subject may be the one of last time.
    """

    consumer: str
    identity: bytes  # empty: the origin does not say


class Delivery(NamedTuple):
    """What the reply subject of a delivered message says."""

    consumer: str
    deliveries: int
    seq: int
    number: int
    ts: int
    pending: int
    subject: bytes


def prefix_of(source: StreamSource) -> str:
    """The API's subjects begin so."""
    return source.external.api.rstrip(".") if source.external is not None and source.external.api else API


def is_remote(source: StreamSource, domain: str) -> bool:
    """Whether the origin has to be asked through its API: this server's own streams are read as they are."""
    own = (API, f"$JS.{domain}.API") if domain else (API,)
    return source.consumer is not None or prefix_of(source) not in own


def consumer_name(asker: Asker, source: StreamSource) -> str:
    """The same each time, so that a durable consumer is found again."""
    config = asker.config
    text = " ".join(filter(None, (config.name, asker.account, asker.domain)))
    if config.mirror is None and sum(one.name == source.name for one in config.sources) > 1:
        text += " " + index_of(source).decode()
    return ("JS_MIRROR_" if config.mirror is not None else "JS_SRC_") + short_hash(text)


def deliver_subject(asker: Asker, source: StreamSource, token: str) -> str:
    """Where messages go: a new one each time, unless the consumer is there already."""
    if source.consumer is not None:
        return source.consumer.deliver_subject
    external = source.external
    prefix = external.deliver.rstrip(".") if external is not None and external.deliver else "$JS"
    return f"{prefix}.{'M' if asker.config.mirror is not None else 'S'}.{token}"


def question(asker: Asker, source: StreamSource, place: Place, deliver: str, *, old: str = "") -> Question:
    """The request for a consumer, or to reset one. ``old``: for a server that knows nothing of sourcing, with this
    behind the consumer's name, which it does not make unique itself."""
    prefix = prefix_of(source)
    lines = [b"%b: %d" % (LEVEL_HEADER, LEVEL)]
    if asker.config.mirror is None:  # empty: the answer shall say which it is
        lines.append(b"%b: %b" % (IDENTITY_HEADER, place.identity))
    header = b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    if source.consumer is not None:
        return Question(f"{prefix}.CONSUMER.RESET.{source.name}.{source.consumer.name}".encode(), header, b"")
    config = _consumer(asker, source, place, deliver)
    if old:
        config["name"] += f"_{old}"
        del config["sourcing"]
        header = b""
    subject = f"{prefix}.CONSUMER.CREATE.{source.name}"
    if "filter_subject" in config:
        subject += f".{config['name']}.{config['filter_subject']}"
    body = {"stream_name": source.name, "config": config, "action": ""}
    return Question(subject.encode(), header, msgspec.json.encode(body))


def _consumer(asker: Asker, source: StreamSource, place: Place, deliver: str) -> dict[str, Any]:
    mirror = asker.config.mirror is not None
    word = "mirror" if mirror else "src"
    metadata = {f"_nats.{word}.acc": asker.account, f"_nats.{word}.stream": asker.config.name}
    if asker.domain:
        metadata[f"_nats.{word}.domain"] = asker.domain
    config: dict[str, Any] = {
        "name": consumer_name(asker, source),
        **_start(source, place),
        "ack_policy": "none",
        "ack_wait": ACK_WAIT_NS,
        "max_deliver": 1,
        "replay_policy": "instant",
        "flow_control": True,
        "deliver_subject": deliver,
        "idle_heartbeat": HEARTBEAT_NS,
        "inactive_threshold": INACTIVE_NS,
        "num_replicas": 0,
        "direct": True,
        "sourcing": True,
        "metadata": metadata,
    }
    filters = [one.src for one in source.subject_transforms or []] or [source.filter_subject]
    if len(filters) == 1 and filters[0]:
        config["filter_subject"] = filters[0]
    elif len(filters) > 1:
        config["filter_subjects"] = filters
    return config


def _start(source: StreamSource, place: Place) -> dict[str, Any]:
    if place.seq:
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": place.seq + 1}
    if source.opt_start_seq:
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": source.opt_start_seq}
    if source.opt_start_time:
        return {"deliver_policy": "by_start_time", "opt_start_time": source.opt_start_time}
    return {"deliver_policy": "all"}


def answered(asker: Asker, source: StreamSource, header: bytes, body: bytes) -> Opened:
    """Raises ApiError for a refusal, and for what is no answer."""
    failed = 10029 if asker.config.mirror is not None else 10045
    try:
        answer = msgspec.json.decode(body)
        problem = answer.get("error")
        if problem is not None:
            raise ApiError(int(problem["code"]), int(problem["err_code"]), str(problem["description"]))
        config = answer["config"]
        opened = Opened(
            str(answer["name"]),
            field_of(header, IDENTITY_HEADER),
        )
        policy = config.get("ack_policy")
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise error(failed, err="invalid consumer create response") from None
    if source.consumer is not None and policy != "flow_control":
        raise error(10214 if asker.config.mirror is not None else 10217)
    return opened


def delivery(subject: bytes, reply: bytes) -> Delivery | None:
    """None: the message is no delivery. ``$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<number>.<time>.<pending>``,
    or with domain and account in front, and the subject behind an @."""
    reply, _, stored = reply.partition(b"@")
    tokens = reply.split(b".")
    if len(tokens) < 9 or tokens[:2] != [b"$JS", b"ACK"]:
        return None
    at = 3 if len(tokens) == 9 else 5
    numbers = tokens[at + 1 : at + 6]
    if not all(number.isdigit() and len(number) <= 20 and int(number) < HIGHEST for number in numbers):
        return None
    deliveries, seq, number, ts, pending = map(int, numbers)
    return Delivery(
        tokens[at].decode(errors="replace"), deliveries, seq, number, ts, pending, stored or subject
    )


class Track:
    """Which of a consumer's deliveries have come."""

    def __init__(self, opened: Opened, taken: int) -> None:
        """``taken``: the last sequence that is here already."""
        self._consumer = opened.consumer
        self.seq = taken
        self.number = 0
        self.pending = 0
        self.broken = False  # something is missing: it has to be asked for again

    def takes(self, found: Delivery) -> bool:
        """Whether this message is to be stored."""
        if found.consumer != self._consumer or found.deliveries > 1:
            return False
        if found.number <= self.number:
            self.broken = found.seq > self.seq  # the other end was killed, and counts from before
            return False
        if found.number != self.number + 1:
            self.broken = True
            return False
        self.number, self.pending = found.number, found.pending
        if found.seq <= self.seq:
            return False
        self.seq = found.seq
        return True

    def heartbeat(self, header: bytes) -> bytes:
        """The flow control subject on which the other end waits for an answer, if it does."""
        last = field_of(header, b"Nats-Last-Consumer")
        if last.isdigit() and len(last) <= 20 and int(last) != self.number:
            self.broken = True
        return field_of(header, b"Nats-Consumer-Stalled")
