"""From a configuration to what accounts are, and what follows from an operator's JWT."""

from typing import Any

import pytest

from phloem.shared.accounts.auth import SYSTEM_ACCOUNT
from phloem.shared.accounts.definition import (
    Definition,
    Destination,
    Export,
    Import,
    Kind,
    Latency,
    Limits,
    ResponseType,
    SubjectMapping,
)
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.definitions import definitions
from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.options_trust import FULL, MEMORY, URL
from tests.unit.server.corpus_security import ACC, OP, OP_URL, OP_WITH_SYSTEM, A, S, operator


def options(**config: Any) -> Options:
    return merge(load_mapping(config), {})


def test_everybody_is_there() -> None:
    assert list(definitions(Options())) == ["$G", "$SYS"]
    assert list(definitions(options(accounts=["A"], system_account="A"))) == ["$G", "A"]
    assert list(definitions(options(accounts=["A"], no_system_account=True))) == ["$G", "A"]
    assert definitions(options(accounts=["A"]))["A"] == Definition("A", "A")


def test_exports() -> None:
    service = {
        "service": "a.*",
        "accounts": ["B"],
        "response_type": "chunked",
        "threshold": "5s",
        "account_token_position": 2,
    }
    measured = {"service": "m", "latency": {"sampling": "25%", "subject": "l"}, "allow_trace": True}
    block = {"exports": [{"stream": "s.>"}, service, measured, {}]}
    assert definitions(options(accounts={"A": block, "B": {}}))["A"].exports == (
        Export(Kind.STREAM, "s.>"),
        Export(
            Kind.SERVICE,
            "a.*",
            accounts=frozenset({"B"}),
            token_position=2,
            response_type=ResponseType.CHUNKED,
            threshold_ns=5 * SECOND_NS,
        ),
        Export(Kind.SERVICE, "m", latency=Latency(25, "l"), allow_trace=True),
    )


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"stream": {"account": "A", "subject": "s.>"}}, Import(Kind.STREAM, "A", "s.>")),
        (
            {"stream": {"account": "A", "subject": "s.x"}, "prefix": "p"},
            Import(Kind.STREAM, "A", "s.x", "p.s.x"),
        ),
        (
            {"stream": {"account": "A", "subject": "s.x"}, "prefix": "p.q."},
            Import(Kind.STREAM, "A", "s.x", "p.q.s.x"),
        ),
        ({"stream": {"account": "A", "subject": "s.x"}, "to": "t"}, Import(Kind.STREAM, "A", "s.x", "t")),
        (
            {"stream": {"account": "A", "subject": "s.x"}, "to": "s.x", "allow_trace": True},
            Import(Kind.STREAM, "A", "s.x", allow_trace=True),
        ),
        (
            {"service": {"account": "A", "subject": "q"}, "to": "r", "share": True},
            Import(Kind.SERVICE, "A", "q", "r", share=True),
        ),
    ],
)
def test_imports(entry: dict[str, Any], wanted: Import) -> None:
    accounts = {"A": {"exports": [{"stream": "s.>"}, {"service": "q"}]}, "B": {"imports": [entry]}}
    assert definitions(options(accounts=accounts))["B"].imports == (wanted,)


def test_limits_and_mappings() -> None:
    block = {"limits": {"max_conn": 1, "max_subs": 2, "max_pay": 3, "max_leafs": 4}, "mappings": {"a": "b"}}
    shares = [
        {"destination": "d", "weight": "40%"},
        {"destination": "e", "weight": 10, "cluster": "x"},
    ]
    known = definitions(options(accounts={"A": block}, mappings={"c": shares}))
    assert known["A"].limits == Limits(1, 2, 3, 4)
    assert known["A"].mappings == (SubjectMapping("a", (Destination("b"),)),)
    assert known["$G"].mappings == (SubjectMapping("c", (Destination("d", 40), Destination("e", 10, "x"))),)


def test_default_domains() -> None:
    accounts = {"A": {"mappings": {"$KV.>": "mine.>"}}}
    mapped = definitions(options(accounts=accounts, default_js_domain={"A": "hub"}))["A"].mappings
    by_source = {mapping.source: mapping.destinations[0].subject for mapping in mapped}
    assert by_source["$JS.API.STREAM.>"] == "$JS.hub.API.STREAM.>"
    assert by_source["$OBJ.>"] == "$JS.hub.API.$OBJ.>"
    assert by_source["$KV.>"] == "mine.>"
    streams = {"jetstream": {"store_dir": "x"}, "default_js_domain": {"$G": "hub"}}
    assert definitions(options(**streams))["$G"].mappings == ()


def test_what_an_operator_says() -> None:
    assert options(operator=OP, resolver="MEM").system_account == SYSTEM_ACCOUNT
    assert options(operator=OP_WITH_SYSTEM, resolver="MEM").system_account == S
    assert options(operator=OP_WITH_SYSTEM, system_account=A).system_account == A
    assert options(operator=[OP_WITH_SYSTEM, OP]).system_account == SYSTEM_ACCOUNT
    from_operator = options(operator=OP_URL).resolver
    assert from_operator is not None
    assert (from_operator.kind, from_operator.url) == (URL, "http://127.0.0.1:1/jwt/v1/accounts/")
    written = options(operator=OP_URL, resolver={"type": "full", "dir": "x"}).resolver
    assert written is not None
    assert written.kind == FULL


def test_trust() -> None:
    strict = operator(strict_signing_key_usage=True)
    assert options(operator=OP).trust.keys == options(operator=OP_URL).trust.keys
    assert not options(operator=strict).trust.keys
    assert options(trusted=list(options(operator=OP).trust.keys)).trust.keys
    assert options(resolver="MEMORY", resolver_preload={A: ACC}).resolver_preload == {A: ACC}
    memory = options(resolver="MEMORY").resolver
    assert memory is not None
    assert memory.kind == MEMORY
