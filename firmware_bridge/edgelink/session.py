"""One port's end of a link at the host: who is there, what came, what is durable. Pure; bytes and times are handed in.

Towards durability: ``Taken`` and ``Gap`` are handed up in order; ``durable`` comes back when all before a number is on
the disk, and only then is a board told that it may forget. Where a ring begins is asked with ``Locate``. So a session
can be thrown away at any moment, and the next one goes on where the stream ends.

A board is welcomed when its schema is here, its position was found, all that was handed up of its former start is
durable, and its clock was asked once (or did not answer).
"""

from collections.abc import MutableMapping
from dataclasses import dataclass

from phloem.firmware_bridge.edgelink import limits, messages
from phloem.firmware_bridge.edgelink.clock import BoardClock, Exchanges
from phloem.firmware_bridge.edgelink.commands import Commands
from phloem.firmware_bridge.edgelink.effects import (
    Effect,
    Gap,
    Joined,
    Left,
    Locate,
    Noticed,
    Outcome,
    Said,
    Send,
    Taken,
)
from phloem.firmware_bridge.edgelink.frame import FrameReader, Text, wrap
from phloem.firmware_bridge.edgelink.images import Upload
from phloem.firmware_bridge.edgelink.messages import Caps, Data, Hello, Malformed, Message
from phloem.firmware_bridge.edgelink.repeating import Repeating
from phloem.firmware_bridge.edgelink.schema import Dictionary, Gathering
from phloem.firmware_bridge.edgelink.sequence import ahead, tag_of
from phloem.firmware_bridge.edgelink.window import InOrder, Missing, Window

# A board that talks without a welcome is not asked for each frame.
_ASK_LEAST_NS = 100 * limits.MILLISECOND_NS


@dataclass
class Counters:
    """What happened since the port was opened. Frames that were neither are the reader's ``noises``."""

    frames: int = 0
    malformed: int = 0
    repeated: int = 0
    stray: int = 0
    foreign: int = 0
    gaps: int = 0
    unreadable: int = 0
    welcomes: int = 0


class Session:
    """From the opening of a port to its loss. ``number`` is random and new each time.

    ``schemas`` is kept by the caller: a board that comes again does not say its schema again. ``wall_ahead_ns`` is the
    edge's wall clock less its monotonic one, None while nobody believes it; set it whenever it changes.
    """

    def __init__(
        self,
        number: int,
        schemas: MutableMapping[int, Dictionary],
        now_ns: int,
        *,
        max_frame: int = limits.FRAME_MOST,
    ) -> None:
        self.number, self.reader = number, FrameReader(max_frame)
        self.counters = Counters()
        self.hello: Hello | None = None
        self.welcomed = False
        self.clock = BoardClock()
        self.wall_ahead_ns: int | None = None
        self.certain = 0  # frames that only the board of ``hello`` can have sent
        self._starts: list[tuple[int, int]] = []  # of this board, that ended on this line: epoch and boot
        self._schemas, self._max_frame = schemas, max_frame
        self._asking = Repeating(limits.ASK_NS, limits.ASK_NS, now_ns)
        self._asked_ns = now_ns - limits.SECOND_NS
        self._gathering: Gathering | None = None
        self._dictionary: Dictionary | None = None
        self._schema_asking = Repeating(limits.SCHEMA_MIN_NS, limits.SCHEMA_MAX_NS, now_ns)
        self._unusable: set[int] = set()  # schemas
        self._window: Window | None = None
        self._exchanges = Exchanges(self.clock, number & 0xFFFF)
        self._restarted = False
        self._commands = Commands(number)
        self._upload: Upload | None = None
        self._heard_ns, self._pings, self._ping_due_ns = now_ns, 0, 0
        self._noticed: set[str] = set()
        # Of the last frame of this read: the board's time, now, what became of it and how uncertain that is.
        self._stamp: tuple[int, int, int, int | None] | None = None

    @property
    def due_ns(self) -> int:
        """When ``expire`` wants to be called if nothing happens before; at least each second while nobody is there."""
        times = [self.reader.due_ns]
        if self.hello is None:
            times.append(self._asking.due_ns)
        else:
            times += [self._ping_at_ns(), self._exchanges.due_ns]
            if self._gathering is not None:
                times.append(self._schema_asking.due_ns)
            if self.welcomed:
                times += [self._commands.due_ns, self._upload.due_ns if self._upload else None]
        return min(time for time in times if time is not None)

    def receive(self, data: bytes, now_ns: int) -> list[Effect]:
        """Bytes from the line."""
        effects: list[Effect] = []
        self._stamp = None
        for heard in self.reader.feed(data, now_ns):
            if isinstance(heard, Text):
                effects.append(Said(heard.line))
                continue
            if self._next_in_order(heard.plain, effects, now_ns):
                continue
            try:
                message = messages.decode(heard.plain)
            except Malformed as error:
                self.counters.malformed += 1
                effects += self._notice(f"a frame of type {heard.plain[0] & 15} is not right: {error}")
                continue
            self.counters.frames += 1
            self._heard_ns, self._pings = now_ns, 0
            self._stamp = None  # the clock may be another one behind this
            effects += self._take(message, now_ns)
        return effects

    def expire(self, now_ns: int) -> list[Effect]:
        """What time alone brings."""
        effects: list[Effect] = [
            Said(text.line) for text in self.reader.expire(now_ns) if isinstance(text, Text)
        ]
        if self.hello is None:
            return effects + (self._ask(now_ns) if self._asking.due_ns <= now_ns else [])
        effects += self._look_after(now_ns)
        if self.hello is None:
            return effects
        if self._gathering is not None and self._schema_asking.due_ns <= now_ns:
            effects += self._get_schema(now_ns)
        if self._exchanges.due_ns <= now_ns:
            effects.append(self._ask_clock(now_ns))
            effects += self._welcome_if_ready(now_ns)
        if self.welcomed:
            effects += self._commands.expire(now_ns)
            if self._upload is not None:
                effects += self._upload.expire(now_ns)
        return effects

    def located(self, uid: bytes, epoch: int, next_: int | None, now_ns: int) -> list[Effect]:
        """The answer to ``Locate``: the first number that is not durable, None if nothing of this ring is."""
        hello = self.hello
        if hello is None or (hello.uid, hello.epoch) != (uid, epoch) or self._window is not None:
            return []
        first = hello.first if next_ is None else next_
        self._window = Window(tag_of(epoch, hello.boot), first, _window_of(hello))
        return self._welcome_if_ready(now_ns)

    def durable(self, uid: bytes, epoch: int, next_: int, now_ns: int) -> list[Effect]:
        """All before ``next_`` of this ring is on the disk."""
        hello, window = self.hello, self._window
        if hello is None or window is None or (hello.uid, hello.epoch) != (uid, epoch):
            return []
        frames = window.settle(next_)
        if frames is None:
            return []
        if not self.welcomed:
            return self._welcome_if_ready(now_ns)
        return [*self._up(frames, now_ns), _send(window.ack())]

    def command(self, ticket: int, name: str, argument: bytes, within_ns: int, now_ns: int) -> list[Effect]:
        """Have a command done; an ``Outcome`` with ``ticket`` comes of it. ``within_ns`` 0: until it is cancelled."""
        if self.hello is None or not self.welcomed:
            return [Outcome(ticket, None, why="no board is there")]
        if not self.hello.caps & Caps.COMMANDS:
            return [Outcome(ticket, None, why="the board takes no commands")]
        return self._commands.put(ticket, name, argument, within_ns, now_ns, self.hello.max_frame)

    def cancel(self, ticket: int, now_ns: int) -> list[Effect]:
        """Whoever wanted a command does not wait any more."""
        return self._commands.cancel(ticket, now_ns)

    def install(self, image: bytes, version: str, now_ns: int) -> list[Effect]:
        """Bring firmware to the board; ``ImageEnded`` says what became of it.

        Raises:
            ValueError: No board that takes images is there, or one is on its way.
        """
        if self.hello is None or not self.welcomed or not self.hello.caps & Caps.IMAGES:
            raise ValueError("no board that takes images is there")
        if self._upload is not None and not self._upload.ended:
            raise ValueError("an image is on its way")
        if len(messages.begin_rest(0, bytes(32), version)) + 1 + 1 + 4 + 4 > self.hello.max_frame:
            raise ValueError("the board's frames are too small for an image of that version")
        self._upload = Upload(image, version, self.hello.max_frame, now_ns)
        return self._upload.expire(now_ns)

    def give_up_image(self) -> None:
        """Nobody wants it any more. The board is told nothing: it goes on where it was if the image is wanted again."""
        self._upload = None

    def _next_in_order(self, plain: bytes, effects: list[Effect], now_ns: int) -> bool:
        """What most frames are: the next one of readings, from a board that is welcome. ``_data`` takes all others."""
        window = self._window
        if not self.welcomed or window is None or (data := messages.split_data(plain)) is None:
            return False
        tag, low, board_ms, readings = data
        if tag != window.tag or (seq := window.follows(low)) is None:
            return False
        self.counters.frames += 1
        self.certain += 1
        self._heard_ns, self._pings = now_ns, 0
        self._up_frame(seq, board_ms, readings, effects, now_ns)
        return True

    def _take(self, message: Message, now_ns: int) -> list[Effect]:
        match message:
            case Hello():
                return self._greeted(message, now_ns)
            case Data():
                return self._data(message, now_ns)
            case messages.Schema():
                return self._schema(message, now_ns)
            case messages.Clock():
                return self._clock(message, now_ns)
            case messages.Reply():
                return self._commands.replied(message, now_ns)
            case messages.ImageState():
                return self._upload.stands(message, now_ns) if self._upload is not None else []
            case messages.Log():
                stamp = self.clock.stamp(message.board_ms, now_ns)
                text = message.text.decode(errors="replace")
                return [Said(text, message.level, stamp.mono_ns if stamp else now_ns)]
            case messages.Ping(answer=0):
                return [_send(messages.Ping(message.token, 1))]
        return []

    def _clock(self, answer: messages.Clock, now_ns: int) -> list[Effect]:
        hello = self.hello
        if hello is None or answer.tag != tag_of(hello.epoch, hello.boot):
            self.counters.foreign += 1
            return self._ask(now_ns)
        self.certain += 1
        return self._welcome_if_ready(now_ns) if self._exchanges.answered(answer, now_ns) else []

    def _greeted(self, hello: Hello, now_ns: int) -> list[Effect]:
        effects: list[Effect] = []
        before = self.hello
        if before is not None and before.uid != hello.uid:
            effects += self._leave("another board is on the line")
            before = None
        self.hello = hello
        self.certain += 1
        same_ring = before is not None and before.epoch == hello.epoch
        same_start = before is not None and same_ring and before.boot == hello.boot
        if not same_start:
            effects += self._began(hello, before)
            effects += self._commands.restarted()
            self.welcomed, self._restarted = False, True
            self.clock = BoardClock()
            self._exchanges = Exchanges(self.clock, self._exchanges.token)
            effects.append(self._ask_clock(now_ns))
            if self._window is not None:
                self._window.begin_again(tag_of(hello.epoch, hello.boot), _window_of(hello))
        if not same_ring:
            self._window = None
            effects.append(Locate(hello.uid, hello.epoch))
        effects += self._want_schema(hello, now_ns)
        return effects + self._welcome_if_ready(now_ns)

    def _began(self, hello: Hello, before: Hello | None) -> list[Effect]:
        """A board does not go back to a start that it has left."""
        if before is not None:
            self._starts = [*self._starts[1 - limits.STARTS_MAX :], (before.epoch, before.boot)]
        if (hello.epoch, hello.boot) in self._starts:
            return self._notice(f"two boards on this line say that they are {hello.uid.hex()}")
        return []

    def _want_schema(self, hello: Hello, now_ns: int) -> list[Effect]:
        self._dictionary = self._schemas.get(hello.schema)
        if self._dictionary is not None:
            self._gathering = None
            return []
        if hello.schema == 0:  # of no entries: CRC-32 of nothing
            self._dictionary = Dictionary(())
            return []
        if hello.schema in self._unusable:
            return []
        if self._gathering is None or self._gathering.number != hello.schema:
            self._gathering = Gathering(hello.schema)
            self._schema_asking.again(now_ns)
            return self._get_schema(now_ns)
        return []

    def _get_schema(self, now_ns: int) -> list[Effect]:
        assert self._gathering is not None
        self._schema_asking.said(now_ns)
        return [_send(messages.SchemaGet(self._gathering.missing or 0))]

    def _schema(self, message: messages.Schema, now_ns: int) -> list[Effect]:
        gathering = self._gathering
        if gathering is None or not gathering.take(message):
            return []
        try:
            whole = gathering.whole()
        except Malformed as error:
            if len(self._unusable) < limits.SCHEMAS_MAX:
                self._unusable.add(gathering.number)
            self._gathering = None
            return self._notice(f"its schema cannot be used: {error}")
        if whole is None:
            self._schema_asking.again(now_ns)
            return self._get_schema(now_ns)
        while len(self._schemas) >= limits.SCHEMAS_MAX:
            del self._schemas[next(iter(self._schemas))]
        self._schemas[whole.number] = self._dictionary = whole
        self._gathering = None
        return self._welcome_if_ready(now_ns)

    def _welcome_if_ready(self, now_ns: int) -> list[Effect]:
        hello, window = self.hello, self._window
        if hello is None or window is None or self._dictionary is None or not self._exchanges.tried:
            return []
        # A ring that lost its end gives those numbers again. So a start is told ``next`` when it is behind all that
        # came before it, and not while frames of the former start are on their way to the disk.
        if not self.welcomed and not window.settled:
            return []
        effects: list[Effect] = []
        news = not self.welcomed
        self.welcomed = True
        effects += self._up(window.advance(hello.first), now_ns)
        if news:
            self.counters.welcomes += 1
            effects.append(Joined(hello))
        size = window.size if hello.most else 0
        effects.append(
            _send(messages.Welcome(self.number, window.tag, window.durable, self._max_frame, size))
        )
        if news and self._upload is not None and not self._upload.ended:
            effects += self._upload.welcomed(hello.firmware, self._restarted, now_ns)
        self._restarted = False
        return effects

    def _data(self, data: Data, now_ns: int) -> list[Effect]:
        window = self._window
        if self.hello is None:
            return self._ask(now_ns)
        if window is None or not self.welcomed:
            return []
        if data.tag != window.tag:
            self.counters.foreign += 1
            return self._ask(now_ns)
        self.certain += 1
        frames = window.take(data)
        self.counters.repeated, self.counters.stray = window.repeated, window.stray
        return self._up(frames, now_ns) if frames else [_send(window.ack())]

    def _up(self, steps: "list[InOrder] | list[InOrder | Missing]", now_ns: int) -> list[Effect]:
        hello = self.hello
        assert hello is not None
        effects: list[Effect] = []
        for step in steps:
            if isinstance(step, Missing):
                self.counters.gaps += 1
                effects.append(Gap(hello.uid, hello.epoch, step.first, step.next))
            else:
                self._up_frame(step.seq, step.data.board_ms, step.data.readings, effects, now_ns)
        return effects

    def _up_frame(self, seq: int, board_ms: int, readings: bytes, effects: list[Effect], now_ns: int) -> None:
        hello, read = self.hello, None
        assert self._dictionary is not None
        assert hello is not None
        try:
            read = self._dictionary.read(readings)
        except Malformed as error:
            self.counters.unreadable += 1
            effects += self._notice(f"frame {seq} cannot be read: {error}")
        stamp = self._stamp
        if ahead(seq, hello.fresh) < 0:
            effects.append(Taken(hello.uid, hello.epoch, seq, read, now_ns, None))
            return
        if stamp is None or stamp[0] != board_ms or stamp[1] != now_ns:
            mono_ns, error_ns = self.clock.stamp(board_ms, now_ns) or (now_ns, None)
            stamp = self._stamp = board_ms, now_ns, mono_ns, error_ns
        effects.append(Taken(hello.uid, hello.epoch, seq, read, stamp[2], stamp[3]))

    def _ask(self, now_ns: int) -> list[Effect]:
        if now_ns - self._asked_ns < _ASK_LEAST_NS:
            return []
        self._asked_ns = now_ns
        self._asking.said(now_ns)
        return [_send(messages.Ask(self.number))]

    def _ask_clock(self, now_ns: int) -> Send:
        token = self._exchanges.ask(now_ns)
        board_ms = self.clock.board_ms(now_ns)
        if self.wall_ahead_ns is None or board_ms is None:
            return _send(messages.ClockGet(token, 0, 0, 0))
        unix_ms = (now_ns + self.wall_ahead_ns) // limits.MILLISECOND_NS
        return _send(messages.ClockGet(token, 1, board_ms, unix_ms))

    def _ping_at_ns(self) -> int:
        return self._ping_due_ns if self._pings else self._heard_ns + limits.SILENCE_NS

    def _look_after(self, now_ns: int) -> list[Effect]:
        if self._ping_at_ns() > now_ns:
            return []
        if self._pings == limits.PINGS:
            return [*self._leave("silent"), *self._ask(now_ns)]
        self._pings += 1
        self._ping_due_ns = now_ns + limits.PING_NS
        return [_send(messages.Ping(now_ns // limits.MILLISECOND_NS & 0xFFFF, 0))]

    def _leave(self, why: str) -> list[Effect]:
        assert self.hello is not None
        left, was_here = Left(self.hello.uid, why), self.welcomed
        self.hello, self._window, self._gathering, self._dictionary = None, None, None, None
        self.welcomed, self._pings, self._starts = False, 0, []
        effects = self._commands.end(f"the board is gone: {why}")
        if self._upload is not None:
            effects += self._upload.gone(why)
            self._upload = None
        return [*effects, left] if was_here else effects

    def _notice(self, text: str) -> list[Effect]:
        """Once for each text while the port is open, and never more than a screen of them."""
        if text in self._noticed or len(self._noticed) >= 20:
            return []
        self._noticed.add(text)
        return [Noticed(text)]


def _window_of(hello: Hello) -> int:
    """Frames that the board may have under way."""
    return max(limits.WINDOW_MAX, min(hello.most, limits.WINDOW_MOST))


def _send(message: Message) -> Send:
    return Send(wrap(messages.encode(message)))
