"""Taking turns: for each load both servers are started fresh, their message counts are found, and then
the rounds go baseline, candidate, baseline, candidate, so that the machine's moods hit both alike.

Rule: a load that fails is a failed row with the reason, not the end of the table.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench.generator import Figures, LoadFailed, held, run
from tests.bench.loads import RESIDENT_MB, Load, Row
from tests.bench.ratios import Pairs
from tests.bench.servers import Deployment, Product, ServerFailed, deployed

RUN_SECONDS, QUICK_RUN_SECONDS = 1.2, 0.6
GROWTH_MAX = 8  # how much a calibration step may grow the count: a short first run says little
MESSAGES_MAX = 100_000_000  # per publisher; the generator's own bound is ten times as high
Turn = Callable[[], Figures]


@dataclass(frozen=True)
class Outcome:
    """A row with its samples, or with the reason why there are none."""

    row: Row
    pairs: Pairs | None
    failure: str = ""


def calibrate(seconds_of: Callable[[int], float], messages: int, wanted_seconds: float) -> int:
    """The message count that takes about ``wanted_seconds``.

    ``seconds_of`` runs so many messages and gives the seconds they took. Counts grow until a run takes
    a quarter of what is wanted, which is long enough to extrapolate from.
    """
    while True:
        factor = wanted_seconds / max(seconds_of(messages), 1e-6)
        count = min(MESSAGES_MAX, max(1, round(messages * min(factor, GROWTH_MAX))))
        if factor <= 4 or count == messages:
            return count
        messages = count


def _sample(load: Load, deployment: Deployment, messages: int) -> Figures:
    return run((*load.arguments, *deployment.arguments(), "--messages", str(messages)))


def _resident(load: Load, product: Product) -> Figures:
    """Memory belongs to a server that has done nothing before: a fresh one for every sample."""
    with (
        deployed(product, leaf=load.leaf) as deployment,
        held((*load.arguments, *deployment.arguments())),
    ):
        return {RESIDENT_MB: deployment.resident_bytes() / 1e6}


@contextmanager
def ready(load: Load, product: Product, run_seconds: float) -> Iterator[Turn]:
    """A server started for one load and calibrated: each call is one sample of about ``run_seconds``."""
    if load.messages is None:
        yield lambda: _resident(load, product)
        return
    with deployed(product, leaf=load.leaf) as deployment:
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
    theirs: list[Figures] = []
    ours: list[Figures] = []
    failure = ""
    try:
        with ready(load, baseline, run_seconds) as turn, ready(load, candidate, run_seconds) as our_turn:
            for _ in range(rounds):
                theirs.append(turn())
                ours.append(our_turn())
                advance()
    except (LoadFailed, ServerFailed) as error:
        failure = str(error)
        for _ in range(rounds - len(ours)):
            advance()
    return [_outcome(row, theirs, ours, failure) for row in load.rows]


def _outcome(row: Row, theirs: list[Figures], ours: list[Figures], failure: str) -> Outcome:
    if failure:
        return Outcome(row, None, failure)
    return Outcome(row, Pairs([each[row.figure] for each in theirs], [each[row.figure] for each in ours]))
