"""How much is looked at: at the start, and when one account changes. Counted, so that no clock is needed."""

from random import Random

import pytest

from phloem.shared.accounts.definition import Definition, Export, Import, Kind, Limits
from phloem.shared.accounts.resolving import Resolving

COUNT = 600
SUBJECT = {Kind.STREAM: "a.>", Kind.SERVICE: "s.>"}
EXPORTS = tuple(Export(kind, subject) for kind, subject in SUBJECT.items())


def link(number: int) -> Definition:
    """An account of a chain: it imports from the next one."""
    imports = tuple(Import(kind, f"N{number + 1}", subject) for kind, subject in SUBJECT.items())
    return Definition(f"N{number}", exports=EXPORTS, imports=imports if number < COUNT - 1 else ())


def chain(order: str) -> dict[str, Definition]:
    numbers = {
        "importers": range(COUNT),
        "exporters": range(COUNT - 1, -1, -1),
        "mixed": Random(1).sample(range(COUNT), COUNT),
    }[order]
    return {f"N{number}": link(number) for number in numbers}


@pytest.mark.parametrize("order", ["importers", "exporters", "mixed"])
def test_a_chain_is_nearly_linear(order: str) -> None:
    resolving = Resolving()
    resolving.update(chain(order))
    assert resolving.judged == 2 * (COUNT - 1)
    assert resolving.looks < 30 * COUNT  # by looking at everything for each of them it would be COUNT ** 2
    assert resolving.problems() == []


@pytest.mark.parametrize("order", ["importers", "exporters", "mixed"])
def test_one_account_of_a_chain(order: str) -> None:
    definitions, resolving = chain(order), Resolving()
    resolving.update(definitions)
    for number, judged in ((0, 2), (COUNT // 2, 2), (COUNT - 1, 0)):
        before, name = resolving.judged, f"N{number}"
        limited = definitions[name]._replace(limits=Limits(connections=number))
        assert not resolving.update({**definitions, name: limited})
        assert resolving.judged == before, "nothing that crosses has changed"
        more = (*limited.imports, Import(Kind.STREAM, "X", "a.x"))
        definitions = {**definitions, name: limited._replace(imports=more)}
        looked_at = resolving.update(definitions)
        assert looked_at == {name}
        assert resolving.judged == before + judged + 1


def test_what_an_account_really_imports_is_looked_at_by_those_above() -> None:
    definitions, resolving = chain("exporters"), Resolving()
    resolving.update(definitions)
    name = f"N{COUNT - 10}"
    looked_at = resolving.update({**definitions, name: definitions[name]._replace(imports=())})
    assert looked_at == {f"N{number}" for number in range(COUNT - 9)}


def test_who_imports_from_many() -> None:
    """Devices that import from a hub which imports from them: collisions are found by the subject."""
    devices = {
        f"D{n}": Definition(
            f"D{n}",
            exports=(Export(Kind.STREAM, f"dev.{n}.>"),),
            imports=(Import(Kind.STREAM, "H", f"cmd.{n}.>"),),
        )
        for n in range(COUNT)
    }
    hub = Definition(
        "H",
        exports=tuple(Export(Kind.STREAM, f"cmd.{n}.>") for n in range(COUNT)),
        imports=tuple(Import(Kind.STREAM, f"D{n}", f"dev.{n}.>") for n in range(COUNT)),
    )
    for definitions in ({**devices, "H": hub}, {"H": hub, **devices}):
        resolving = Resolving()
        resolving.update(definitions)
        assert (resolving.judged, resolving.problems()) == (2 * COUNT, [])
        assert resolving.looks <= 3 * COUNT
