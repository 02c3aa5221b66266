"""The device's side of store-and-forward to a hub that only knows JetStream. Pure; driven by ``edge/forward``.

Each message is published to the hub's stream, in groups: the next group of a stream goes when the hub has acknowledged
all of the one before, so it is always known that everything before a group is there.

* **Atomic** (nats-server 2.12, ``allow_atomic``): a group is a batch that the hub takes as a whole or not, and only if
  the last message that it has of the device is the one that this side knows (``Nats-Expected-Last-Subject-Sequence``
  over ``fleet.<entry>.<device>.>``). What is still under way from a connection that is dead may come as late as it
  likes: either it comes first, and then this side's batch is refused and it asks again, or it is refused itself.
* **Ids** (older hubs, other streams): each message has a ``Nats-Msg-Id``, and what comes twice within the stream's
  duplicate window is taken once. That covers what was under way. What was stored in a window that has passed is asked
  for, message by message, as far as a group reaches back.
* **Blind** (no way to the hub's API): the same, from what was confirmed on; the window is all there is.
"""

import json
from collections.abc import Iterable, Mapping

from phloem.shared.forward.effects import Alarm, Bounce, Confirmed, Noticed
from phloem.shared.forward.entries import Allowance, Class, Entry, in_order
from phloem.shared.forward.grouping import Bounds, Made
from phloem.shared.forward.hub_standing import Standing, Verdict
from phloem.shared.forward.hub_stream import (
    BATCH_INCOMPLETE,
    BATCH_OFF,
    BATCH_TOO_LARGE,
    BATCHES_TOO_MANY,
    EXPECTED_ANOTHER_STREAM,
    NO_MESSAGE,
    STREAM_NAME_IN_USE,
    STREAM_NOT_FOUND,
    TOO_LARGE,
    WRONG_SEQUENCE,
    ApiError,
    At,
    Info,
    Note,
    NotUnderstood,
    PubAck,
    ack_of,
    info_of,
    message_of,
)
from phloem.shared.forward.lanes import (
    SIZE_MAX,
    Ask,
    Effect,
    Group,
    Lane,
    Post,
    Remember,
    Step,
    Stream,
)
from phloem.shared.forward.rounds import Rounds
from phloem.shared.forward.sender import ANSWER_NS
from phloem.shared.forward.watchdog import Step as Due
from phloem.shared.forward.watchdog import Watchdog
from phloem.shared.limits import SECOND_NS
from phloem.shared.wire.subjects import matches

SLACK = 2 << 10  # bytes that a group may have more than there is room for, without its last message
TOKEN_BYTES = 59  # of an answer: three numbers of up to 64 bits
IDS_MAX = 256  # messages of a group without a batch
AHEAD_MIN = 500  # messages that wait, so that making a group ahead is worth it
PATIENCE_NS = 2 * SECOND_NS  # for an answer, at first; asking again costs little and breaks nothing
RETRY_NS = SECOND_NS // 5  # after a conflict that time resolves
PAUSE_NS = 5 * SECOND_NS  # for a stream that cannot take anything now
REFUSED_NS = 30 * SECOND_NS  # until somebody changes something
SILENCES_MAX = 2
LONG_AGO = 1
BOUNCE_NS = 30 * SECOND_NS  # between two


class Publisher:
    """Publishes streams of the device ``device``."""

    def __init__(
        self,
        device: str,
        entries: Iterable[Entry],
        streams: Mapping[str, Stream],
        notes: Mapping[str, Note],
        *,
        allowance: Allowance,
    ) -> None:
        self._device = device
        self._allowance = allowance
        self._blind = False
        self._numbers = 0  # of lanes; none is given twice
        self._lanes = [
            self._lane(entry, streams[entry.name], notes.get(entry.name)) for entry in in_order(entries)
        ]
        self.rounds = Rounds()
        self._up = False
        self._session = 0
        self._live_ns = 0
        self._payload_max = 1 << 20
        self._heard_ns = 0
        self.is_partial = (
            False  # nothing is to be done about the last answer: with ids there is one for each message
        )
        self._bounced_ns = 0
        self._watchdog = Watchdog()
        self._wake_ns = 0
        self.sent_bytes = 0
        self.sent_groups = 0

    def _lane(self, entry: Entry, stream: Stream, note: Note | None) -> Lane:
        self._numbers += 1
        return Lane(self._numbers - 1, entry, stream, note, self._device)

    def use(
        self,
        entries: Iterable[Entry],
        streams: Mapping[str, Stream],
        notes: Mapping[str, Note],
        now_ns: int,
    ) -> None:
        """Publish these from now on (reload). What stays goes on as it was, but for another stream of the hub."""
        before = {lane.entry.name: lane for lane in self._lanes}
        lanes = []
        for entry in in_order(entries):
            lane = before.get(entry.name)
            if lane is None or lane.stream is not streams[entry.name]:
                lane = self._lane(entry, streams[entry.name], notes.get(entry.name))
                lane.resume_ns = now_ns
            elif lane.entry.to != entry.to:
                self._reset(lane)
                lane.resume_ns = now_ns
            lane.use(entry)
            lanes.append(lane)
        for lane in self._lanes:
            if lane not in lanes:
                self._reset(lane)
        self._lanes = lanes

    # --- what happens ----------------------------------------------------------------------------------

    def link_up(
        self, session: int, now_ns: int, wall_ns: int, payload_max: int = 1 << 20, *, blind: bool = False
    ) -> None:
        """There is a way to the hub, or another one. ``session`` is random; ``payload_max``: of the hub, in bytes;
        ``blind``: its API cannot be reached."""
        self.link_down()
        self._up, self._session, self._live_ns = True, session, wall_ns
        self._blind = blind
        self._payload_max = payload_max
        self._heard_ns = now_ns
        for lane in self._lanes:
            lane.resume_ns = now_ns

    def link_down(self) -> None:
        """There is none; what was under way is asked about later."""
        self._up = False
        for lane in self._lanes:
            self._reset(lane)
            lane.silences = lane.lates = lane.conflicts = 0

    def _reset(self, lane: Lane) -> None:
        if lane.group is not None:
            self.rounds.forgotten(lane.group.size)
        lane.step, lane.group, lane.standing, lane.ahead = Step.WAIT, None, None, None
        lane.deadline_ns = 0
        lane.serial += 1

    def received(self, token: bytes, header: bytes, payload: bytes, now_ns: int) -> list[Effect]:
        """An answer of the hub. ``is_partial`` says that it was one of many, of which others have yet to come."""
        self.is_partial = False
        words = token.split(b".")
        digits = token.replace(b".", b"0").isdigit() and b"" not in words and len(token) <= TOKEN_BYTES
        if not self._up or len(words) != 3 or not digits:
            return []
        number, serial, index = int(words[0]), int(words[1]), int(words[2])
        lane = self._numbered(number)
        if lane is None or lane.serial != serial:
            return []
        self._heard_ns = now_ns
        lane.silences = 0
        if header.startswith(b"NATS/1.0 503"):
            return self._put_off(lane, "nobody at the hub takes it", now_ns, PAUSE_NS)
        try:
            match lane.step:
                case Step.INFO | Step.CREATE:
                    return self._informed(lane, info_of(payload), now_ns)
                case Step.STAND:
                    return self._stands(lane, message_of(payload), now_ns)
                case Step.FLIGHT if payload:
                    return self._acknowledged(lane, index, ack_of(payload), now_ns)
        except NotUnderstood as problem:
            return self._put_off(lane, f"the hub's answer is not understood: {problem}", now_ns, PAUSE_NS)
        return []

    def _numbered(self, number: int) -> Lane | None:
        for lane in self._lanes:
            if lane.number == number:
                return lane
        return None

    # --- from nothing to an open lane --------------------------------------------------------------------

    def _ask(self, lane: Lane, step: Step, api: str, body: dict[str, object], now_ns: int) -> list[Effect]:
        lane.step, lane.deadline_ns = step, now_ns + _patience(lane.silences)
        lane.serial += 1
        token = b"%d.%d.0" % (lane.number, lane.serial)
        return [Ask(api, token, json.dumps(body).encode() if body else b"")]

    def _begin(self, lane: Lane, now_ns: int) -> list[Effect]:
        lane.have = frozenset()
        if self._blind:
            first = lane.stream.epochs[0].first_seq
            self._opens(lane, Verdict(max(lane.stream.confirmed + 1, first), 0))
            return []
        return self._ask(lane, Step.INFO, f"STREAM.INFO.{lane.entry.to}", {}, now_ns)

    def _informed(self, lane: Lane, info: Info, now_ns: int) -> list[Effect]:
        error, name = info.error, lane.entry.to
        if error is not None and lane.step is Step.INFO and error.err_code == STREAM_NOT_FOUND:
            return self._ask(lane, Step.CREATE, f"STREAM.CREATE.{name}", self._config(lane), now_ns)
        if error is not None and error.err_code == STREAM_NAME_IN_USE:
            return self._put_off(lane, "", now_ns, RETRY_NS)
        if error is not None:
            how = ""
            if lane.step is Step.CREATE:
                how = f"; the hub needs a stream {name} with the subjects {self._subjects(lane)} and allow_atomic"
            return self._put_off(lane, f"stream {name}: {error.description}{how}", now_ns, REFUSED_NS)
        effects: list[Effect] = []
        if lane.step is Step.CREATE:
            effects.append(Noticed(lane.entry.name, f"stream {name} was made at the hub"))
        lane.info = info
        if why := self._unusable(lane):
            return effects + self._put_off(lane, why, now_ns, REFUSED_NS)
        lane.standing = Standing(
            lane.stream,
            info,
            name,
            lane.note,
            f"{lane.prefix}>",
            reach=0 if lane.atomic else IDS_MAX,
            age_ns=now_ns - lane.first_ns if lane.first_ns else 0,
        )
        return effects + self._ask(lane, Step.STAND, *lane.standing.question(), now_ns)

    def _subjects(self, lane: Lane) -> str:
        return f"fleet.{lane.entry.name}.>"

    def _config(self, lane: Lane) -> dict[str, object]:
        return {
            "name": lane.entry.to,
            "subjects": [self._subjects(lane)],
            "retention": "limits",
            "storage": "file",
            "num_replicas": lane.entry.replicas,
            "allow_direct": True,
            "allow_atomic": True,
        }

    def _unusable(self, lane: Lane) -> str:
        config, name = lane.info.config, lane.entry.to
        subject = f"{lane.prefix}>"
        if config.mirror is not None or config.sealed or config.no_ack:
            return f"stream {name} takes no messages, or says nothing when it does"
        if not any(matches(pattern, subject) for pattern in config.subjects):
            return f"stream {name} has not the subjects {subject}"
        if config.subject_transform:
            return f"stream {name} gives messages other subjects, so what it has of a device cannot be asked"
        return ""

    def _stands(self, lane: Lane, answer: At | ApiError, now_ns: int) -> list[Effect]:
        assert lane.standing is not None
        if isinstance(answer, ApiError) and answer.err_code != NO_MESSAGE:
            return self._put_off(lane, f"stream {lane.entry.to}: {answer.description}", now_ns, PAUSE_NS)
        verdict = lane.standing.answered(None if isinstance(answer, ApiError) else answer)
        if verdict is None:
            return self._ask(lane, Step.STAND, *lane.standing.question(), now_ns)
        effects: list[Effect] = [Noticed(lane.entry.name, text) for text in verdict.noticed]
        self._opens(lane, verdict)
        if verdict.seq - 1 > lane.stream.confirmed:
            effects += self._confirmed(lane)
        return effects

    def _opens(self, lane: Lane, verdict: Verdict) -> None:
        lane.step, lane.deadline_ns, lane.standing = Step.OPEN, 0, None
        lane.serial += 1
        lane.said = ""
        lane.next_seq, lane.hub_seq, lane.have = max(verdict.seq, 1), verdict.hub_seq, verdict.have
        lane.acked_seq = lane.next_seq - 1
        if lane.have:
            lane.first_ns = LONG_AGO

    def _confirmed(self, lane: Lane) -> list[Effect]:
        note = Note(lane.entry.to, lane.info.created, lane.hub_seq, lane.stream.store, lane.acked_seq)
        lane.note = note
        return [
            Remember(lane.entry.name, note),
            Confirmed(lane.entry.name, min(lane.acked_seq, lane.stream.last_seq)),
        ]

    # --- acknowledgements --------------------------------------------------------------------------------

    def _acknowledged(self, lane: Lane, index: int, ack: PubAck, now_ns: int) -> list[Effect]:
        group = lane.group
        if group is None:
            return []
        if ack.error is not None:
            return self._failed(lane, group, ack.error, now_ns)
        if not self._blind and ack.stream != lane.entry.to:
            return self._put_off(lane, f"stream {ack.stream} takes its subjects", now_ns, REFUSED_NS)
        group.missing.discard(index)
        if index == group.ends:
            lane.hub_seq = ack.seq
        if group.missing:
            self.is_partial = True
            return []
        self.rounds.done(group.size, now_ns - group.sent_ns)
        lane.step, lane.group, lane.deadline_ns = Step.OPEN, None, 0
        lane.acked_seq, lane.conflicts, lane.lates = group.upto, 0, 0
        lane.count_max = min(lane.count_max * 2, lane.batch_max)
        lane.first_ns = LONG_AGO if lane.have and max(lane.have) > group.upto else 0
        over: list[Effect] = [Alarm("")] if self._watchdog.moved() else []
        return over + self._confirmed(lane)

    def _failed(self, lane: Lane, group: Group, error: ApiError, now_ns: int) -> list[Effect]:
        """What was sent may be there or not: it is asked about, at once or in a while."""
        code, text = error.err_code, f"the hub does not take it: {error.description}"
        if code in TOO_LARGE and group.largest > 1:
            lane.size_max = group.largest - 1
            return self._put_off(lane, "", now_ns, 0)
        if code == BATCH_TOO_LARGE and lane.count_max > 1:
            lane.count_max = lane.batch_max = lane.count_max // 2
            return self._put_off(lane, "", now_ns, 0)
        if code in {*WRONG_SEQUENCE, BATCH_OFF, BATCH_INCOMPLETE, BATCHES_TOO_MANY, EXPECTED_ANOTHER_STREAM}:
            lane.conflicts += 1
            if code == BATCH_INCOMPLETE and lane.conflicts > 2:  # perhaps one of it is refused by itself
                lane.count_max = max(lane.count_max // 2, 1)
            wait = min(RETRY_NS << min(lane.conflicts - 1, 10), PAUSE_NS) if lane.conflicts > 1 else 0
            if code == BATCHES_TOO_MANY:
                wait = max(wait, RETRY_NS)
            return self._put_off(lane, text if lane.conflicts > 3 else "", now_ns, wait)
        return self._put_off(lane, text, now_ns, PAUSE_NS)

    def _put_off(self, lane: Lane, why: str, now_ns: int, wait_ns: int) -> list[Effect]:
        """The lane begins again, with a look at the hub's stream."""
        self._reset(lane)
        lane.resume_ns = now_ns + wait_ns
        self._wake_at(lane.resume_ns)
        if not why or why == lane.said:
            return []
        lane.said = why
        return [Noticed(lane.entry.name, why)]

    # --- what is done ------------------------------------------------------------------------------------

    def work(self, now_ns: int, wall_ns: int, second_of_day: int | None) -> list[Effect]:
        """Whatever is due. To be called when something was stored, received, or ``due_ns`` has come."""
        self._wake_ns = 0
        effects: list[Effect] = []
        if not self._up:
            return effects
        for lane in self._lanes:
            if lane.step is Step.FLIGHT:
                self._prepare(lane, wall_ns)
            if lane.deadline_ns and now_ns >= lane.deadline_ns:
                effects += self._late(lane, now_ns)
            if lane.step is Step.WAIT:
                if now_ns >= lane.resume_ns:
                    effects += self._begin(lane, now_ns)
                else:
                    self._wake_at(lane.resume_ns)
            if lane.step is Step.OPEN:
                effects += self._send(lane, now_ns, wall_ns, second_of_day)
            if lane.deadline_ns:
                self._wake_at(lane.deadline_ns)
        return effects

    def _late(self, lane: Lane, now_ns: int) -> list[Effect]:
        lane.silences += 1
        why = "the hub does not answer"
        if lane.group is not None:
            why = "the hub acknowledges nothing"
            lane.lates += 1
            self.rounds.late()
        effects = self._put_off(lane, why, now_ns, 0)
        silent = now_ns - self._heard_ns >= ANSWER_NS and lane.silences >= SILENCES_MAX
        if silent and now_ns - self._bounced_ns >= BOUNCE_NS:
            self._bounced_ns = now_ns
            waits = any(one.stream.confirmed < one.stream.last_seq for one in self._lanes)
            effects += [Alarm(why)] if Due.ALARM in self._watchdog.silent(now_ns, waits=waits) else []
            effects.append(Bounce(why))
        return effects

    def _send(self, lane: Lane, now_ns: int, wall_ns: int, second_of_day: int | None) -> list[Effect]:
        stream = lane.stream
        if lane.next_seq > stream.last_seq:
            lane.since_ns = 0
            return []
        wait = lane.turn.wait_ns(now_ns, second_of_day)
        if wait <= 0:
            wait = self._allowance.wait_ns(lane.entry.cls, now_ns)
        if wait <= 0 and lane.entry.linger_ns:
            wait = self._lingers(lane, now_ns)
        if wait > 0:
            self._wake_at(now_ns + wait)
            return []
        room = self.rounds.room()
        if room <= 0 and lane.entry.cls != Class.ALARM:
            return []
        room = self._allowance.room(lane.entry.cls, max(room, 1))
        if lane.ahead is not None and lane.ahead.size > room + SLACK:
            lane.ahead = None  # made when more was allowed
        return self._group(lane, max(room, 1), now_ns, wall_ns)

    def _lingers(self, lane: Lane, now_ns: int) -> int:
        if not lane.since_ns:
            lane.since_ns = now_ns
        if lane.stream.bytes_from(lane.next_seq) >= self.rounds.size:
            return 0
        return lane.since_ns + lane.entry.linger_ns - now_ns

    def _group(self, lane: Lane, room: int, now_ns: int, wall_ns: int) -> list[Effect]:
        made = lane.ahead or self._made(lane, room, wall_ns)
        lane.ahead = None
        effects: list[Effect] = [Noticed(lane.entry.name, text) for text in made.noticed]
        lane.next_seq = max(made.upto + 1, lane.next_seq)
        if not made.parts:  # nothing of it is to be sent
            lane.acked_seq = lane.next_seq - 1
            self._wake_at(now_ns + 1)
            return [*effects, *self._confirmed(lane)]
        lane.serial += 1
        token = b"%d.%d" % (lane.number, lane.serial)
        if lane.atomic:
            ident = b"%x.%b" % (self._session, token)
            outs = lane.grouping.batch(made, lane.entry.to, lane.hub_seq, ident, token)
        else:
            outs = lane.grouping.with_ids(made, token)
        self._posted(lane, made, now_ns)
        return [*effects, Post(outs, lane.entry.cls, made.size)]

    def _made(self, lane: Lane, room: int, wall_ns: int) -> Made:
        most = lane.info.config.max_msg_size
        message = min(self._payload_max, most if most > 0 else SIZE_MAX, lane.size_max)
        bounds = Bounds(lane.count_max if lane.atomic else IDS_MAX, room, message)
        return lane.grouping.make(lane.next_seq, bounds, lane.have, self._live_ns, wall_ns)

    def _posted(self, lane: Lane, made: Made, now_ns: int) -> None:
        ends = len(made.parts)
        missing = {ends} if lane.atomic else set(range(1, ends + 1))
        lane.group = Group(made.upto, made.size, made.largest, now_ns, missing, ends)
        lane.step, lane.since_ns = Step.FLIGHT, 0
        lane.first_ns = lane.first_ns or now_ns
        lane.deadline_ns = now_ns + max(_patience(lane.lates), self.rounds.patience_ns(made.size))
        lane.turn.spent(made.size)
        self.rounds.sent(made.size)
        self.sent_bytes += made.size
        self.sent_groups += 1
        if lane.stream.last_seq - made.upto >= AHEAD_MIN:
            self._wake_at(now_ns + 1)

    def _prepare(self, lane: Lane, wall_ns: int) -> None:
        """The next group is made while the hub stores this one."""
        if lane.ahead is None and lane.stream.last_seq - lane.next_seq >= AHEAD_MIN:
            lane.ahead = self._made(lane, self.rounds.size, wall_ns)

    # --- what others may ask -----------------------------------------------------------------------------

    @property
    def due_ns(self) -> int:
        """When ``work`` is to be called at the latest; 0: not before something happens."""
        return self._wake_ns

    def _wake_at(self, ns: int) -> None:
        if not self._wake_ns or ns < self._wake_ns:
            self._wake_ns = ns

    def position(self, name: str) -> tuple[int, str]:
        """The next sequence to send (0: not known), and why it does not go on."""
        for lane in self._lanes:
            if lane.entry.name == name:
                return lane.next_seq, lane.said
        return 0, ""

    @property
    def is_open(self) -> bool:
        """Whether all streams know where they stand."""
        return self._up and all(lane.step in (Step.OPEN, Step.FLIGHT) for lane in self._lanes)


def _patience(times: int) -> int:
    """How long to wait after so many times in vain."""
    return PATIENCE_NS << min(times, 5)
