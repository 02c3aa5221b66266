"""What the publisher knows of each of its streams, and what it has its driver do."""

from enum import Enum
from typing import NamedTuple, Protocol

from phloem.shared.forward import grouping
from phloem.shared.forward.effects import Alarm, Bounce, Confirmed, Noticed
from phloem.shared.forward.entries import Class, Entry, Turn
from phloem.shared.forward.grouping import Grouping, Made
from phloem.shared.forward.hub_standing import Standing
from phloem.shared.forward.hub_stream import Info, Note
from phloem.shared.forward.wrap import Out

BATCH_MAX = 1000  # messages; nats-server's limit unless it is told otherwise
SIZE_MAX = 1 << 30  # bytes of one message, when nobody says less


class Stream(grouping.Stream, Protocol):
    """What this machine asks of a stream of the device."""

    @property
    def confirmed(self) -> int:
        """What a hub has, as far as is known here."""

    def bytes_from(self, seq: int) -> int:
        """About how many bytes there are from a sequence on."""


# --- what the driver has to do, beside what the sender has ---------------------------------------------


class Ask(NamedTuple):
    """A request to the hub's JetStream; ``api`` is the subject behind its prefix."""

    api: str
    token: bytes
    body: bytes


class Post(NamedTuple):
    """Publish these, in order."""

    messages: list[Out]
    cls: Class
    size: int  # bytes, about as many as they have on the wire


class Remember(NamedTuple):
    """Keep this with the entry of that name."""

    name: str
    note: Note


Effect = Ask | Post | Remember | Confirmed | Noticed | Bounce | Alarm


class Step(Enum):
    """What a lane is at."""

    WAIT = "wait"
    INFO = "info"
    CREATE = "create"
    STAND = "stand"  # asking where the stream stands
    OPEN = "open"
    FLIGHT = "flight"


class Group(NamedTuple):
    """Messages that were sent together and are not acknowledged; everything up to ``upto`` is in it, or before it."""

    upto: int
    size: int
    largest: int
    sent_ns: int
    missing: set[int]  # numbers of the messages whose acknowledgement has not come
    ends: int  # the number of the last message


class Lane:
    """One stream."""

    def __init__(self, number: int, entry: Entry, stream: Stream, note: Note | None, device: str) -> None:
        self.number = number
        self.prefix = f"fleet.{entry.name}.{device}."
        self.grouping = Grouping(stream, self.prefix)
        self.entry = entry
        self.stream = stream
        self.note = note
        self.turn = Turn(entry)
        self.step = Step.WAIT
        self.serial = 0  # of the last question or group; answers to others come too late
        self.deadline_ns = 0
        self.resume_ns = 0
        self.first_ns = (
            0  # when something that is not acknowledged was sent for the first time; 0: nothing is
        )
        self.since_ns = 0  # since when there is something to send
        self.silences = 0  # questions and groups in a row without any answer
        self.lates = 0  # groups in a row that were not acknowledged
        self.said = ""
        self.info = Info()
        self.standing: Standing | None = None
        self.next_seq = 0
        self.acked_seq = 0  # everything up to here is at the hub, known in this session or before
        self.hub_seq = 0  # of the device's last message there
        self.have: frozenset[int] = frozenset()  # of these sequences the hub has the message already
        self.group: Group | None = None
        self.ahead: Made | None = None  # what goes next
        self.batch_max = BATCH_MAX  # messages that the hub takes in a batch
        self.count_max = BATCH_MAX
        self.size_max = SIZE_MAX  # of one message
        self.conflicts = 0

    def use(self, entry: Entry) -> None:
        """Other wishes for the same stream; what was made ahead was made as the old ones said."""
        if entry != self.entry:
            self.entry = self.turn.entry = entry
            self.ahead, self.said = None, ""

    @property
    def atomic(self) -> bool:
        """Whether the hub takes batches."""
        return self.info.config.allow_atomic
