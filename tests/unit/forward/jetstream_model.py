"""A model of a hub that only knows JetStream, and of a device's stream, for stories about the publisher.

What nats-server does, as far as the publisher relies on it: expectations over a pattern, atomic batches, ids within a
window, the last message of a pattern, the first message of a pattern from a place on.
"""

import base64
import json
import re
from bisect import bisect_left
from datetime import UTC, datetime
from typing import Any, NamedTuple

from phloem.shared.forward.grouping import Taken
from phloem.shared.forward.identity import with_opening
from phloem.shared.forward.messages import Epoch
from phloem.shared.forward.wrap import Item, Out

MINE = "fleet.t.d.>"
SECOND_NS = 1_000_000_000


class Kept(NamedTuple):
    seq: int
    subject: str
    header: bytes
    payload: bytes
    at_ns: int

    @property
    def number(self) -> int:
        """The device's sequence."""
        found = re.search(rb"\r\nPhloem-Origin: \S+ (\d+)", self.header)
        assert found
        return int(found[1])


def value(header: bytes, name: bytes) -> str:
    found = re.search(rb"\r\n" + name + rb": ([^\r]*)", header)
    return found[1].decode() if found else ""


def moment(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat()


class HubModel:
    """One stream, FLEET_t. ``config`` as it is made by hand; None: the device makes it."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self.config = config
        self.created = "2026-01-01T00:00:00Z"
        self.mine: list[Kept] = []  # messages of the device d
        self.last_seq = 0
        self._ids: dict[str, tuple[int, int]] = {}
        self._batches: dict[str, list[Out]] = {}
        self.max_msg_size = 1 << 20

    # --- the API

    def ask(self, api: str, body: bytes, now_ns: int) -> bytes:
        request = json.loads(body) if body else {}
        if api.startswith("STREAM.CREATE."):
            self.config = {**request, "duplicate_window": 120 * SECOND_NS, "max_msg_size": -1}
        if self.config is None:
            return _error(404, 10059, "stream not found")
        if api.startswith(("STREAM.CREATE.", "STREAM.INFO.")):
            state = {"first_seq": 1, "last_seq": self.last_seq}
            answer = {"config": self.config, "state": state, "created": self.created, "ts": moment(now_ns)}
            return json.dumps(answer).encode()
        assert api == "STREAM.MSG.GET.FLEET_t"
        found = self._get(request)
        if found is None:
            return _error(404, 10037, "no message found")
        message = {
            "subject": found.subject,
            "seq": found.seq,
            "hdrs": base64.b64encode(found.header).decode(),
            "time": moment(found.at_ns),
        }
        return json.dumps({"message": message}).encode()

    def _get(self, request: dict[str, Any]) -> Kept | None:
        if pattern := request.get("last_by_subj"):
            return self._last(pattern)
        at = bisect_left(self.mine, request["seq"], key=lambda one: one.seq)
        return self.mine[at] if at < len(self.mine) else None

    def _last(self, pattern: str) -> Kept | None:
        assert pattern == MINE
        return self.mine[-1] if self.mine else None

    # --- publishing

    def publish(self, out: Out, now_ns: int) -> bytes | None:
        """The answer; None: there is none."""
        header = out[2]
        if self.config is None:
            return None
        if len(header) + len(out[3]) > self.max_msg_size:
            return _error(400, 10054, "message size exceeds maximum allowed")
        batch = value(header, b"Nats-Batch-Id")
        if not batch:
            return self._store([out], now_ns)
        if not self.config.get("allow_atomic"):
            return _error(400, 10174, "atomic publish is disabled")
        number = int(value(header, b"Nats-Batch-Sequence"))
        if number == 1:
            self._batches[batch] = []
        staged = self._batches.get(batch)
        if staged is None or len(staged) != number - 1:
            self._batches.pop(batch, None)
            return _error(400, 10176, "atomic publish batch is incomplete")
        staged.append(out)
        if not value(header, b"Nats-Batch-Commit"):
            return b""
        return self._store(self._batches.pop(batch), now_ns)

    def _store(self, outs: list[Out], now_ns: int) -> bytes:
        assert self.config is not None
        expected = value(outs[0][2], b"Nats-Expected-Last-Subject-Sequence")
        if expected:
            last = self._last(value(outs[0][2], b"Nats-Expected-Last-Subject-Sequence-Subject"))
            if int(expected) != (last.seq if last else 0):
                return _error(400, 10071, f"wrong last sequence: {last.seq if last else 0}")
        ident = value(outs[0][2], b"Nats-Msg-Id")
        since = now_ns - self.config["duplicate_window"]
        if ident:
            if (known := self._ids.get(ident)) and known[1] > since:
                return json.dumps({"stream": "FLEET_t", "seq": known[0], "duplicate": True}).encode()
            self._ids[ident] = self.last_seq + 1, now_ns
        for subject, _, header, payload in outs:
            self.last_seq += 1
            self.mine.append(Kept(self.last_seq, subject.decode(), header, payload, now_ns))
        return json.dumps({"stream": "FLEET_t", "seq": self.last_seq, "count": len(outs)}).encode()

    def lose_batches(self) -> None:
        """Another leader does not know them."""
        self._batches.clear()

    def others(self, count: int) -> None:
        """Messages of other devices."""
        self.last_seq += count


def _error(code: int, err_code: int, text: str) -> bytes:
    return json.dumps({"error": {"code": code, "err_code": err_code, "description": text}}).encode()


class StreamModel:
    """A stream of the device."""

    def __init__(self, store: int, ident: int) -> None:
        self.store = store
        self.epochs: tuple[Epoch, ...] = (Epoch(ident, 1),)
        self.confirmed = 0
        self.items: list[Item] = []
        self.last_seq = 0
        self.gone: list[int] = []

    @property
    def first_seq(self) -> int:
        return self.items[0][0] if self.items else self.last_seq + 1

    def add(self, payload: bytes, now_ns: int, header: bytes = b"") -> None:
        self.last_seq += 1
        self.items.append((self.last_seq, now_ns, b"a.b", header, payload))

    def open(self, ident: int) -> None:
        """The device has started again."""
        self.epochs = with_opening(self.epochs, Epoch(ident, self.last_seq + 1), confirmed=self.confirmed)

    def copy(self) -> "StreamModel":
        """A backup."""
        made = StreamModel(self.store, 0)
        made.epochs, made.confirmed = self.epochs, self.confirmed
        made.items, made.last_seq, made.gone = list(self.items), self.last_seq, list(self.gone)
        return made

    def confirm(self, seq: int, *, frees: bool) -> None:
        self.confirmed = max(self.confirmed, seq)
        if frees:
            self.items = [item for item in self.items if item[0] > seq]

    def shed(self, count: int) -> None:
        """The oldest go, sent or not."""
        self.gone += [item[0] for item in self.items[:count]]
        del self.items[:count]

    def take(self, start: int, end: int, count: int, size: int, live_ns: int) -> Taken:
        found = [item for item in self.items if start <= item[0] <= end]
        if not found:
            return Taken([], end + 1)
        taken: list[Item] = []
        for item in found[:count]:
            if size <= 0 or (item[1] < live_ns) != (found[0][1] < live_ns):
                break
            taken.append(item)
            size -= len(item[4]) + 130
        return Taken(taken, taken[-1][0] + 1 if len(taken) < len(found) else end + 1)

    def bytes_from(self, seq: int) -> int:
        return (self.last_seq + 1 - seq) * 100

    def lost(self, first: int, last: int) -> tuple[int, str]:
        return last - first + 1, "shed"
