"""What is measured and what is wanted: one declaration, from which runs, table and files come.

A load is one run of the generator; a row is one figure of it with its goal. Message counts are first
guesses: ``rounds.calibrate`` scales them to the server, so that a fast one also runs long enough.
The loads of JetStream are in ``stream_loads``.
"""

from dataclasses import dataclass, replace
from enum import Enum

from tests.bench.ratios import Goal, Unit

RESIDENT_MB = "resident_mb"  # the figure that the runner reads, not the generator


@dataclass(frozen=True)
class Row:
    """One line of the table; ``figure`` is the key in the generator's result."""

    name: str
    title: str
    figure: str
    unit: Unit
    goal: Goal


class Kind(Enum):
    """How the figures of a load come about."""

    RUN = "a run of about the wanted length"
    WHOLE = "a run over so many messages, on every server"
    MEMORY = "connections that are held while the server's memory is read"
    WRITTEN = "a paced run, and what it made the server write to the device"
    LARGE = "a store that is filled, weighed, and opened again"


@dataclass(frozen=True)
class Scene:
    """What is there before loads of JetStream run: streams, and messages in them.

    ``streams`` are configurations in JSON, ``fills`` options of the generator. ``sync_interval`` is the
    baseline's alone: the candidate is measured as it comes. ``cipher``: both encrypt what they store. Loads of
    one scene follow each other on the same two servers.
    """

    name: str
    streams: tuple[str, ...]
    fills: tuple[str, ...] = ()
    sync_interval: str = ""
    cipher: str = ""


@dataclass(frozen=True)
class Load:
    """One way to run the generator.

    ``messages`` (per publisher or pair) is where calibration starts, None for memory. ``messages_max``
    bounds it, where a scene holds no more. A load that ``is_long`` runs once, and not in a quick look.
    """

    name: str
    arguments: tuple[str, ...]
    messages: int | None
    rows: tuple[Row, ...]
    leaf: bool = False
    accounts: bool = False  # two of them, FAR and NEAR, which imports from the first
    kind: Kind = Kind.RUN
    scene: Scene | None = None
    messages_max: int | None = None
    is_long: bool = False

    @property
    def tls(self) -> bool:
        """Whether the servers ask for TLS."""
        return "--tls" in self.arguments


def _throughput(
    name: str, title: str, arguments: str, messages: int, goal: float, figure: str = "delivered_per_s"
) -> Load:
    row = Row(name, title, figure, Unit.PER_SECOND, Goal(at_least=goal))
    words = tuple(arguments.split())
    return Load(name, words, messages, (row,), leaf=words[0] == "leaf")


def _latency(name: str, title: str, figure: str, goal: float) -> Row:
    return Row(name, title, figure, Unit.MICROSECONDS, Goal(at_most=goal))


def _memory(name: str, title: str, arguments: str, goal: Goal) -> Load:
    row = Row(name, title, RESIDENT_MB, Unit.MEGABYTES, goal)
    return Load(name, tuple(arguments.split()), None, (row,), kind=Kind.MEMORY)


_ROUND_TRIP = Load(
    "rtt",
    ("rtt", "--pairs", "1"),
    2_000,
    (
        _latency("rtt-p50", "request-reply, median", "p50_us", 0.8),
        _latency("rtt-p99", "request-reply, p99", "p99_us", 0.8),
    ),
)

_IMPORT = "--subject bench.x --heard-subject far.bench.x --user far --peer-user near"
_ACROSS_ACCOUNTS = tuple(
    replace(load, accounts=True)
    for load in (
        _throughput("import-stream", "1:1, imported stream", f"pubsub {_IMPORT}", 300_000, 4.0),
        Load(
            "import-service",
            ("rtt", "--pairs", "1", "--user", "near", "--peer-user", "far"),
            2_000,
            (_latency("import-service-p50", "imported service, median", "p50_us", 0.8),),
        ),
        _throughput(
            "import-service-32",
            "imported service, 32 pairs",
            "rtt --pairs 32 --user near --peer-user far",
            150,
            1.3,
            "requests_per_s",
        ),
        _throughput(
            "mapped",
            "1:1, mapped subject",
            "pubsub --subject from.x --heard-subject to.x --user far",
            300_000,
            3.0,
        ),
    )
)

LOADS = (
    _throughput("pub", "publish only, 16 B", "pub", 1_000_000, 5.0, "published_per_s"),
    _throughput("pubsub", "1:1, 16 B", "pubsub", 500_000, 5.0),
    _throughput("fan-out", "1:8 fan-out, 16 B", "pubsub --subscribers 8", 100_000, 4.0),
    _throughput("fan-in", "8:1 fan-in, 16 B", "pubsub --publishers 8", 60_000, 4.0),
    _throughput("queue", "queue group of 8, 16 B", "pubsub --subscribers 8 --queue q", 300_000, 3.0),
    _throughput("pubsub-1k", "1:1, 1 KB", "pubsub --size 1024", 150_000, 1.5),
    _throughput("leaf", "1:1 over a leaf link, 16 B", "leaf", 200_000, 4.0),
    _throughput(
        "subjects",
        "100k subjects, 10k wildcards",
        "subjects --subjects 100000 --wildcards 10000 --publishers 2 --subscribers 4 --seed 1",
        50_000,
        2.0,
    ),
    _ROUND_TRIP,
    _throughput("tls-pub", "TLS: publish only, 16 B", "pub --tls", 1_000_000, 2.0, "published_per_s"),
    _throughput("tls-pubsub", "TLS: 1:1, 16 B", "pubsub --tls", 300_000, 3.0),
    _throughput("tls-pubsub-1k", "TLS: 1:1, 1 KB", "pubsub --tls --size 1024", 100_000, 1.2),
    Load(
        "tls-rtt",
        ("rtt", "--tls", "--pairs", "1"),
        2_000,
        (_latency("tls-rtt-p50", "TLS: request-reply, median", "p50_us", 0.9),),
    ),
    _throughput(
        "tls-handshakes",
        "TLS: handshakes, 4 at once",
        "handshakes --tls --publishers 4",
        100,
        0.3,
        "connections_per_s",
    ),
    _memory(
        "tls-memory-1000",
        "TLS: memory, 1,000",
        "idle --tls --connections 1000 --subscriptions 10",
        Goal(at_most=1.0),
    ),
    _throughput("rtt-32", "request-reply, 32 pairs", "rtt --pairs 32", 150, 1.3, "requests_per_s"),
    *_ACROSS_ACCOUNTS,
    _memory(
        "memory-idle",
        "memory after one connection",
        "idle --connections 1 --subscriptions 1",
        Goal(at_most=40.0, unit=Unit.MEGABYTES),
    ),
    _memory(
        "memory-1000",
        "memory, 1,000 connections",
        "idle --connections 1000 --subscriptions 10",
        Goal(at_most=1.0),
    ),
)
