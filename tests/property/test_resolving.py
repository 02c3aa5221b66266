"""Verdicts that are kept up to date while accounts change are those of looking at everything again."""

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from tests.property.account_operations import script
from tests.property.resolving_model import Model
from tests.support.sampling import sampled

from phloem.shared.accounts import cycles
from phloem.shared.accounts.crossings import ServiceCrossing, StreamCrossing
from phloem.shared.accounts.definition import Definition, Export, Import, Kind
from phloem.shared.accounts.resolving import Resolving, resolve
from phloem.shared.accounts.subject_index import SubjectIndex
from phloem.shared.wire import subjects

MOST = 6  # accounts that a search passes, here
NAMES = tuple("ABCDEFGHIJ")
PATTERNS = ("a", "b", "a.b", "a.*", "*.b", "*.*", "a.>", "b.>", ">")
GRAPHS, MODELS = (40, 150), (60, 200)  # in a sample, and in all


def some_definition(r: Random, name: str, *, straight: bool) -> Definition:
    """An account; ``straight``: most import one thing from one other."""
    exports = [
        Export(
            r.choice(list(Kind)),
            subject,
            accounts=frozenset(r.sample(NAMES, 4)) if r.random() < 0.1 else None,
            token_required=r.random() < 0.2,
        )
        for subject in r.sample(PATTERNS, r.randint(1, 3))
    ]
    if straight:
        exports = [Export(kind, ">") for kind in Kind]
    imports = [
        Import(
            r.choice(list(Kind)),
            r.choice(NAMES),
            subject := r.choice(PATTERNS),
            r.choice(["", "", subject, "a.b" if subjects.is_literal(subject) else ""]),
            token=r.choice(["", "T", "U"]),
        )
        for _ in range(r.choice([0, 1, 1, 1, 2]) if straight else r.randint(0, 4))
    ]
    return Definition(name, exports=tuple(exports), imports=tuple(imports))


def told(
    imports: Mapping[str, Sequence[StreamCrossing | ServiceCrossing]],
) -> dict[str, list[tuple[str, str, str]]]:
    """As the model tells them."""
    return {name: [(one.exporter, one.subject, one.local) for one in made] for name, made in imports.items()}


@pytest.fixture(autouse=True)
def _short_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cycles, "SEARCH_MAX", MOST)


@sampled
@pytest.mark.parametrize("straight", [True, False])
def test_changes_come_out_as_a_whole_look(straight: bool, whole: bool) -> None:
    refused, graphs = 0, GRAPHS[whole]
    for number in range(graphs):
        r = Random(number)
        good = {"T": True, "U": False}
        definitions: dict[str, Definition] = {}
        resolving = Resolving(lambda _e, _x, _n, entry, good=good: good.get(entry.token, False))
        for _ in range(10):
            again: list[str] = []
            for name in r.sample(NAMES, r.choice([1, 1, 2, 4])):
                if r.random() < 0.15:
                    definitions.pop(name, None)
                else:
                    definitions[name] = some_definition(r, name, straight=straight)
            if r.random() < 0.1:
                definitions = dict(r.sample(sorted(definitions.items()), len(definitions)))
            if r.random() < 0.1:
                good["T"] = not good["T"]
                again = list(NAMES)
            before = resolving.crossings()
            looked_at = resolving.update(definitions, again)
            found = resolving.crossings()
            anew = resolve(definitions, lambda _e, _x, _n, entry, good=good: good.get(entry.token, False))
            assert found == anew, number
            model = Model(definitions, good, MOST)
            assert told(found.streams) == model.accepted(Kind.STREAM), number
            assert told(found.services) == model.accepted(Kind.SERVICE), number
            wrong = [(p.account, p.thing, p.reason) for p in found.problems if isinstance(p.thing, Import)]
            assert wrong == model.refused, number
            refused += len(wrong)
            for name in NAMES:
                if name not in looked_at:
                    assert found.streams.get(name) == before.streams.get(name)
                    assert found.services.get(name) == before.services.get(name)
    assert refused > graphs


@sampled
def test_graphs_of_the_account_model(whole: bool) -> None:
    """The same, one of their accounts after the other."""
    for number in range(MODELS[whole]):
        definitions = {one.name: one for one in script(number).graph.accounts}
        resolving, known = Resolving(), dict[str, Definition]()
        for name, definition in definitions.items():
            known[name] = definition
            resolving.update(known)
        assert resolving.crossings() == resolve(definitions)


def test_an_index_is_a_look_at_all() -> None:
    r = Random(1)
    for _ in range(300):
        patterns = [
            ".".join(r.choices(["a", "b", "*", "", ">"], weights=[4, 4, 4, 1, 2], k=r.randint(1, 4)))
            for _ in range(r.randint(0, 12))
        ]
        index: SubjectIndex[int] = SubjectIndex()
        for place, pattern in enumerate(patterns):
            index.add(pattern, place)
        subject = ".".join(r.choices(["a", "b", "*", ">"], k=r.randint(1, 4)))
        assert index.covering(subject) == [
            place for place, pattern in enumerate(patterns) if subjects.matches(pattern, subject)
        ]
        assert index.colliding(subject) == [
            place for place, pattern in enumerate(patterns) if subjects.collide(pattern, subject)
        ]
