"""Taking turns: for each load both servers are started fresh, their message counts are found, and then
the rounds go baseline, candidate, baseline, candidate, so that the machine's moods hit both alike.

Rule: a load that fails is a failed row with the reason, not the end of the table.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench.generator import Figures, LoadFailed, held, run
from tests.bench.large import large
from tests.bench.loads import RESIDENT_MB, Kind, Load, Row, Scene
from tests.bench.ratios import Pairs
from tests.bench.servers import Deployment, Product, ServerFailed, deployed
from tests.bench.stages import Advance, Stage, silent, staged, written

RUN_SECONDS, QUICK_RUN_SECONDS = 1.2, 0.6
GROWTH_MAX = 8  # how much a calibration step may grow the count: a short first run says little
MESSAGES_MAX = 100_000_000  # per publisher; the generator's own bound is ten times as high
Turn = Callable[[], Figures]


@dataclass(frozen=True)
class Outcome:
    """A row with its samples, or with the reason why there are none, and the baseline's if it has some."""

    row: Row
    pairs: Pairs | None
    failure: str = ""
    baseline: tuple[float, ...] = ()


def calibrate(
    seconds_of: Callable[[int], float],
    messages: int,
    wanted_seconds: float,
    messages_max: int = MESSAGES_MAX,
) -> int:
    """The message count that takes about ``wanted_seconds``, or ``messages_max``.

    ``seconds_of`` runs so many messages and gives the seconds they took. Counts grow until a run takes
    a quarter of what is wanted, which is long enough to extrapolate from.
    """
    while True:
        factor = wanted_seconds / max(seconds_of(messages), 1e-6)
        count = min(messages_max, max(1, round(messages * min(factor, GROWTH_MAX))))
        if factor <= 4 or count == messages:
            return count
        messages = count


def _sample(load: Load, deployment: Deployment, messages: int) -> Figures:
    return run((*load.arguments, *deployment.arguments(), "--messages", str(messages)))


def _resident(load: Load, product: Product) -> Figures:
    """Memory belongs to a server that has done nothing before: a fresh one for every sample."""
    with (
        deployed(product, leaf=load.leaf, accounts=load.accounts, tls=load.tls) as deployment,
        held((*load.arguments, *deployment.arguments())),
    ):
        return {RESIDENT_MB: deployment.resident_bytes() / 1e6}


@contextmanager
def ready(load: Load, product: Product, run_seconds: float) -> Iterator[Turn]:
    """A server started for one load and calibrated: each call is one sample of about ``run_seconds``."""
    if load.messages is None:
        yield lambda: _resident(load, product)
        return
    with deployed(product, leaf=load.leaf, accounts=load.accounts, tls=load.tls) as deployment:
        messages = calibrate(
            lambda count: _sample(load, deployment, count)["seconds"], load.messages, run_seconds
        )
        yield lambda: _sample(load, deployment, messages)


def measure(
    load: Load,
    baseline: Product,
    candidate: Product,
    rounds: int,
    run_seconds: float,
    advance: Callable[[], None],
) -> list[Outcome]:
    """All rows of one load; ``advance`` is called ``rounds`` times, also where the load fails."""
    try:
        with ready(load, baseline, run_seconds) as turn, ready(load, candidate, run_seconds) as our_turn:
            return _take_turns(load, turn, our_turn, rounds, advance)
    except (LoadFailed, ServerFailed) as error:
        return _failed(load, str(error), rounds, advance)


def _take_turns(
    load: Load, turn: Turn, our_turn: Turn, rounds: int, advance: Callable[[], None]
) -> list[Outcome]:
    theirs: list[Figures] = []
    ours: list[Figures] = []
    try:
        for _ in range(rounds):
            theirs.append(turn())
            ours.append(our_turn())
            advance()
    except (LoadFailed, ServerFailed) as error:
        return _failed(load, str(error), rounds - len(ours), advance, theirs)
    return [
        Outcome(row, Pairs([each[row.figure] for each in theirs], [each[row.figure] for each in ours]))
        for row in load.rows
    ]


def _failed(
    load: Load,
    failure: str,
    rounds_left: int,
    advance: Callable[[], None],
    theirs: Sequence[Figures] = (),
) -> list[Outcome]:
    for _ in range(rounds_left):
        advance()
    return [Outcome(row, None, failure, tuple(each[row.figure] for each in theirs)) for row in load.rows]


def rounds_of(load: Load, rounds: int) -> int:
    """How often both servers take their turn."""
    return 1 if load.is_long else rounds


def turn_on(load: Load, stage: Stage, run_seconds: float, *, is_candidate: bool) -> Turn:
    """One sample of a load on a stage that is there, calibrated where its length is not given."""
    assert load.messages is not None
    if load.kind is Kind.WRITTEN:
        return lambda: written(load, stage, must_keep_rate=is_candidate)
    messages = load.messages
    if load.kind is Kind.RUN:
        messages = calibrate(
            lambda count: stage.run(*load.arguments, "--messages", str(count))["seconds"],
            messages,
            run_seconds,
            load.messages_max or MESSAGES_MAX,
        )
    return lambda: stage.run(*load.arguments, "--messages", str(messages))


def measure_on(
    scene: Scene,
    loads: Sequence[Load],
    products: tuple[Product, Product],
    rounds: int,
    run_seconds: float,
    advance: Callable[[], None],
    says: Advance = silent,
) -> list[Outcome]:
    """All rows of the loads of one scene, on the same two servers; ``says`` shows what goes on."""
    baseline, candidate = products
    outcomes: list[Outcome] = []
    left = list(loads)
    try:
        with (
            staged(scene, baseline, scene.sync_interval, says) as theirs,
            staged(scene, candidate, "", says) as ours,
        ):
            for load in loads:
                says(load.rows[0].title)
                outcomes += _measure_there(load, theirs, ours, rounds_of(load, rounds), run_seconds, advance)
                left.remove(load)
    except (LoadFailed, ServerFailed) as error:
        for load in left:
            outcomes += _failed(load, str(error), rounds_of(load, rounds), advance)
    return outcomes


def _measure_there(
    load: Load, theirs: Stage, ours: Stage, rounds: int, run_seconds: float, advance: Callable[[], None]
) -> list[Outcome]:
    try:
        turn = turn_on(load, theirs, run_seconds, is_candidate=False)
        our_turn = turn_on(load, ours, run_seconds, is_candidate=True)
    except (LoadFailed, ServerFailed) as error:
        return _failed(load, str(error), rounds, advance)
    return _take_turns(load, turn, our_turn, rounds, advance)


def measure_large(
    load: Load, products: tuple[Product, Product], advance: Callable[[], None], says: Advance = silent
) -> list[Outcome]:
    """The rows of the large store: once, one server after the other, each with the machine to itself."""
    baseline, candidate = products
    assert load.scene is not None
    sync_interval = load.scene.sync_interval
    return _take_turns(
        load,
        lambda: large(load, baseline, sync_interval, says),
        lambda: large(load, candidate, "", says),
        1,
        advance,
    )
