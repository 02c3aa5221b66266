"""What hypothesis does to a stream: small alphabets, and numbers that choose among what is there at that moment."""

from dataclasses import dataclass

from hypothesis import strategies as st
from tests.property.stream_model import ConsumerSettings, StreamSettings

SUBJECTS = ("s.a.1", "s.a.2", "s.b.1", "s.b.2", "s.c")
NAMES = ("A", "B", "C")


@dataclass(frozen=True)
class Publish:
    subject: str
    ident: str = ""
    ttl_s: int = 0
    count: int = 1


@dataclass(frozen=True)
class Create:
    """A consumer; one with that name is deleted first."""

    name: str
    settings: ConsumerSettings


@dataclass(frozen=True)
class Remove:
    name: str


@dataclass(frozen=True)
class Fetch:
    """A pull request. ``expires_s`` 0: none."""

    name: str
    batch: int
    no_wait: bool
    expires_s: int = 0


@dataclass(frozen=True)
class Listen:
    name: str
    on: bool


@dataclass(frozen=True)
class Acknowledge:
    """Of one of all messages that were handed out, also of those that were acknowledged already."""

    which: int
    kind: str
    delay_s: int = 0


@dataclass(frozen=True)
class Delete:
    which: int


@dataclass(frozen=True)
class Purge:
    subject: str = ""
    below: int = 0
    keep: int = 0


@dataclass(frozen=True)
class Pause:
    """``seconds`` 0: go on."""

    name: str
    seconds: int


@dataclass(frozen=True)
class Advance:
    seconds: int


@dataclass(frozen=True)
class Restart:
    pass


Operation = (
    Publish | Create | Remove | Fetch | Listen | Acknowledge | Delete | Purge | Pause | Advance | Restart
)


@dataclass(frozen=True)
class Walk:
    settings: StreamSettings
    operations: tuple[Operation, ...]


subjects = st.sampled_from(SUBJECTS)
names = st.sampled_from(NAMES)
small = st.integers(0, 40)
filters = st.sampled_from([(), (), ("s.>",), ("s.a.*",), ("s.b.1",), ("s.a.1", "s.b.*"), ("s.c", "s.*.2")])

publishes = st.builds(
    Publish,
    subjects,
    ident=st.sampled_from(["", "", "", "x", "y"]),
    ttl_s=st.sampled_from([0, 0, 0, 2]),
    count=st.sampled_from([1, 1, 2, 5]),
)
fetches = st.builds(Fetch, names, st.sampled_from([1, 1, 2, 5]), st.booleans(), st.sampled_from([0, 0, 3, 5]))
acknowledgements = st.builds(
    Acknowledge,
    small,
    st.sampled_from(["+ACK", "+ACK", "", "-NAK", "-NAK delay", "+WPI", "+TERM", "+NXT"]),
    st.sampled_from([1, 2, 7]),
)
purges = st.one_of(
    st.builds(Purge),
    st.builds(Purge, st.sampled_from(["s.a.*", "s.b.1", "s.>"]), keep=st.sampled_from([0, 1])),
    st.builds(Purge, st.sampled_from(["", "s.a.*"]), below=st.integers(2, 12)),
    st.builds(Purge, keep=st.integers(1, 3)),
)
consumers = st.builds(
    ConsumerSettings,
    ack=st.sampled_from(["explicit", "explicit", "explicit", "all", "none"]),
    filters=filters,
    push=st.sampled_from([False, False, True]),
    ack_wait_s=st.sampled_from([2, 5, 30]),
    backoff_s=st.sampled_from([(), (), (1, 3)]),
    max_deliver=st.sampled_from([-1, -1, 1, 2, 3]),
    max_ack_pending=st.sampled_from([1000, 1000, 1, 3]),
    deliver=st.sampled_from(["all", "all", "new", "last"]),
)
creations = st.builds(Create, names, consumers)
operations: st.SearchStrategy[Operation] = st.one_of(
    publishes,
    publishes,
    publishes,
    fetches,
    fetches,
    fetches,
    acknowledgements,
    acknowledgements,
    acknowledgements,
    creations,
    st.builds(Listen, names, st.sampled_from([True, True, False])),
    st.builds(Remove, names),
    st.builds(Delete, small),
    purges,
    st.builds(Pause, names, st.sampled_from([0, 0, 4])),
    st.builds(Advance, st.sampled_from([1, 2, 3, 10])),
    st.builds(Restart),
)


def settings_of(storage: str) -> st.SearchStrategy[StreamSettings]:
    return st.builds(
        StreamSettings,
        storage=st.just(storage),
        retention=st.sampled_from(["limits", "limits", "interest", "workqueue"]),
        max_msgs=st.sampled_from([-1, -1, 8]),
        max_msgs_per_subject=st.sampled_from([-1, -1, 2]),
        discard=st.sampled_from(["old", "old", "new"]),
        max_age_s=st.sampled_from([0, 0, 6]),
    )


def walks(storage: str, length: int = 40) -> st.SearchStrategy[Walk]:
    """Two consumers to begin with, then anything."""
    begin = st.tuples(st.builds(Create, st.just("A"), consumers), st.builds(Create, st.just("B"), consumers))
    return st.builds(
        lambda settings, first, rest: Walk(settings, (*first, *rest)),
        settings_of(storage),
        begin,
        st.lists(operations, max_size=length, min_size=5),
    )
