"""Nothing crosses accounts without an export: random graphs of accounts, and what clients do in them.

The model says which messages arrive, and nothing else may. It is held against nats-server, so that it is right, and
phloem is held against it. ``--graphs N`` looks at that many graphs.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.property.account_config import config_for
from tests.property.account_driver import (
    AccountDriver,
    KernelAccounts,
    Names,
    ProcessAccounts,
    Refused,
    parse_all,
)
from tests.property.account_model import Accounts, Delivery, Error, Expected, Pub, Sub, Unspecified, Unsub
from tests.property.account_operations import Answer, Reload, Script, script
from tests.property.account_rules import Verdict, verdict
from tests.support.phloem_server import ForkedPhloemServer
from tests.support.real_server import RealServer
from tests.support.sampling import sampled
from tests.support.server_process import ServerProcess

Start = Callable[[str, Script], AccountDriver]


def encode(operation: Sub | Unsub | Pub) -> str:
    match operation:
        case Sub(subject, queue, sid):
            return f"SUB {subject} {queue}{' ' if queue else ''}{sid}\r\n"
        case Unsub(sid, count):
            return f"UNSUB {sid}{f' {count}' if count else ''}\r\n"
        case Pub(subject, reply, payload, headers):
            names = f"{subject} {reply}{' ' if reply else ''}"
            block = "" if headers is None else headers.decode()
            sizes = f"{len(block)} {len(block) + len(payload)}" if block else f"{len(payload)}"
            return f"{'HPUB' if block else 'PUB'} {names}{sizes}\r\n{block}{payload.decode()}\r\n"


class Run:
    """One script on one server and the model."""

    def __init__(self, driver: AccountDriver, script: Script) -> None:
        self._driver, self._script = driver, script
        self._model = Accounts(script.graph)
        self._names = Names()
        self._asked: list[tuple[int, str]] = []  # who got a request, and where its reply goes
        for number, (user, echo, headers) in enumerate(script.clients):
            self._model.open(number, user, echo, headers)

    def run(self) -> None:
        for step in self._script.steps:
            if isinstance(step, Answer):
                if not self._asked:
                    continue
                asked, reply = self._asked[-1 - step.which % len(self._asked)]
                number = asked if step.elsewhere is None else step.elsewhere
                self._apply(number, Pub(reply, step.reply, step.payload))
            elif isinstance(step, Reload):
                self._reload(step)
            else:
                self._apply(*step)

    def _reload(self, step: Reload) -> None:
        said = verdict(step.graph.accounts)
        if said is Verdict.UNSURE:
            raise Unspecified("a reload that depends on the order of accounts")
        try:
            self._driver.reload(config_for(step.graph))
        except Refused:
            if said is Verdict.TAKEN:
                raise AssertionError("the reload should have been taken") from None
            return
        assert said is Verdict.TAKEN, "the reload should have been refused"
        self._model.reload(step.graph)

    def _apply(self, number: int, operation: Sub | Unsub | Pub) -> None:
        expected = self._model.apply(number, operation)
        self._driver.send(number, self._names.real(encode(operation)).encode())
        came = parse_all(self._driver.received())
        chosen = explain(expected, came, self._names, self._model.alike)
        if chosen is None:
            raise AssertionError(
                f"{number} {self._script.clients[number][0].name}: {operation}\nwanted {expected}\n   got {came}"
            )
        self._model.happened(chosen)
        for delivery in chosen:
            if delivery.reply:
                self._asked.append((delivery.client, delivery.reply))


def explain(
    expected: Expected, came: list[Delivery | Error], names: Names, alike: Callable[[list[str]], bool]
) -> list[Delivery] | None:
    """The deliveries that explain what came, and the names learnt from them; None if nothing does.

    ``alike`` says of symbols whether it matters which is which.
    """
    errors = Counter(Error(e.client, names.symbol(e.text)) for e in came if isinstance(e, Error))
    if errors != Counter(expected.errors):
        return None
    messages = [names.told(d) for d in came if isinstance(d, Delivery)]
    status: list[list[Delivery]] = [[d] for d in expected.status]
    if not status or expected.silent:
        status.append([])
    for chosen in itertools.product(*expected.groups):
        for extra in status:
            wanted = [*expected.plain, *chosen, *extra]
            if Counter(map(_shape, wanted)) == Counter(map(_shape, messages)):
                bound = _bind(wanted, messages, names)
                if bound:
                    if len(bound) > 1 and not alike(list(bound[0])):
                        raise Unspecified("two requests that look the same")
                    for symbol, real in bound[0].items():
                        names.learn(symbol, real)
                    return [*expected.plain, *chosen]
    return None


def _shape(delivery: Delivery) -> Delivery:
    """Without the names that a server made up."""
    return delivery._replace(
        subject="_R_" if delivery.subject.startswith("_R_.") else delivery.subject,
        reply="_R_" if delivery.reply.startswith("_R_.") else delivery.reply,
    )


def _bind(wanted: list[Delivery], messages: list[Delivery], names: Names) -> list[dict[str, str]]:
    """How new symbols and names belong together; every message has to be one of the wanted ones under it."""
    new = sorted(
        {
            text
            for delivery in wanted
            for text in (delivery.subject, delivery.reply)
            if text.startswith("_R_.") and not names.knows(text)
        }
    )
    seen = sorted({text for d in messages for text in (d.subject, d.reply) if text.startswith("_R_.")})
    seen = [text for text in seen if not names.knows(text)]
    if len(seen) != len(new):
        return []
    have = Counter(messages)
    fits = []
    for order in itertools.permutations(seen):
        names_now = dict(zip(new, order, strict=True))
        renamed = (
            d._replace(subject=names_now.get(d.subject, d.subject), reply=names_now.get(d.reply, d.reply))
            for d in wanted
        )
        if Counter(renamed) == have:
            fits.append(names_now)
    return fits


def run(start: Start, script: Script) -> Verdict:
    said = verdict(script.graph.accounts)
    if said is Verdict.UNSURE:
        return said
    try:
        driver = start(config_for(script.graph), script)
    except Refused as why:
        if said is Verdict.TAKEN:
            raise AssertionError(f"this should have been taken: {why}") from why
        return said
    try:
        assert said is Verdict.TAKEN, "this should have been refused"
        Run(driver, script).run()
    except Unspecified:
        pass
    finally:
        driver.close()
    return said


def shorter(start: Start, script: Script) -> Script:
    """The steps that it takes to go wrong, by leaving out one after the other."""
    for at in reversed(range(len(script.steps))):
        without = replace(script, steps=(*script.steps[:at], *script.steps[at + 1 :]))
        try:
            run(start, without)
        except AssertionError:
            script = without
    return script


def look_at(start: Start, graphs: range) -> None:
    said: Counter[Verdict] = Counter()
    for number in graphs:
        try:
            said[run(start, script(number))] += 1
        except AssertionError:
            pytest.fail(f"graph {number}\n{explained(start, shorter(start, script(number)))}", pytrace=False)
    assert said[Verdict.TAKEN] >= len(graphs) // 2
    assert said[Verdict.REFUSED] >= len(graphs) // 20


def explained(start: Start, script: Script) -> str:
    """What to read when something goes wrong."""
    clients = [
        f"{n}: {user.name} {echo=} {headers=}" for n, (user, echo, headers) in enumerate(script.clients)
    ]
    try:
        run(start, script)
    except AssertionError as why:
        return "\n".join([config_for(script.graph), *clients, *map(str, script.steps), str(why)])
    return "it does not happen again"


@pytest.fixture
def graphs(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--graphs", default=0))


@pytest.fixture
def processes(tmp_path: Path) -> Callable[[Callable[[str, Path], ServerProcess]], Start]:
    """A way to start servers of a kind, each in a folder of its own."""
    numbers = itertools.count()

    def of(kind: Callable[[str, Path], ServerProcess]) -> Start:
        return lambda config, script: ProcessAccounts(kind, config, script, tmp_path / str(next(numbers)))

    return of


@pytest.mark.timeout(7200)
def test_the_account_model_is_nats_servers(
    processes: Callable[[Callable[[str, Path], ServerProcess]], Start], graphs: int
) -> None:
    look_at(processes(RealServer), range(graphs or 40))


@pytest.mark.timeout(7200)
@sampled
def test_accounts_are_the_models(graphs: int, whole: bool) -> None:
    look_at(KernelAccounts, range(graphs or (400 if whole else 50)))


@pytest.mark.timeout(7200)
def test_accounts_of_a_process_are_the_models(
    processes: Callable[[Callable[[str, Path], ServerProcess]], Start], graphs: int
) -> None:
    """The whole server, with its own reload, which these two have in them."""
    look_at(processes(ForkedPhloemServer), range(graphs) if graphs else range(2, 4))
