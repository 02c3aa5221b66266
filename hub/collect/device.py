"""What the hub knows of one device: its receiver, whether it is there, how its streams move; and its document.

The figures that count are the receiver's records, which are written with the messages. What is here besides is worked
out anew after a start, or taken over from the document that the ledger has.
"""

import math
from collections.abc import Callable

from phloem.shared import limits
from phloem.shared.forward import ledger
from phloem.shared.forward.figures import LARGE, DeviceStatus, StreamStatus, printable
from phloem.shared.forward.identity import Record
from phloem.shared.forward.messages import Hello, down_subject
from phloem.shared.forward.receiver import Lane, Receiver
from phloem.shared.jetstream.identity import text_of
from phloem.shared.jetstream.times import parse_rfc3339, rfc3339
from phloem.shared.limits import SECOND_NS

RATE_NS = 5 * SECOND_NS  # what a rate forgets within
RATE_MIN = 0.05  # messages a second; less is none
MINUTE_NS = 60 * SECOND_NS
PROCESSES = 8  # of one device name, that are remembered

Newest = Callable[[str], tuple[int, int]]
"""Of a stream: when the newest message that is here was stored on the device (0: not known), and how well that is known
(-1: its clock was not set)."""


class Flow:
    """How one stream moves."""

    __slots__ = (
        *("backlog", "bytes", "cls", "counted", "growth", "moved_ns", "oldest_ns", "rate"),
        *("seen_seq", "stood", "told_ns", "waits"),
    )

    def __init__(self, counted: int, now_ns: int) -> None:
        self.counted = counted  # messages, when it was looked last
        self.rate = 0.0
        self.backlog = self.bytes = 0  # not acknowledged yet, as the device said last
        self.seen_seq = 0  # the newest on the device then
        self.told_ns = 0
        self.stood = 0  # everything up to here had come when it was looked last
        self.growth = 0.0  # messages a second that the device stores
        self.oldest_ns = 0
        self.moved_ns = now_ns
        self.cls = self.waits = ""

    def look(self, received: int, stood: int, took_ns: int, now_ns: int) -> int:
        """How many messages have come since the last look."""
        new = max(received - self.counted, 0)
        self.counted = received
        if new or stood != self.stood:
            self.moved_ns = now_ns
        self.stood = stood
        self.rate += (new * SECOND_NS / took_ns - self.rate) * (1 - math.exp(-took_ns / RATE_NS))
        if not new and self.rate < RATE_MIN:
            self.rate = 0.0
        return new

    def told(self, status: StreamStatus, stood: int, now_ns: int, wall_ns: int) -> None:
        """The device says how the stream stands there."""
        if self.told_ns and now_ns > self.told_ns and status.last_seq >= self.seen_seq > 0:
            self.growth = (status.last_seq - self.seen_seq) * SECOND_NS / (now_ns - self.told_ns)
        if not self.left(stood):
            self.moved_ns = now_ns
        self.backlog, self.bytes = status.backlog, status.bytes
        self.told_ns, self.seen_seq = now_ns, status.last_seq
        self.oldest_ns = max(wall_ns - status.age_s * SECOND_NS, 0) if status.backlog else 0
        self.cls, self.waits = status.cls, status.waits

    def left(self, stands: int) -> int:
        """What has still to come; a sequence that another stream's message has counts as well."""
        return min(max(self.seen_seq - stands, 0), limits.SEQUENCE_MAX)

    def eta_s(self, left: int) -> int:
        """Until it is gone; -1: not known, or never."""
        net = self.rate - self.growth
        return min(math.ceil(left / net), ledger.ETA_MAX_S) if left and net > RATE_MIN else -1


class Device:
    """One of them. ``kept``: what the ledger had. ``dirty``, ``urgent``: the ledger's document is not what it should
    be, in figures or in what matters."""

    __slots__ = (
        *("clone", "dirty", "events", "first_ns", "flows", "hello_ns", "history", "hub", "kept", "literal"),
        *("looked_ns", "minute", "name", "newest", "online", "processes", "receiver", "seen_ns", "since_ns"),
        *("status", "subject", "urgent", "written", "written_ns"),
    )

    def __init__(
        self,
        name: str,
        hub: str,
        receiver: Receiver,
        newest: Newest,
        kept: ledger.Document | None,
        wall_ns: int,
    ) -> None:
        self.name, self.hub, self.receiver, self.newest = name, hub, receiver, newest
        self.subject = down_subject(name)
        self.kept = kept or ledger.Document(name, ledger.OFFLINE)
        self.online = False
        self.literal = True  # whether its own interest is seen, or only somebody's
        self.since_ns = self.first_ns = self.seen_ns = wall_ns
        self.status = DeviceStatus(link=self.kept.link, health=self.kept.health)
        self.flows: dict[str, Flow] = {}
        self.clone = self.kept.clone
        self.events = list(self.kept.events)
        self.processes: list[int] = []
        self.minute, self.history = self.kept.minute, list(self.kept.history)
        self.dirty = self.urgent = False
        self.written, self.written_ns, self.hello_ns, self.looked_ns = 0, 0, 0, 0

    # --- what happens ------------------------------------------------------------------------------------

    def came(self, wall_ns: int) -> None:
        """It is there."""
        if not self.online:
            self.online, self.since_ns, self.urgent = True, wall_ns, True

    def went(self, wall_ns: int) -> None:
        """It is not there any more."""
        self.online, self.since_ns, self.urgent = False, wall_ns, True
        for flow in self.flows.values():
            flow.rate = 0.0

    def said_hello(self, hello: Hello, now_ns: int, wall_ns: int) -> bool:
        """A session begins; whether another device of the same name is at work as well: the opening of a store has a
        random number, and one that comes again after another is not a restart."""
        self.urgent, self.hello_ns = True, now_ns
        offered = {lane.offer.name for lane in self.receiver.lanes.values()}
        self.flows = {name: flow for name, flow in self.flows.items() if name in offered}
        for lane in self.receiver.lanes.values():
            if not lane.refused:
                flow = self.flow(lane, now_ns)
                stood = stands(lane)
                flow.told(StreamStatus(last_seq=lane.offer.last_seq, cls=flow.cls), stood, 0, 0)
                flow.moved_ns = now_ns
        opened = [offer.epochs[-1].ident for offer in hello.streams[:1] if offer.epochs]
        if not opened:
            return False
        twice = opened[0] in self.processes[:-1]
        if opened[0] in self.processes:
            self.processes.remove(opened[0])
        self.processes = [*self.processes, *opened][-PROCESSES:]
        if twice:
            if self.clone is None:
                self.clone = ledger.Clone(rfc3339(wall_ns), 0, "")
            self.clone.turns, self.clone.last = self.clone.turns + 1, rfc3339(wall_ns)
        return twice

    def told(self, status: DeviceStatus, now_ns: int, wall_ns: int) -> None:
        """STATUS."""
        self.status = DeviceStatus(
            status.streams, status.link or self.status.link, status.health or self.status.health
        )
        self.dirty = True
        for lane in self.receiver.lanes.values():
            said = status.streams.get(lane.offer.name)
            if said is not None:
                self.flow(lane, now_ns).told(said, stands(lane), now_ns, wall_ns)

    def note(self, stream: str, text: str, wall_ns: int) -> None:
        """Something that people have to know."""
        self.events.append((rfc3339(wall_ns), f"{stream}: {text}"[:200] if stream else text[:200]))
        del self.events[: -limits.LEDGER_EVENTS]
        self.urgent = True

    def flow(self, lane: Lane, now_ns: int) -> Flow:
        """Of one stream."""
        name = lane.offer.name
        if name not in self.flows:
            self.flows[name] = Flow(lane.record.received, now_ns)
        return self.flows[name]

    def look(self, now_ns: int, wall_ns: int) -> bool:
        """Rates and history, now and then; whether anything moves."""
        moves, took_ns = False, max(now_ns - self.looked_ns, 1)
        self.looked_ns = now_ns
        for lane in self.receiver.lanes.values():
            flow = self.flow(lane, now_ns)
            before = flow.rate
            new = flow.look(lane.record.received, stands(lane), took_ns, now_ns)
            if new:
                self._count(new, wall_ns)
            moves = moves or bool(new) or flow.rate != before
        self.dirty = self.dirty or moves
        return moves

    def _count(self, new: int, wall_ns: int) -> None:
        minute = wall_ns // MINUTE_NS
        passed = minute - self.minute
        if not 0 <= passed < ledger.HISTORY:
            self.history, passed = [], 1
        self.history += [0] * passed
        del self.history[: -ledger.HISTORY]
        if not self.history:
            self.history.append(0)
        self.minute = minute
        self.history[-1] += new

    def settle(self, now_ns: int, wall_ns: int) -> None:
        """What changes only because time has passed."""
        if self.clone is not None and wall_ns - _ns(self.clone.last) > limits.LEDGER_CLONE_NS:
            self.clone = None
            self.note("", "no second device of this name has come for an hour", wall_ns)
        if self.online and (self.kept.trouble or self.left()):
            was = any(STUCK in text for text in self.kept.trouble)
            self.dirty = self.dirty or bool(self._stuck(now_ns)) != was

    def _stuck(self, now_ns: int) -> list[str]:
        found = []
        for lane in self.receiver.lanes.values():
            flow = self.flows.get(lane.offer.name)
            if flow is None or lane.refused or lane.paused or flow.waits or not flow.left(stands(lane)):
                continue
            if now_ns - flow.moved_ns >= limits.LEDGER_STUCK_NS:
                found.append(f"{lane.offer.name}: {STUCK}")
        return found

    def left(self) -> int:
        """The backlog of all streams."""
        lanes = self.receiver.lanes.values()
        waiting = (self.flows[n].left(stands(lane)) for lane in lanes if (n := lane.offer.name) in self.flows)
        return min(sum(waiting), LARGE)

    # --- the document --------------------------------------------------------------------------------------

    def document(self, now_ns: int, wall_ns: int) -> ledger.Document:
        """As things are. It is remembered, so that what a stream was is known when the device no longer has it."""
        offered = {_named(lane) for lane in self.receiver.lanes.values()}
        former = [name for name in self.kept.streams if name not in offered]
        streams = {name: self.kept.streams[name] for name in former[-limits.FORWARD_STREAMS :]}
        for lane in self.receiver.lanes.values():
            streams[_named(lane)] = self._stream(lane, now_ns)
        entries = list(streams.values())
        etas = [one.eta_s for one in entries if one.backlog]
        kept = self.kept = ledger.Document(
            device=self.name,
            state=ledger.ONLINE if self.online else ledger.OFFLINE,
            since=rfc3339(self.since_ns),
            hub=self.hub,
            first_seen=self.kept.first_seen or rfc3339(self.first_ns),
            seen=rfc3339(self.seen_ns),
            updated=rfc3339(wall_ns),
            trouble=self._trouble(streams, now_ns, wall_ns),
            clone=self.clone,
            streams=streams,
            totals=ledger.Totals(
                received=sum(one.received + sum(old.received for old in one.former) for one in entries),
                duplicates=sum(one.duplicates for one in entries),
                missing=sum(one.missing for one in entries),
                backlog=min(sum(one.backlog for one in entries), LARGE),
                backlog_bytes=min(sum(one.backlog_bytes for one in entries), LARGE),
                rate=round(sum(one.rate for one in entries), 2),
                eta_s=-1 if -1 in etas else max(etas, default=-1),
            ),
            link=self.status.link,
            health=self.status.health,
            events=list(self.events),
            minute=self.minute,
            history=self.history,
        )
        return kept

    def _stream(self, lane: Lane, now_ns: int) -> ledger.StreamEntry:
        record, offer = lane.record, lane.offer
        flow = self.flow(lane, now_ns)
        stood = stands(lane)
        left = flow.left(stood)
        when_ns, error_ns = self.newest(offer.name)
        state, why = self._state(lane, flow, left)
        before = self.kept.streams.get(_named(lane))
        return ledger.StreamEntry(
            stream=printable(offer.to[: limits.FLEET_TEXT]) or f"FLEET_{_named(lane)}",
            cls=flow.cls or (before.cls if before else ""),
            state=state,
            why=why,
            store=text_of(record.store.to_bytes(8), 11),
            epoch=text_of(record.epochs[-1].ident.to_bytes(8), 11) if record.epochs else "",
            contiguous=stood,
            received=record.received,
            duplicates=record.duplicates,
            missing=record.missing,
            gaps=_gaps(record),
            former=[
                ledger.FormerEntry(text_of(ident.to_bytes(8), 11), count) for ident, count in record.former
            ],
            backlog=left,
            backlog_bytes=min(flow.bytes * left // flow.backlog, limits.SEQUENCE_MAX) if flow.backlog else 0,
            oldest=rfc3339(flow.oldest_ns) if left and flow.oldest_ns else "",
            newest=rfc3339(when_ns) if when_ns else before.newest if before else "",
            newest_error_ns=error_ns if when_ns else before.newest_error_ns if before else -1,
            rate=round(flow.rate, 2),
            eta_s=flow.eta_s(left) if self.online and state == ledger.FLOWING else -1,
        )

    def _state(self, lane: Lane, flow: Flow, left: int) -> tuple[str, str]:
        if lane.refused:
            return ledger.REFUSED, lane.refused
        if lane.paused:
            return ledger.PAUSED, printable(lane.paused.why)
        if flow.waits and left:
            return ledger.WAITING, flow.waits
        return ledger.FLOWING, ""

    def _trouble(self, streams: dict[str, ledger.StreamEntry], now_ns: int, wall_ns: int) -> list[str]:
        found = []
        if self.clone is not None:
            found.append("two devices take turns under this name: one is a copy of the other")
        for name, one in streams.items():
            if one.state in (ledger.REFUSED, ledger.PAUSED):
                found.append(f"{name}: {one.state}, {one.why}")
        if self.status.health.get("disk_full"):
            found.append("its disk is full")
        if self.online:
            found += self._stuck(now_ns)
        for name, one in streams.items():
            recent = [gap for gap in one.gaps if wall_ns - _ns(gap.at) < limits.LEDGER_RECENT_NS]
            if recent:
                counts = [gap.count for gap in recent]
                number = f"{sum(counts):,}" if -1 not in counts else "some"
                reasons = ", ".join(dict.fromkeys(gap.reason for gap in recent))
                found.append(f"{name}: {number} messages will not come: {reasons}")
        return found


STUCK = "nothing comes, although there is something to send"


def stands(lane: Lane) -> int:
    """The sequence up to which everything has come; for a stream that is refused, as far as it is known."""
    if lane.expected:
        return lane.expected - 1
    return lane.record.epochs[-1].upto if lane.record.epochs else 0


def _named(lane: Lane) -> str:
    """The entry's name; one that is refused may be anything."""
    return printable(lane.offer.name[: limits.FLEET_TEXT])


def _gaps(record: Record) -> list[ledger.GapEntry]:
    latest = record.gaps[-limits.LEDGER_GAPS :]
    return [
        ledger.GapEntry(first, last, count, printable(why), rfc3339(at))
        for first, last, count, why, at in latest
    ]


def _ns(text: str) -> int:
    try:
        return parse_rfc3339(text) if text else 0
    except ValueError:
        return 0


__all__ = ["Device", "Flow", "stands"]
