"""Which imports are allowed, with nats-server's words for those that are not."""

from collections.abc import Sequence

import pytest

from phloem.shared.accounts import cycles
from phloem.shared.accounts.crossings import Crossings
from phloem.shared.accounts.definition import (
    Definition,
    Destination,
    Export,
    Import,
    Kind,
    Latency,
    ResponseType,
    SubjectMapping,
)
from phloem.shared.accounts.mappings import resolve_mapping
from phloem.shared.accounts.resolving import resolve
from phloem.shared.wire.transform import BadTransform, Part

STREAM, SERVICE = Kind.STREAM, Kind.SERVICE


def accounts(**parts: tuple[Sequence[Export], Sequence[Import]]) -> dict[str, Definition]:
    return {
        name: Definition(name, exports=exports, imports=imports) for name, (exports, imports) in parts.items()
    }


def texts(found: Crossings) -> list[str]:
    return [problem.text for problem in found.problems]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("export", "subject", "allowed"),
    [
        (Export(STREAM, "a.>"), "a.x", True),
        (Export(STREAM, "a.>"), "a.*", True),
        (Export(STREAM, "a.*"), "a.>", False),
        (Export(STREAM, "a.>"), "b", False),
        (Export(STREAM, "a.>", accounts=frozenset({"A"})), "a.x", True),
        (Export(STREAM, "a.>", accounts=frozenset({"C"})), "a.x", False),
        (Export(STREAM, "a.*", token_position=2), "a.A", True),
        (Export(STREAM, "a.*", token_position=2), "a.C", False),
        (Export(STREAM, "a.*", token_position=2), "a.*", False),
        (Export(STREAM, "a.*.>", token_position=2), "a.A.x", True),
        (Export(STREAM, "a.>", token_required=True), "a.good", True),
        (Export(STREAM, "a.>", token_required=True), "a.bad", False),
    ],
)
def test_authorization(kind: Kind, export: Export, subject: str, allowed: bool) -> None:
    definitions = accounts(
        B=([export._replace(kind=kind)], []), A=([], [Import(kind, "B", subject)]), C=([], [])
    )
    found = resolve(definitions, lambda _e, _x, _n, import_: import_.subject == "a.good")
    if allowed:
        assert texts(found) == []
        assert "A" in (found.streams if kind is STREAM else found.services)
    else:
        assert texts(found) == [
            f'Error adding {kind.value} import "{subject}": {kind.value} import not authorized'
        ]
        assert not found.streams.get("A")
        assert not found.services.get("A")


def test_a_stream_is_no_service() -> None:
    definitions = accounts(B=([Export(STREAM, "a")], []), A=([], [Import(SERVICE, "B", "a")]))
    assert texts(resolve(definitions)) == ['Error adding service import "a": service import not authorized']


def test_the_exact_export_decides() -> None:
    exports = [Export(STREAM, "a.>"), Export(STREAM, "a.x", accounts=frozenset())]
    definitions = accounts(B=(exports, []), A=([], [Import(STREAM, "B", "a.x"), Import(STREAM, "B", "a.y")]))
    assert texts(resolve(definitions)) == ['Error adding stream import "a.x": stream import not authorized']


@pytest.mark.parametrize(
    ("imports", "text"),
    [
        ([Import(STREAM, "X", "a.x")], '"X" account not defined for stream import'),
        (
            [Import(STREAM, "B", "a.*", "l")],
            'Error adding stream import "a.*": failed to create mapping transform for stream import subject from '
            '"a.*" to "l": invalid mapping destination: not using all of the token wildcard(s) in l',
        ),
        (
            [Import(SERVICE, "B", "a.*", "l")],
            'Error adding service import "a.*": failed to create mapping transform for service import subject from '
            '"l" to "a.*": invalid mapping destination: not using all of the token wildcard(s) in l',
        ),
        (
            [Import(STREAM, "B", "a.*"), Import(STREAM, "B", "a.*", "x.*")],
            'Error adding stream import "a.*": stream import already exists',
        ),
        ([Import(SERVICE, "B", "a..x")], 'Error adding service import "a..x": sublist: invalid subject'),
        (
            [Import(SERVICE, "B", "a.x"), Import(SERVICE, "B", "a.y", "a.x")],
            'Error adding service import "a.y": duplicate service import subject "a.x", previously used in import '
            'for account "B", subject "a.x"',
        ),
    ],
)
def test_imports_that_cannot_be(imports: list[Import], text: str) -> None:
    definitions = accounts(B=([Export(STREAM, "a.>"), Export(SERVICE, "a.>")], []), A=([], imports))
    assert texts(resolve(definitions)) == [text]


@pytest.mark.parametrize("kind", Kind)
def test_cycles(kind: Kind) -> None:
    export = [Export(kind, "a")]
    two = accounts(A=(export, [Import(kind, "B", "a")]), B=(export, [Import(kind, "A", "a")]))
    text = f'Error adding {kind.value} import "a": import forms a cycle'
    assert texts(resolve(two)) == [text]
    three = accounts(
        A=(export, [Import(kind, "B", "a")]),
        B=(export, [Import(kind, "C", "a")]),
        C=(export, [Import(kind, "A", "a")]),
    )
    assert texts(resolve(three)) == [text]
    apart = accounts(
        A=([Export(kind, "a")], [Import(kind, "B", "b")]), B=([Export(kind, "b")], [Import(kind, "A", "a")])
    )
    assert texts(resolve(apart)) == []


def test_a_long_chain_is_searched_without_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cycles, "SEARCH_MAX", 300)
    export = [Export(STREAM, "a")]
    chain = {
        f"N{n}": Definition(f"N{n}", exports=export, imports=[Import(STREAM, f"N{n + 1}", "a")] if n else [])
        for n in reversed(range(320))
    }
    chain["N320"] = Definition("N320", exports=export)
    found = resolve(chain)
    assert {problem.reason for problem in found.problems} == {"search cycle depth exhausted"}


@pytest.mark.parametrize(
    ("export", "text"),
    [
        (
            Export(STREAM, "a.*", token_position=3),
            'Error adding stream export "a.*": sublist: invalid subject',
        ),
        (
            Export(SERVICE, "a.b", token_position=2),
            'Error adding service export "a.b": sublist: invalid subject',
        ),
        (Export(STREAM, "a", accounts=frozenset({"X"})), '"X" account not defined for stream export'),
        (
            Export(SERVICE, "a", latency=Latency(100, "a")),
            'Error adding service latency sampling for "a" on subject "a": invalid publish subject',
        ),
        (
            Export(SERVICE, "a", latency=Latency(100, "b.*")),
            'Error adding service latency sampling for "a" on subject "b.*": invalid publish subject',
        ),
        (
            Export(SERVICE, "a", latency=Latency(100, "b"), response_type=ResponseType.STREAM),
            'Error adding service latency sampling for "a" on subject "b": bad service response type',
        ),
        (
            Export(SERVICE, "a", latency=Latency(101, "b")),
            'Error adding service latency sampling for "a" on subject "b": bad sampling percentage, should be 1-100',
        ),
    ],
)
def test_exports_that_cannot_be(export: Export, text: str) -> None:
    assert texts(resolve(accounts(B=([export], [])))) == [text]


def test_what_a_service_import_knows_of_its_export() -> None:
    export = Export(
        SERVICE, "a.*", response_type=ResponseType.SINGLETON, threshold_ns=5, latency=Latency(30, "done")
    )
    definitions = accounts(B=([export], []), A=([], [Import(SERVICE, "B", "a.x", "l", share=True)]))
    [crossing] = resolve(definitions).services["A"]
    assert (crossing.export, crossing.threshold_ns, crossing.latency, crossing.share) == (
        "a.*",
        5,
        Latency(30, "done"),
        True,
    )


def test_the_order_of_wildcards() -> None:
    definitions = accounts(
        B=([Export(STREAM, "a.>"), Export(SERVICE, "a.>")], []),
        A=([], [Import(STREAM, "B", "a.*.*.>", "l.$2.$1.>"), Import(SERVICE, "B", "a.*.*", "l.$2.$1")]),
    )
    found = resolve(definitions)
    [stream], [service] = found.streams["A"], found.services["A"]
    assert stream.local == "l.*.*.>"
    assert stream.forth == [
        Part("literal", text="l"),
        Part("wildcard", (2,)),
        Part("wildcard", (1,)),
        Part("rest", (3,)),
    ]
    assert stream.back == [
        Part("literal", text="a"),
        Part("wildcard", (2,)),
        Part("wildcard", (1,)),
        Part("rest", (3,)),
    ]
    assert (service.local, service.forth) == (
        "l.*.*",
        [Part("literal", text="a"), Part("wildcard", (2,)), Part("wildcard", (1,))],
    )


# --- mappings -------------------------------------------------------------------------------------------


def test_weights() -> None:
    def shares(*destinations: Destination, cluster: str = "") -> list[tuple[str | None, int]]:
        found = resolve_mapping(SubjectMapping("a", destinations), cluster)
        return [(share.parts[0].text if share.parts else None, share.below) for share in found.shares]

    assert shares(Destination("b")) == [("b", 100)]
    assert shares(Destination("b", 60), Destination("c", 20)) == [("c", 20), (None, 40), ("b", 100)]
    assert shares(Destination("b", 60), Destination("a", 20)) == [("a", 20), ("b", 80)]
    elsewhere = Destination("b", 100, "X")
    assert shares(elsewhere) == [(None, 100)]
    assert shares(elsewhere, cluster="X") == [("b", 100)]
    assert shares(elsewhere, Destination("c", 100), cluster="Y") == [("c", 100)]


@pytest.mark.parametrize(
    ("destinations", "text"),
    [
        ([Destination("b", 60), Destination("c", 60)], "total weight needs to be <= 100"),
        ([Destination("b", 10), Destination("b", 10)], 'duplicate entry for "b"'),
        ([Destination("b", 101)], "individual weights need to be <= 100"),
        ([Destination("b.*")], "invalid subject"),
    ],
)
def test_mappings_that_cannot_be(destinations: list[Destination], text: str) -> None:
    with pytest.raises(BadTransform) as caught:
        resolve_mapping(SubjectMapping("a.*", destinations))
    assert str(caught.value) == text
