"""One contract for every kind of log: whatever is done to it, it answers as the model does."""

import random
from pathlib import Path

import pytest

from tests.support.sampling import few_of
from tests.unit.store.model import DRIVERS, FILTERS, Driver, ModelLog, compare, subject_of


def step(driver: Driver, model: ModelLog, rng: random.Random) -> None:
    """One random operation on both."""
    log = driver.log
    kind = rng.random()
    if kind < 0.6:
        for _ in range(rng.randrange(1, 12)):
            header = b"NATS/1.0\r\nA: b\r\n\r\n" if rng.random() < 0.2 else b""
            payload = rng.randbytes(rng.choice((0, 5, 100, 100, 3000)))
            seq = model.last_seq + rng.randrange(1, 5) if rng.random() < 0.05 else 0
            message = (subject_of(rng), header, payload, rng.randrange(1, 2000), seq)
            assert log.append(*message) == model.append(*message)
    elif kind < 0.85:
        for _ in range(rng.randrange(1, 20)):
            seq = rng.randrange(0, model.last_seq + 2)
            assert log.remove(seq) == model.remove(seq)
    elif kind < 0.88:
        seq = model.last_seq + rng.randrange(0, 3)
        log.skip(seq)
        model.skip(seq)
    elif kind < 0.97:
        filters = rng.choice(FILTERS)
        limits = rng.choice(({"below": rng.randrange(1, model.last_seq + 2)}, {"keep": rng.randrange(1, 30)}))
        assert log.purge(filters, **limits) == model.purge(filters, **limits)
    elif kind < 0.98:
        below = rng.choice((0, model.last_seq + 5))
        assert log.purge(below=below) == model.purge(below=below)
    if rng.random() < 0.3:
        driver.settle()
    if rng.random() < 0.04:
        driver.settle()
        driver.again()


@pytest.mark.parametrize("seed", few_of(range(12), 0, 1))
@pytest.mark.parametrize("kind", DRIVERS)
def test_answers_as_the_model_does(kind: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    driver, model = DRIVERS[kind](tmp_path), ModelLog()
    for number in range(120):
        step(driver, model, rng)
        if number % 4 == 0:
            compare(driver.log, model, rng)
    driver.settle()
    driver.again()
    compare(driver.log, model, rng)
    driver.close()


@pytest.mark.parametrize("kind", DRIVERS)
def test_what_is_removed_before_it_is_moved_hides_nothing_before_it(kind: str, tmp_path: Path) -> None:
    """Messages of a subject lead from one to the one before; one in between that came into no block leads nowhere."""
    driver, model = DRIVERS[kind](tmp_path), ModelLog()
    for log in (driver.log, model):
        for number in range(160):
            log.append(
                b"wanted" if number in (0, 8, 16, 24, 32) else b"other.%d" % number, b"", b"x", number, 0
            )
        for seq in (9, 17):
            assert log.remove(seq)
    driver.settle()
    found, at = [], 1
    while (message := driver.log.next((b"wanted",), at, 160)) is not None:
        found.append(message.seq)
        at = message.seq + 1
    assert found == [1, 25, 33]
    compare(driver.log, model, random.Random(1))
    driver.close()
