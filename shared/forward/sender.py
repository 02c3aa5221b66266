"""The device's side of store-and-forward: what is sent next, what answers mean. Pure; ``edge/forward`` drives it.

Rules that hold here:

* Nothing is confirmed before the hub has said so in this session, and a session is over when the link is. What was on
  its way then is asked about with the next HELLO, and the hub's answer alone decides from where a stream goes on.
* Parcels and gaps of a session are numbered, so that the hub notices what is missing.
* A stream is in order: its next parcel begins where the last one ended. Among streams the class decides; the window
  (``pace.py``) keeps what is in front of an alarm small, and an alarm may go beyond it.
* Nothing relies on an event to go on: while there is something to do, ``due_ns`` says when to look again. Data without
  progress ends in a new session, in a new connection (``Bounce``), and in an ``Alarm`` (``watchdog.py``).
"""

from collections import deque
from collections.abc import Iterable, Mapping

from phloem.shared.forward.effects import Alarm, Bounce, Confirmed, Effect, HubTime, Noticed, Send
from phloem.shared.forward.entries import Allowance, Class, Entry, in_order
from phloem.shared.forward.identity import epoch_of
from phloem.shared.forward.lane import Flight, Lane
from phloem.shared.forward.messages import (
    HISTORICAL,
    SOON,
    VERSION,
    WITH_DICTIONARY,
    Ack,
    Again,
    Clocks,
    Dictionary,
    Epoch,
    Gap,
    Hello,
    Parcel,
    Pause,
    Place,
    Status,
    Welcome,
    encode,
    encode_parcel,
)
from phloem.shared.forward.pace import Pace, Ticket
from phloem.shared.forward.press import Press, columns_for
from phloem.shared.forward.source import Squeeze, Stream
from phloem.shared.forward.watchdog import Step, Watchdog
from phloem.shared.limits import SECOND_NS

ANSWER_NS = 10 * SECOND_NS  # HELLO and parcels are answered within this, or something is wrong
PATIENCE_MAX = 16  # times as long, on a link so slow that nothing comes within it: doubled with each silence
REFUSED_NS = 300 * SECOND_NS  # a hub that refuses a stream is asked again: somebody may have mended it
WAIT_NS = 60 * SECOND_NS  # the longest sleep before hours and allowances are looked at again: clocks are set
# From the third on a random pause follows, of up to so many powers of two less two, in seconds.
AGAINS_MAX = 7
AGAIN_NS = SECOND_NS  # between two sessions that the hub ends at once
PARCEL_MAX = 128 << 10  # bytes as sent
PARCEL_MIN = 2 << 10
PARCELS_IN_WINDOW = 4
URGENT_MAX = 64 << 10  # what alarms may have in flight beyond the window
PAUSE_S_MAX = 300


class Sender:
    """Forwards the streams of one device over one link."""

    def __init__(
        self,
        device: str,
        entries: Iterable[Entry],
        streams: Mapping[str, Stream],
        *,
        boot: int,
        squeeze: Squeeze,
        allowance: Allowance,
    ) -> None:
        """``streams`` by the entry's name."""
        self.device = device
        self.boot = boot
        self.pace = Pace()
        self._press = Press(squeeze)
        self._allowance = allowance
        self._lanes = [Lane(entry, streams[entry.name]) for entry in in_order(entries)]
        self._flights: deque[Flight] = deque()
        self._session = 0
        self._open = False  # WELCOME has come
        self._version = 1  # that both ends know
        self._up = False
        self._asked_ns = 0  # when HELLO was sent; 0: there is none to wait for
        self._asked_wall_ns = 0
        self._helloed_ns = 0
        self._hello_due_ns = 0  # 0: none is put off
        self._moved_ns = 0  # the last progress
        self._watchdog = Watchdog()
        self._patience = 1  # outlives connections: a link does not become faster by being dialled again
        self._agains = 0  # in a row
        self._took_ns = 0  # from HELLO to WELCOME
        self._order = 0
        self._live_ns = 0  # wall time: what was stored before is history
        self._urgent = 0
        self._wake_ns = 0
        self.sent_bytes = 0
        self.sent_parcels = 0
        self.acked_ns = 0

    # --- what happens ----------------------------------------------------------------------------------

    def link_up(self, session: int, now_ns: int, wall_ns: int) -> list[Effect]:
        """There is a way to the hub. ``session`` is random."""
        self._up = True
        self._watchdog.connected()
        return self._hello(session, now_ns, wall_ns)

    def link_down(self, now_ns: int) -> list[Effect]:
        """There is none; whatever was on its way is asked about later."""
        waits = self._waits and (not self._open or bool(self._flights))  # not only for its hour
        effects = self._steps(self._watchdog.disconnected(now_ns, waits=waits), "connections end too soon")
        self._up = self._open = False
        self._asked_ns = self._wake_ns = self._hello_due_ns = 0
        self._forget_flights()
        self.pace.forgotten()
        return effects

    def use(
        self, entries: Iterable[Entry], streams: Mapping[str, Stream], session: int, now_ns: int, wall_ns: int
    ) -> list[Effect]:
        """Forward these from now on (reload). What stays goes on as it was. Only of an entry that is new, or goes into
        another stream of the hub, the hub has to hear, and that begins a session."""
        before = {lane.entry.name: lane for lane in self._lanes}
        lanes, tell = [], False
        for entry in in_order(entries):
            lane = before.get(entry.name)
            if lane is None or lane.stream is not streams[entry.name]:
                lane, tell = Lane(entry, streams[entry.name]), True
            tell = tell or lane.entry.to != entry.to
            lane.use(entry)
            lanes.append(lane)
        self._lanes = lanes
        return self._hello(session, now_ns, wall_ns) if tell and self._up else []

    def _numbered(self, number: int) -> Lane | None:
        return next((lane for lane in self._lanes if lane.number == number), None)

    def _forget_flights(self) -> None:
        for flight in self._flights:
            flight.lane.since_ns = 1  # it has waited for company once
        self._flights.clear()
        self._urgent = 0
        self.pace.in_flight = 0
        for lane in self._lanes:
            lane.next_seq = 0

    def _hello(self, session: int, now_ns: int, wall_ns: int) -> list[Effect]:
        self._forget_flights()
        self._open, self._session, self._order = False, session, 0
        self._asked_ns, self._asked_wall_ns = now_ns, wall_ns
        self._helloed_ns, self._hello_due_ns = now_ns, 0
        offers = []
        for number, lane in enumerate(self._lanes):
            offers.append(lane.offered(number, self._press.squeeze.ident(lane.entry.name)))
        hello = Hello(VERSION, self.device, session, self.boot, wall_ns, tuple(offers))
        return [Send(encode(hello), None)]

    def received(
        self, message: Welcome | Ack | Again | Pause, now_ns: int, wall_ns: int, session: int
    ) -> list[Effect]:
        """Something from the hub. ``session``: a random number, if another one has to begin."""
        if not self._up or message.session != self._session:
            return []
        match message:
            case Welcome():
                return self._welcome(message, now_ns, wall_ns)
            case Ack():
                return self._acknowledged(message, now_ns)
            case Again(why=why):
                step = self._watchdog.sent_away(now_ns, waits=self._waits)
                return [Noticed("", why), *self._steps(step, why), *self._again(session, now_ns, wall_ns)]
            case Pause():
                return self._paused(message, now_ns)

    def _again(self, session: int, now_ns: int, wall_ns: int) -> list[Effect]:
        """At once the first time; two devices of one name would send each other away without end. What the hub did not
        take does not count against a stream's rate: the two would wait in step, and never meet a hub that listens.
        """
        for flight in self._flights:
            flight.lane.turn.spent(-flight.ticket.size)
        self._agains = min(self._agains + 1, AGAINS_MAX)
        chance = (session >> 1) % (
            1 << max(self._agains - 2, 0)
        )  # seconds: somebody else has to have the hub for once
        due_ns = max(self._helloed_ns + AGAIN_NS, now_ns + chance * AGAIN_NS)
        if due_ns <= now_ns:
            return self._hello(session, now_ns, wall_ns)
        self._forget_flights()
        self._open, self._session, self._asked_ns = False, 0, 0
        self._hello_due_ns = due_ns
        return []

    def _welcome(self, welcome: Welcome, now_ns: int, wall_ns: int) -> list[Effect]:
        if self._open:
            return []
        self._open, self._version = True, min(welcome.version, VERSION)
        self._took_ns = took = now_ns - self._asked_ns
        self._asked_ns, self._moved_ns = 0, now_ns
        self.pace.began(took, now_ns)
        self._live_ns = self._asked_wall_ns
        effects: list[Effect] = [HubTime(welcome.wall_ns, now_ns - took // 2, took // 2)]
        for place in welcome.places:
            if (lane := self._numbered(place.number)) is not None:
                effects += self._placed(lane, place)
        confirms = any(isinstance(effect, Confirmed) for effect in effects)
        waits = any(lane.waiting for lane in self._lanes)
        return [*effects, *self._moves()] if confirms or not waits else effects

    def _placed(self, lane: Lane, place: Place) -> list[Effect]:
        effects: list[Effect] = [Noticed(lane.entry.name, text) for text in place.noticed]
        if place.refused:
            if place.refused != lane.refused:
                effects.append(Noticed(lane.entry.name, f"the hub refuses it: {place.refused}"))
            lane.refused = place.refused
            return effects
        lane.refused, lane.resume_ns, lane.history, lane.nothing_to = "", 0, b"", 0
        lane.next_seq = max(place.resume, 1)
        lane.acked_seq = lane.next_seq - 1
        if not place.has_dictionary:
            lane.dictionary = 0
        if place.resume - 1 > lane.stream.confirmed:  # an acknowledgement was lost on its way
            effects.append(Confirmed(lane.entry.name, min(place.resume - 1, lane.stream.last_seq)))
        return effects

    def _acknowledged(self, ack: Ack, now_ns: int) -> list[Effect]:
        effects: list[Effect] = []
        for pause in ack.paused:  # first: what was dropped is not acknowledged
            effects += self._paused(pause, now_ns)
        upto: dict[str, int] = {}
        while self._flights and self._flights[0].order <= ack.order:
            flight = self._flights.popleft()
            if flight.counted:
                self.pace.acknowledged(flight.ticket, flight.sent_ns, now_ns, timed=flight.timed)
            else:
                self._urgent -= flight.ticket.size
            flight.lane.acked_seq = upto[flight.lane.entry.name] = flight.upto
            self._moved_ns = self.acked_ns = now_ns
            self._patience, self._agains = 1, 0
        effects += self._moves() if upto else ()
        return [*effects, *(Confirmed(name, seq) for name, seq in upto.items())]

    def _paused(self, pause: Pause, now_ns: int) -> list[Effect]:
        """The hub has dropped this stream's part from ``order`` on; the rest goes on. It may say so more than once."""
        lane = self._numbered(pause.number)
        if lane is None:
            return []
        mine = [flight for flight in self._flights if flight.lane is lane]
        dropped = [flight for flight in mine if flight.order >= pause.order]
        if not dropped:
            return []
        lane.next_seq = max([f.upto for f in mine if f.order < pause.order], default=lane.acked_seq) + 1
        for flight in dropped:
            self._flights.remove(flight)
            if flight.counted:
                self.pace.in_flight = max(self.pace.in_flight - flight.ticket.size, 0)
            else:
                self._urgent -= flight.ticket.size
        lane.history, lane.nothing_to = b"", 0
        lane.resume_ns = now_ns + min(max(pause.retry_s, 1), PAUSE_S_MAX) * SECOND_NS
        self._moved_ns = now_ns
        return [Noticed(lane.entry.name, f"the hub cannot take it: {pause.why}"), *self._moves()]

    # --- what is done ----------------------------------------------------------------------------------

    def work(self, now_ns: int, wall_ns: int, second_of_day: int | None, session: int) -> list[Effect]:
        """Whatever is due. To be called when something was stored, received, or ``due_ns`` has come."""
        self._wake_ns = 0
        if not self._up:
            return []
        if 0 < self._hello_due_ns <= now_ns:
            return self._hello(session, now_ns, wall_ns)
        if silent := self._silent(now_ns):
            return self._start_over(silent, session, now_ns, wall_ns)
        if not self._open:
            return []
        if self._refused_for_long(now_ns):
            return self._hello(session, now_ns, wall_ns)
        effects: list[Effect] = []
        while (lane := self._next_lane(now_ns, second_of_day)) is not None:
            effects += self._next_of(lane, now_ns)
        return effects

    def _refused_for_long(self, now_ns: int) -> bool:
        """A refusal ends with a session only, so one is begun when nothing is on its way that it would disturb."""
        if not any(lane.refused for lane in self._lanes):
            return False
        wait = self._helloed_ns + REFUSED_NS - now_ns
        if wait > 0:
            self._wake_at(now_ns + wait)
        return wait <= 0 and not self._flights

    @property
    def _answer_ns(self) -> int:
        """How long an answer may take."""
        return max(ANSWER_NS * self._patience, 4 * max(self.pace.delay_ns, self._took_ns))

    @property
    def _silent_at_ns(self) -> int:
        """When silence is too long; 0: no answer is waited for."""
        if self._asked_ns:
            return self._asked_ns + ANSWER_NS * self._patience
        if self._open and self._flights:
            return max(self._moved_ns, self._flights[0].sent_ns) + self._answer_ns
        return 0

    def _silent(self, now_ns: int) -> str:
        if 0 < self._silent_at_ns <= now_ns:
            return "the hub does not answer" if self._asked_ns else "the hub acknowledges nothing"
        return ""

    def _start_over(self, why: str, session: int, now_ns: int, wall_ns: int) -> list[Effect]:
        self._patience = min(self._patience * 2, PATIENCE_MAX)
        self.pace.shrunk()
        step = self._watchdog.silent(now_ns, waits=self._waits)
        return [*self._steps(step, why), *self._hello(session, now_ns, wall_ns)]

    def _steps(self, step: Step, why: str) -> list[Effect]:
        """The session that each of them needs is begun by others."""
        effects: list[Effect] = [Bounce(why)] if Step.CONNECTION in step else []
        return [Alarm(why), *effects] if Step.ALARM in step else effects

    def _moves(self) -> list[Effect]:
        return [Alarm("")] if self._watchdog.moved() else []

    @property
    def _waits(self) -> bool:
        """Whether there is something that the hub has not confirmed."""
        return any(lane.stream.confirmed < lane.stream.last_seq for lane in self._lanes)

    def _next_lane(self, now_ns: int, second_of_day: int | None) -> Lane | None:
        """The first by class that has something and may; what has to wait says until when."""
        for lane in self._lanes:
            if not lane.waiting:
                lane.since_ns = 0
                continue
            wait = lane.resume_ns - now_ns
            if wait <= 0:
                wait = lane.turn.wait_ns(now_ns, second_of_day)
            if wait <= 0:
                wait = self._allowance.wait_ns(lane.entry.cls, now_ns)
            if wait <= 0 and lane.entry.linger_ns:
                wait = self._lingers(lane, now_ns)
            if wait > 0:
                self._wake_at(now_ns + min(wait, WAIT_NS))
            elif self._has_room(lane):
                return lane
        return None

    def _lingers(self, lane: Lane, now_ns: int) -> int:
        if not lane.since_ns:
            lane.since_ns = now_ns
        if lane.stream.bytes_from(lane.next_seq) >= self._columns_wanted(lane):
            return 0
        return lane.since_ns + lane.entry.linger_ns - now_ns

    def _has_room(self, lane: Lane) -> bool:
        if self.pace.room() >= min(PARCEL_MIN, self.pace.window) or not self.pace.in_flight:
            return True
        return lane.entry.cls == Class.ALARM and self._urgent < URGENT_MAX

    def _columns_wanted(self, lane: Lane) -> int:
        sent = min(max(self.pace.window // PARCELS_IN_WINDOW, PARCEL_MIN), PARCEL_MAX)
        return columns_for(lane, max(self._allowance.room(lane.entry.cls, sent), PARCEL_MIN))

    def _next_of(self, lane: Lane, now_ns: int) -> list[Effect]:
        """What is gone before it could be sent is told before what comes behind it. Nothing: there is nothing left that
        is to be sent, whatever sequences there are."""
        first, last = lane.stream.first_seq, lane.stream.last_seq
        if lane.next_seq < first:
            return self._gap(lane, first - 1, now_ns)
        hole = lane.stream.hole(lane.next_seq)
        if hole is None or hole[0] > lane.next_seq:
            if sent := self._parcel_of(lane, hole[0] - 1 if hole else last, now_ns):
                return sent
            hole = lane.stream.hole(lane.next_seq)  # damage may have been met just now
        if hole is not None and hole[0] <= last:
            return self._gap(lane, min(hole[1], last), now_ns)
        lane.nothing_to = last
        return []

    def _gap(self, lane: Lane, last: int, now_ns: int) -> list[Effect]:
        count, reason = lane.stream.lost(lane.next_seq, last)
        self._order += 1
        gap = Gap(self._session, self._order, lane.number, lane.next_seq, last, count, reason)
        lane.next_seq = last + 1
        return [self._leaves(lane, encode(gap), last, now_ns, timed=False)]

    def _parcel_of(self, lane: Lane, upto: int, now_ns: int) -> list[Effect]:
        """An epoch without messages is passed over with the next one's parcel."""
        # the clock may have been set since the session began: its eras are in the stream's list, and end a parcel
        stream, epochs, packed = lane.stream, tuple(lane.stream.epochs), None
        i, upto = epoch_of(epochs, lane.next_seq) - 1, min(upto, stream.last_seq)
        while packed is None:
            i += 1
            if i >= len(epochs) or (i and epochs[i].first_seq > upto):
                return []
            end = min(upto, epochs[i + 1].first_seq - 1) if i + 1 < len(epochs) else upto
            if end >= lane.next_seq:
                packed = stream.pack(
                    lane.next_seq, end, self._columns_wanted(lane), self._live_ns, self._version
                )
            if hole := stream.hole(lane.next_seq):  # met in packing
                upto = min(upto, hole[0] - 1)
        flags = self._press.help_for(lane, packed.columns)
        effects: list[Effect] = self._dictionary(lane) if flags == WITH_DICTIONARY else []
        flags, columns = self._press.pressed(lane, packed.columns, packed.size, flags)
        if packed.newest_ts < self._live_ns:
            flags |= HISTORICAL
        more = packed.next_seq <= stream.last_seq
        if more or self.pace.in_flight * 4 > self.pace.window or lane.entry.cls == Class.ALARM:
            flags |= SOON
        self._order += 1
        epoch = epoch_of(lane.epochs, max(lane.next_seq, epochs[i].first_seq))
        parcel = Parcel(
            flags, self._session, self._order, lane.number, epoch, lane.next_seq, packed.next_seq, columns
        )
        lane.next_seq, lane.since_ns = packed.next_seq, 0
        self.sent_parcels += 1
        timed = bool(flags & SOON)
        effects.append(self._leaves(lane, encode_parcel(parcel), packed.next_seq - 1, now_ns, timed=timed))
        return effects

    def _dictionary(self, lane: Lane) -> list[Effect]:
        ident = self._press.squeeze.ident(lane.entry.name)
        if ident == lane.dictionary:
            return []
        lane.dictionary = ident
        self._order += 1
        data = self._press.squeeze.dictionary(lane.entry.name)
        message = Dictionary(self._session, self._order, lane.number, ident, data)
        return [Send(encode(message), lane.entry.cls)]

    def _leaves(self, lane: Lane, data: bytes, upto: int, now_ns: int, *, timed: bool) -> Send:
        counted = self.pace.room() > 0 or lane.entry.cls != Class.ALARM
        if counted:
            ticket = self.pace.sent(len(data))
        else:
            ticket = Ticket(0, len(data), 0)
            self._urgent += len(data)
        self._flights.append(Flight(self._order, lane, upto, ticket, now_ns, timed, counted))
        lane.turn.spent(len(data))
        self.sent_bytes += len(data)
        return Send(data, lane.entry.cls)

    # --- what others may say and ask -------------------------------------------------------------------

    def tell(self, figures: dict[str, object]) -> list[Effect]:
        """Figures for the hub's ledger."""
        return [Send(encode(Status(self._session, figures)), None)] if self._open else []

    def clocks(self, name: str, epochs: tuple[Epoch, ...]) -> list[Effect]:
        """More is known about the clock of a stream's epochs."""
        for lane in self._lanes:
            if lane.entry.name == name and self._open:
                return [Send(encode(Clocks(self._session, lane.number, epochs)), lane.entry.cls)]
        return []

    def stepped(self, moved_ns: int) -> None:
        """The clock that stamps messages was set."""
        self._live_ns += moved_ns

    @property
    def due_ns(self) -> int:
        """When ``work`` is to be called at the latest; 0: not before something happens."""
        return min(filter(None, (self._wake_ns, self._hello_due_ns, self._silent_at_ns)), default=0)

    def _wake_at(self, ns: int) -> None:
        if not self._wake_ns or ns < self._wake_ns:
            self._wake_ns = ns

    def position(self, name: str) -> tuple[int, str]:
        """The next sequence to send (0: not known), and why it is refused."""
        for lane in self._lanes:
            if lane.entry.name == name:
                return lane.next_seq, lane.refused
        return 0, ""

    @property
    def session(self) -> int:
        """The number of the session; 0: there is none."""
        return self._session

    @property
    def on_its_way(self) -> int:
        """Parcels and gaps that the hub has not acknowledged."""
        return len(self._flights)

    @property
    def is_idle(self) -> bool:
        """Whether the hub has said where all streams stand, and has everything."""
        waits = any(lane.waiting or lane.refused or not lane.next_seq for lane in self._lanes)
        return self._open and not self._flights and not waits

    @property
    def is_open(self) -> bool:
        """Whether a session is."""
        return self._open
