"""Accounts' JWTs as definitions."""

from phloem.shared.accounts.definition import (
    SERVICE_THRESHOLD_NS,
    Destination,
    Export,
    Import,
    Kind,
    Latency,
    Limits,
    ResponseType,
    SubjectMapping,
)
from phloem.shared.accounts.from_claims import definition
from phloem.shared.security import claims as jwt


def of(**body: object) -> jwt.AccountClaims:
    return jwt.AccountClaims(sub="A1", name="PLANT", nats=jwt.Account(**body))  # type: ignore[arg-type]


def test_limits_of_zero_are_none_at_all() -> None:
    found = definition(of(limits=jwt.OperatorLimits(conn=3, subs=-1, leaf=1 << 40)))
    assert (found.name, found.title) == ("A1", "PLANT")
    assert found.limits == Limits(3, -1, 0, (1 << 31) - 1)


def test_exports() -> None:
    stream = jwt.Export(subject="s.>", type="stream", token_req=True, revocations={"*": 5})
    service = jwt.Export(
        subject="q.*",
        type="service",
        response_type="Chunked",
        response_threshold=7,
        account_token_position=2,
        allow_trace=True,
        service_latency=jwt.ServiceLatency(sampling=10, results="l"),
    )
    assert definition(of(exports=(stream, None, service))).exports == (
        Export(Kind.STREAM, "s.>", token_required=True, revocations={"*": 5}),
        Export(
            Kind.SERVICE,
            "q.*",
            token_position=2,
            response_type=ResponseType.CHUNKED,
            threshold_ns=7,
            latency=Latency(10, "l"),
            allow_trace=True,
        ),
    )
    plain = definition(of(exports=(jwt.Export(subject="q", type="service"),))).exports[0]
    assert (plain.response_type, plain.threshold_ns) == (ResponseType.SINGLETON, SERVICE_THRESHOLD_NS)


def test_imports_as_they_are_written_now() -> None:
    stream = jwt.Import(subject="s.*", type="stream", account="B", local_subject="l.$1", token="t")
    service = jwt.Import(subject="q", type="service", account="B", local_subject="mine", share=True)
    assert definition(of(imports=(stream, service))).imports == (
        Import(Kind.STREAM, "B", "s.*", "l.$1", token="t"),
        Import(Kind.SERVICE, "B", "q", "mine", share=True),
    )


def test_imports_as_they_were_written() -> None:
    """``to`` is a prefix of streams, and of a service the exporter's subject."""
    stream = jwt.Import(subject="s.>", type="stream", account="B", to="pre")
    service = jwt.Import(subject="mine", type="service", account="B", to="q")
    assert definition(of(imports=(stream, service))).imports == (
        Import(Kind.STREAM, "B", "s.>", "pre.s.>"),
        Import(Kind.SERVICE, "B", "q", "mine"),
    )


def test_mappings() -> None:
    targets = (jwt.WeightedMapping(subject="b", weight=30), jwt.WeightedMapping(subject="c", cluster="x"))
    assert definition(of(mappings={"a": targets})).mappings == (
        SubjectMapping("a", (Destination("b", 30), Destination("c", 100, "x"))),
    )
