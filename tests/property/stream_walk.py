"""One walk: every operation is done to a server and to the model, and afterwards both have to say the same.

Compared are: each answer, each message and status that a receiver got and its place among the others, the stream's
state and each consumer's numbers after every operation, and at the end every stored message.
"""

import base64
import json
import re
import time
from collections import deque
from typing import Any

from tests.property.stream_model import Delivered, Model, Output, Pull, timeout
from tests.property.stream_operations import (
    Acknowledge,
    Advance,
    Create,
    Delete,
    Fetch,
    Listen,
    Operation,
    Pause,
    Publish,
    Purge,
    Remove,
    Restart,
    Walk,
)
from tests.property.stream_wires import Wire
from tests.support.jetstream import Message, head_of

from phloem.shared.jetstream.times import rfc3339

PATIENCE_S = 5.0
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\nSUB _R.* 1\r\nPING\r\n'
FRAME = re.compile(
    rb"HMSG (?P<s>\S+) (?P<sid>\d+) (?:(?P<r>\S+) )?(?P<head>\d+) (?P<size>\d+)\r\n"
    rb"|MSG (?P<s2>\S+) (?P<sid2>\d+) (?:(?P<r2>\S+) )?(?P<size2>\d+)\r\n|(?P<line>[^\r]*)\r\n"
)


class Client:
    """Requests and receivers over a wire; receivers have names."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._data = b""
        self._sids = {1: "_R"}
        self._requests = 0
        self.received: dict[str, deque[Message]] = {"_R": deque()}
        wire.send(CONNECT)

    def subscribe(self, name: str, subject: str) -> None:
        sid = len(self._sids) + 1
        self._sids[sid] = name
        self.received.setdefault(name, deque())
        self.wire.send(f"SUB {subject} {sid}\r\n".encode())

    def unsubscribe(self, name: str) -> None:
        for sid in [sid for sid, known in self._sids.items() if known == name]:
            self.wire.send(f"UNSUB {sid}\r\n".encode())
            self._sids[sid] = ""

    def publish(self, subject: str, payload: bytes, reply: str = "", head: bytes = b"") -> None:
        if head:
            line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n"
        else:
            line = f"PUB {subject} {reply} {len(payload)}\r\n"
        self.wire.send(line.encode() + head + payload + b"\r\n")

    def read(self) -> None:
        """Whatever has come."""
        data, at = self._data + self.wire.receive(), 0
        while match := FRAME.match(data, at):
            end = match.end() + int(match["size"] or match["size2"] or -2)
            if len(data) < end + 2:
                break
            at = end + 2
            self._take(match, data[match.end() : end])
        self._data = data[at:]

    def _take(self, match: re.Match[bytes], body: bytes) -> None:
        if match["line"] is not None:
            if match["line"] == b"PING":
                self.wire.send(b"PONG\r\n")
            assert not match["line"].startswith(b"-ERR"), match["line"]
            return
        head = int(match["head"] or 0)
        subject, reply = match["s"] or match["s2"], match["r"] or match["r2"] or b""
        name = self._sids[int(match["sid"] or match["sid2"])]
        if name:
            message = Message(subject.decode(), reply.decode(), body[:head], body[head:])
            self.received[name].append(message)

    def request(self, subject: str, payload: bytes = b"", head: bytes = b"") -> Message:
        self._requests += 1
        reply = f"_R.{self._requests}"
        self.publish(subject, payload, reply, head)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.read()
            answers = self.received["_R"]
            while answers:
                message = answers.popleft()
                if message.subject == reply:
                    return message
            assert not self.wire.in_step, f"no answer to {subject}"
            assert time.monotonic() < deadline, f"no answer to {subject}"

    def api(self, what: str, **body: Any) -> dict[str, Any]:
        answer = self.request(f"$JS.API.{what}", json.dumps(body).encode() if body else b"")
        return answer.json


class Progress:
    """A walk under way. ``stream``: its name, and the first token of its subjects is different as well."""

    def __init__(self, wire: Wire, walk: Walk, stream: str) -> None:
        self.wire, self.walk, self.stream = wire, walk, stream
        self.client = Client(wire)
        self.model = Model(walk.settings, wire.wall_ns())
        self.receivers = 0
        self.published = 0
        # where an acknowledgement goes, whose it is, and of what
        self.replies: list[tuple[str, str, int]] = []
        self.done: list[Operation] = []
        s = walk.settings
        config: dict[str, Any] = {
            "name": stream,
            "subjects": [self._subject("s.>")],
            "storage": s.storage,
            "retention": s.retention,
            "max_msgs": s.max_msgs,
            "max_msgs_per_subject": s.max_msgs_per_subject,
            "discard": s.discard,
            "max_age": s.max_age_s * 10**9,
            "allow_msg_ttl": True,
        }
        if s.max_age_s:
            config["duplicate_window"] = s.max_age_s * 10**9
        answer = self.client.api(f"STREAM.CREATE.{stream}", **config)
        assert "error" not in answer, answer

    def _subject(self, subject: str) -> str:
        return self.stream + subject[1:]

    def _plain(self, subject: str) -> str:
        return "s" + subject.removeprefix(self.stream)

    def run(self) -> None:
        for operation in self.walk.operations:
            self.done.append(operation)
            self.do(operation)
            self.compare()
        self.compare_contents()

    def delete(self) -> None:
        """Make room for the next walk."""
        assert self.client.api(f"STREAM.DELETE.{self.stream}")["success"]

    def _stalled(self) -> bool:
        """Whether a consumer waits for acknowledgements. nats-server does not look at it again when what it waits for
        is purged, or when it is paused; phloem does."""
        return any(
            (c.pulls or c.listening) and len(c.out) >= c.settings.max_ack_pending
            for c in self.model.consumers.values()
        )

    def do(self, operation: Operation) -> None:
        if isinstance(operation, Purge | Pause | Delete) and not self.wire.in_step and self._stalled():
            return
        match operation:
            case Publish():
                for _ in range(operation.count):
                    self._publish(operation)
            case Create():
                self._create(operation)
            case Delete():
                self._delete(operation)
            case Purge():
                self._purge(operation)
            case Acknowledge() if self.replies:
                self._acknowledge(operation)
            case Advance() if self.wire.in_step:
                self.wire.advance(operation.seconds)
                self.model.advance(operation.seconds)
            case Restart() if self.wire.in_step and self.walk.settings.storage == "file":
                self._restart()
            case Fetch() | Listen() | Remove() | Pause() if operation.name in self.model.consumers:
                self._with_consumer(operation)

    def _publish(self, operation: Publish) -> None:
        self.published += 1
        payload = b"%d" % self.published
        ttl = operation.ttl_s if self.wire.in_step else 0
        headers = {"Nats-Msg-Id": operation.ident} if operation.ident else {}
        if ttl:
            headers["Nats-TTL"] = str(ttl)
        answer = self.client.request(self._subject(operation.subject), payload, head_of(headers)).json
        expected = self.model.publish(operation.subject, payload, operation.ident, ttl)
        kind = "refused" if "error" in answer else "duplicate" if answer.get("duplicate") else "stored"
        assert (kind, answer["seq"]) == expected, answer

    def _create(self, operation: Create) -> None:
        name, settings = operation.name, operation.settings
        if name in self.model.consumers:
            self._remove(name)
        config: dict[str, Any] = {
            "durable_name": name,
            "ack_policy": settings.ack,
            "deliver_policy": settings.deliver,
            "filter_subjects": [self._subject(one) for one in settings.filters],
            "max_deliver": settings.max_deliver,
        }
        if settings.ack != "none":
            config["max_ack_pending"] = settings.max_ack_pending
            config["ack_wait"] = (settings.ack_wait_s if self.wire.in_step else 60) * 10**9
            if len(settings.waits_s) > 1 and self.wire.in_step:
                config["backoff"] = [seconds * 10**9 for seconds in settings.waits_s]
        if settings.push:
            config["deliver_subject"] = f"{self.stream}D.{name}"
        answer = self.client.api(
            f"CONSUMER.CREATE.{self.stream}.{name}", stream_name=self.stream, config=config
        )
        may = self.model.may_create(name, settings)
        assert ("error" not in answer) == may, answer
        if may:
            self.model.create(name, settings)

    def _remove(self, name: str) -> None:
        assert self.client.api(f"CONSUMER.DELETE.{self.stream}.{name}")["success"]
        self.model.remove_consumer(name)
        self.compare()
        self.client.unsubscribe(name)
        self.replies = [one for one in self.replies if one[1] != name]

    def _delete(self, operation: Delete) -> None:
        seq = operation.which % (self.model.last_seq + 1) + 1
        answer = self.client.api(f"STREAM.MSG.DELETE.{self.stream}", seq=seq)
        assert ("error" not in answer) == self.model.delete(seq), answer

    def _purge(self, operation: Purge) -> None:
        wanted = {"filter": self._subject(operation.subject)} if operation.subject else {}
        numbers = {"seq": operation.below, "keep": operation.keep}
        body = wanted | {key: value for key, value in numbers.items() if value}
        answer = self.client.api(f"STREAM.PURGE.{self.stream}", **body)
        assert answer["purged"] == self.model.purge(operation.subject, operation.below, operation.keep)

    def _acknowledge(self, operation: Acknowledge) -> None:
        reply, name, seq = self.replies[operation.which % len(self.replies)]
        kind = operation.kind
        if self.model.consumers[name].settings.ack == "all" and kind not in ("+ACK", "", "+WPI"):
            kind = (
                "+ACK"  # nats-server takes +TERM for an acknowledgement of all, and -NAK moves numbers about
            )
        if not self.wire.in_step and kind == "-NAK delay":
            kind = "-NAK"
        if kind == "+NXT":
            where = self._receiver()
            self.client.publish(reply, b'+NXT {"batch":2,"no_wait":true}', where)
            self.model.ack(name, seq)
            if self.model.consumers[name].settings.push:
                self.model.outputs.setdefault(where, []).append("409 Consumer is push based")
            else:
                self.model.pull(name, Pull(where, 2, True, 0))
            return
        text = f'-NAK {{"delay":{operation.delay_s * 10**9}}}' if kind == "-NAK delay" else kind
        answer = self.client.request(reply, text.encode())
        assert (answer.head, answer.payload) == (b"", b"")
        match kind:
            case "+ACK" | "" | "+TERM":
                self.model.ack(name, seq)
            case "-NAK" | "-NAK delay":
                self.model.nak(name, seq, operation.delay_s if kind == "-NAK delay" else 0)
            case "+WPI":
                self.model.progress(name, seq)

    def _receiver(self) -> str:
        self.receivers += 1
        where = f"{self.stream}P.{self.receivers}"
        self.client.subscribe(where, where)
        return where

    def _with_consumer(self, operation: Fetch | Listen | Remove | Pause) -> None:
        name = operation.name
        push = self.model.consumers[name].settings.push
        match operation:
            case Remove():
                self._remove(name)
            case Listen(on=on) if push and on != self.model.consumers[name].listening:
                if on:
                    self.client.subscribe(name, f"{self.stream}D.{name}")
                else:
                    self.client.unsubscribe(name)
                self.model.listen(name, on)
            case Pause(seconds=seconds):
                now = self.wire.wall_ns() or time.time_ns()
                until = now + seconds * 10**9 * (1 if self.wire.in_step else 1000)
                body = {"pause_until": rfc3339(until)} if seconds else {}
                self.client.api(f"CONSUMER.PAUSE.{self.stream}.{name}", **body)
                self.model.pause(name, until if seconds else 0)
            case Fetch() if not push:
                self._fetch(operation)

    def _fetch(self, operation: Fetch) -> None:
        expires = operation.expires_s * (1 if self.wire.in_step else 1000)
        where = self._receiver()
        body = json.dumps(
            {"batch": operation.batch, "no_wait": operation.no_wait, "expires": expires * 10**9}
        )
        self.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{operation.name}", body.encode(), where)
        due = self.model.now + expires * 10**9 if expires else 0
        self.model.pull(operation.name, Pull(where, operation.batch, operation.no_wait, due))

    def _restart(self) -> None:
        self.wire.restart()
        self.client = Client(self.wire)
        self.model.restart()

    # --- comparing

    def compare(self) -> None:
        for where, outputs in self.model.outputs.items():
            for expected in outputs:
                self._expect(where, expected)
            outputs.clear()
        self._same(self._state, self._model_state())
        for name in self.model.consumers:
            self._same(lambda name=name: self._numbers(name), self._model_numbers(name))
        left = {where: list(queue) for where, queue in self.client.received.items() if queue}
        assert not left, f"nothing accounts for {left}"

    def _same(self, ask: Any, wanted: dict[str, Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (seen := ask()) != wanted:
            assert not self.wire.in_step, f"{seen} instead of {wanted}"
            assert time.monotonic() < deadline, f"{seen} instead of {wanted}"

    def _expect(self, where: str, expected: Output) -> None:
        deadline = time.monotonic() + PATIENCE_S
        queue = self.client.received[where]
        while not queue:
            self.client.read()
            waits = not self.wire.in_step and time.monotonic() < deadline
            assert queue or waits, f"{where} wants {expected}"
        message = queue.popleft()
        if isinstance(expected, str):
            left = message.headers.get("Nats-Pending-Messages")
            seen = timeout(int(left or 0)) if message.status == "408 Request Timeout" else message.status
            assert seen == expected, f"{where}: {message} instead of {expected}"
            return
        assert message.reply, f"{where}: {message} instead of {expected}"
        deliveries, seq, consumer_seq, pending = message.ack
        name = message.reply.split(".")[3]
        found = Delivered(
            seq, consumer_seq, deliveries, pending, self._plain(message.subject), message.payload
        )
        assert found == expected, f"{where}: {found} instead of {expected}"
        if self.model.consumers[name].settings.ack != "none":  # nats-server does not listen for others
            self.replies = [one for one in self.replies if one[1:] != (name, seq)]
            self.replies.append((message.reply, name, seq))

    def _state(self) -> dict[str, Any]:
        state = self.client.api(f"STREAM.INFO.{self.stream}")["state"]
        first = max(state["first_seq"], 1)  # nats-server says 0 as long as nothing has happened
        return {"messages": state["messages"], "first_seq": first, "last_seq": state["last_seq"]}

    def _model_state(self) -> dict[str, Any]:
        model = self.model
        return {"messages": len(model.kept), "first_seq": model.first_seq, "last_seq": model.last_seq}

    def _numbers(self, name: str) -> dict[str, Any]:
        info = self.client.api(f"CONSUMER.INFO.{self.stream}.{name}")
        delivered, floor = info["delivered"], info["ack_floor"]
        assert floor["consumer_seq"] <= delivered["consumer_seq"], info
        assert floor["stream_seq"] <= delivered["stream_seq"], info
        keys = ("num_pending", "num_ack_pending", "num_waiting", "num_redelivered")
        below = [seq for seq in self.model.consumers[name].out if seq <= floor["stream_seq"]]
        return {
            "delivered": delivered["consumer_seq"],
            **{key: info[key] for key in keys},
            "unacknowledged below the floor": below,
        }

    def _model_numbers(self, name: str) -> dict[str, Any]:
        numbers = self.model.numbers(name)
        return {
            "delivered": numbers.delivered,
            "num_pending": numbers.pending,
            "num_ack_pending": numbers.ack_pending,
            "num_waiting": numbers.waiting,
            "num_redelivered": numbers.redelivered,
            "unacknowledged below the floor": [],
        }

    def compare_contents(self) -> None:
        for seq, message in self.model.kept.items():
            found = self.client.api(f"STREAM.MSG.GET.{self.stream}", seq=seq)["message"]
            seen = self._plain(found["subject"]), base64.b64decode(found["data"])
            assert seen == (message.subject, message.payload)
