"""The broker against the model: same operations, cut anywhere, every byte that anyone receives compared."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from tests.property.broker_driver import BrokerDriver, ServerDriver, config_for, frames
from tests.property.kernel_driver import KernelDriver
from tests.property.model import (
    Bad,
    Mismatch,
    Operation,
    Permissions,
    Possible,
    Pub,
    Sub,
    Unsub,
    is_literal,
)
from tests.property.operations import CONNECTIONS, USERS, Script, scripts
from tests.support.examples import examples
from tests.support.real_server import RealServer


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerDriver]:
    """nats-server, so that the model itself is checked."""
    with RealServer(config_for(USERS), tmp_path_factory.mktemp("model")) as server:
        yield ServerDriver(server)


@pytest.fixture(scope="session")
def kernel() -> Iterator[BrokerDriver]:
    """phloem's kernel in memory: chunks interleave anywhere."""
    driver = KernelDriver(config_for(USERS))
    yield driver
    driver.close()


def _is_pedantic_error(operation: Operation) -> bool:
    """A publish that nats-server may complain about more than once."""
    return isinstance(operation, Pub) and not is_literal(operation.subject)


def _acts_early(operation: Operation) -> bool:
    """What a broker may answer before its last byte is there; the model only knows whole operations."""
    return isinstance(operation, Bad) or (isinstance(operation, Pub) and operation.headers is not None)


class Run:
    """One script on one driver, and on the model."""

    def __init__(self, driver: BrokerDriver, script: Script) -> None:
        self._driver, self._model = driver, Possible(USERS)
        self._ids = [driver.open() for _ in range(CONNECTIONS)]
        self._streams = []
        for number, operations in zip(self._ids, script.operations, strict=True):
            self._model.open(number)
            encoded = [operation.encode() for operation in operations]
            ends = [sum(map(len, encoded[: n + 1])) for n in range(len(encoded))]
            self._streams.append((b"".join(encoded), list(zip(ends, operations, strict=True))))
        self._sent = [0] * CONNECTIONS
        self.over = False

    def turn(self, who: int, size: int) -> None:
        """Send the next ``size`` bytes; where the driver cannot stop there, on to the operation's end."""
        stream, todo = self._streams[who]
        number, start = self._ids[who], self._sent[who]
        stop = min(start + size, len(stream))
        if start == stop or self._model.closed(number):
            return
        end = next(end for end, operation in todo if end >= stop or _is_pedantic_error(operation))
        if self._driver.in_step and not _acts_early(next(o for e, o in todo if e >= stop)):
            self._driver.send(number, stream[start:stop])
        else:
            stop = min(stop, end)
            self._driver.send(number, stream[start:stop])
            self._driver.send(number, stream[stop:end])
            stop = end
        self._sent[who] = stop
        self._compare(who)

    def _compare(self, who: int) -> None:
        sender = self._ids[who]
        for number in [sender, *(n for n in self._ids if n != sender)]:
            self._model.add(number, frames(self._driver.received(number)))
        _, todo = self._streams[who]
        while todo and todo[0][0] <= self._sent[who] and not self._model.closed(sender):
            self._model.apply(sender, todo.pop(0)[1])
        self._model.expect_nothing()
        for number in self._ids:
            assert self._driver.closed(number) == self._model.closed(number)
        # over TCP nobody can tell when the rest of the server has noticed that a connection is gone
        self.over = self._model.closed(sender) and not self._driver.in_step


def run(driver: BrokerDriver, script: Script) -> None:
    try:
        progress = Run(driver, script)
        rest = tuple((who, 1 << 30) for who in range(CONNECTIONS))
        for who, size in (*script.turns, *rest):
            progress.turn(who, size)
            if progress.over:
                return
    finally:
        driver.close_all()


@settings(max_examples=examples(50))
@given(script=scripts)
def test_the_model_is_nats_servers(real: BrokerDriver, script: Script) -> None:
    run(real, script)


@settings(max_examples=examples(100))
@given(script=scripts)
def test_every_byte_is_the_models(kernel: BrokerDriver, script: Script) -> None:
    run(kernel, script)


def test_which_member_of_a_group_it_was_may_show_later() -> None:
    """The same message twice, and each member is sent one. The publisher has left in between, so it was the first."""
    model, frame, ok = Possible({"": Permissions()}), b"MSG a 1 1\r\nx\r\n", b"+OK\r\n"
    for number in (1, 2):
        model.open(number)
        model.add(number, [ok])
        model.apply(number, Sub("a", "q", "1"))
    model.add(1, [frame])
    model.add(2, [ok, frame, ok, ok])
    for operation in (Pub("a", "", b"x"), Unsub("1"), Pub("a", "", b"x")):
        model.apply(2, operation)
    model.expect_nothing()
    model.add(2, [ok, frame])  # it is no member any more
    with pytest.raises(Mismatch):
        model.apply(2, Pub("a", "", b"x"))
