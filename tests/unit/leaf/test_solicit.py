"""The dialling side, driven by what hubs said on the wire (wire 2.2, 2.10, 5.1)."""

import json
from typing import Any

import msgspec
import pytest

from phloem.shared.kernel import Reason
from phloem.shared.leaf.compression import LEVELS, OFF, Compression, normal
from phloem.shared.leaf.permits import ALL
from phloem.shared.leaf.solicit import (
    Close,
    Compress,
    Discovered,
    LinkUp,
    SendConnect,
    Solicitor,
    Step,
    Terms,
    on_err,
)
from phloem.shared.leaf.urls import parse_url

TERMS = Terms(
    server_id="NE",
    name="EDGE",
    cluster="EDGE",
    version="2.15.1",
    account="$G",
    headers=True,
    compression=Compression(OFF, ()),
)
FIRST = {
    "server_id": "NA",
    "server_name": "HUB",
    "version": "2.15.1",
    "proto": 3,
    "headers": True,
    "auth_required": True,
    "max_payload": 1048576,
    "client_id": 5,
    "nonce": "symLODPYsrDT5dc",
    "compression": "s2_auto",
    "info_on_connect": True,
    "leafnode_urls": ["127.0.0.1:20011"],
}
CONNECTED = {
    **{key: value for key, value in FIRST.items() if key not in ("nonce", "compression")},
    "connect_info": True,
    "remote_account": "$G",
}


def solicitor(url: str = "nats-leaf://127.0.0.1:20011", **changes: Any) -> Solicitor:
    terms = {name: getattr(TERMS, name) for name in TERMS.__struct_fields__} | changes
    return Solicitor(Terms(**terms), parse_url(url))


def says(machine: Solicitor, info: dict[str, Any], **changes: Any) -> list[Step]:
    return machine.on_info(json.dumps(info | changes).encode())


def connect_of(steps: list[Step]) -> dict[str, Any]:
    (line,) = [step.data for step in steps if isinstance(step, SendConnect)]
    assert line.startswith(b"CONNECT ")
    assert line.endswith(b"\r\n")
    return dict(json.loads(line[8:]))


def up_of(steps: list[Step]) -> LinkUp:
    (up,) = [step for step in steps if isinstance(step, LinkUp)]
    return up


def test_the_captured_handshake() -> None:
    machine = solicitor()
    steps = says(machine, FIRST)
    assert steps[0] == Discovered(("127.0.0.1:20011",))
    assert connect_of(steps) == {
        "version": "2.15.1",
        "server_id": "NE",
        "name": "EDGE",
        "cluster": "EDGE",
        "headers": True,
        "compress_mode": "off",
        "remote_account": "$G",
        "protocol": 1,
    }
    assert isinstance(steps[-1], SendConnect)
    assert steps[-1].timeout_ns == 2_000_000_000
    assert machine.remote_name == "HUB"
    assert not machine.up
    up = up_of(says(machine, CONNECTED))
    assert (up.spoke, up.headers, up.peer_max_payload, up.origin) == (True, True, 1048576, "")
    assert up.crossing == ALL


def test_a_hub_without_connect_info_gets_its_link_at_once() -> None:
    steps = says(solicitor(), FIRST, info_on_connect=False)
    assert [type(step) for step in steps] == [Discovered, SendConnect, LinkUp]
    assert steps[1] == SendConnect(steps[1].data, 0)  # type: ignore[union-attr]


def test_another_info_before_the_connect_info_is_no_link() -> None:
    machine = solicitor()
    says(machine, FIRST)
    assert says(machine, CONNECTED, connect_info=False) == [Discovered(("127.0.0.1:20011",))]
    assert says(machine, CONNECTED) != []
    assert machine.up


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("nats-leaf://u:p@h", {"user": "u", "pass": "p"}),
        ("nats-leaf://t0ken@h", {"user": "t0ken", "auth_token": "t0ken"}),
        ("nats-leaf://h", {}),
    ],
)
def test_credentials(url: str, fields: dict[str, str]) -> None:
    connect = connect_of(says(solicitor(url), FIRST))
    assert {key: connect[key] for key in ("user", "pass", "auth_token") if key in connect} == fields


def test_wishes_of_the_configuration() -> None:
    machine = solicitor(
        hub=True, deny_imports=("no.>",), deny_exports=("out.>",), request_isolation=True, cluster=""
    )
    connect = connect_of(says(machine, FIRST))
    assert (connect["is_hub"], connect["deny_pub"], connect["isolate"]) == (True, ["no.>"], True)
    assert "cluster" not in connect
    up = up_of(says(machine, CONNECTED))
    assert not up.spoke
    assert "no.>" in up.crossing["pub_deny"]
    assert "out.>" in up.crossing["sub_deny"]


def test_permissions_of_the_hub() -> None:
    machine = solicitor(deny_exports=("up.no",))
    says(machine, FIRST)
    up = up_of(says(machine, CONNECTED, **{"import": {"allow": ["down.>"]}, "export": {"allow": ["up.>"]}}))
    assert (up.crossing["pub_allow"], up.crossing["sub_allow"]) == (("down.>",), ("up.>",))
    assert up.crossing["sub_deny"] == ("up.no",)


def test_headers_need_both_ends() -> None:
    machine = solicitor()
    says(machine, FIRST, headers=False)
    assert not up_of(says(machine, CONNECTED, headers=False)).headers


def test_the_hubs_cluster_is_the_origin() -> None:
    machine = solicitor()
    says(machine, FIRST, cluster="C")
    assert up_of(says(machine, CONNECTED, cluster="C")).origin == "C"


@pytest.mark.parametrize(
    ("changes", "reason", "on_the_wire"),
    [
        ({"client_id": 0}, Reason.WRONG_PORT, False),
        ({"leafnode_urls": None, "info_on_connect": False}, Reason.WRONG_PORT, False),
        ({"cluster": "a b"}, Reason.PROTOCOL_VIOLATION, True),
        ({"port": "4222"}, Reason.PARSE_ERROR, False),
    ],
)
def test_first_infos_that_lead_nowhere(changes: dict[str, Any], reason: Reason, on_the_wire: bool) -> None:
    (step,) = says(solicitor(), FIRST, **changes)
    assert isinstance(step, Close)
    assert (step.reason, step.wire) == (reason, on_the_wire)


def test_infos_that_do_not_come() -> None:
    machine = solicitor()
    silent = machine.on_timeout()
    assert not silent.wire
    says(machine, FIRST)
    stale = machine.on_timeout()
    assert (stale.text, stale.wire) == ("Stale Leaf Node Connection - Closing", True)


def test_later_infos_bring_addresses() -> None:
    machine = solicitor()
    says(machine, FIRST)
    says(machine, CONNECTED)
    later = {"leafnode_urls": ["10.0.0.1:7422", "10.0.0.2:7422"], "max_payload": 1048576}
    assert says(machine, later) == [Discovered(("10.0.0.1:7422", "10.0.0.2:7422"))]


@pytest.mark.parametrize(
    "change", [{"import": {"allow": ["a"]}}, {"export": {"deny": ["b"]}}, {"max_payload": 100}]
)
def test_a_later_info_that_changes_the_terms_ends_the_link(change: dict[str, Any]) -> None:
    machine = solicitor()
    says(machine, FIRST)
    says(machine, CONNECTED)
    (step,) = [step for step in says(machine, CONNECTED, **change) if not isinstance(step, Discovered)]
    assert isinstance(step, Close)
    assert not step.wire


def test_a_later_info_with_the_same_terms_changes_nothing() -> None:
    machine = solicitor()
    terms = {"import": {"allow": ["a"]}, "export": {"deny": ["b"]}}
    says(machine, FIRST)
    says(machine, CONNECTED, **terms)
    assert says(machine, {"leafnode_urls": []}, **terms) == []


@pytest.mark.parametrize(
    ("text", "delay_s", "ends"),
    [
        ("'Loop detected for leafnode account=\"$G\". Delaying attempt to reconnect for 30s'", 30, True),
        ("'remote leafnode has same cluster name'", 30, False),
        ("'connection rejected since minimum version required is \"2.10.0\"'", 5, False),
        ("'Authorization Violation'", 0, False),
        ("'Permissions Violation for Subscription to \"x\"'", 0, False),
    ],
)
def test_what_errors_mean(text: str, delay_s: int, ends: bool) -> None:
    assert on_err(text) == (delay_s * 1_000_000_000, ends)


SECOND = {**FIRST, "compression": "s2_fast"}


@pytest.mark.parametrize(
    ("own", "theirs", "told", "level"),
    [
        ("s2_auto", "s2_auto", "s2_auto", 2),
        ("s2_auto", "accept", "s2_auto", 2),
        ("s2_fast", "s2_best", "s2_fast", 1),
        ("accept", "s2_auto", "s2_fast", 1),
        ("accept", "s2_uncompressed", "s2_uncompressed", 0),
        ("s2_best", "s2_fast", "s2_best", 3),
    ],
)
def test_compression_that_is_agreed_on(own: str, theirs: str, told: str, level: int) -> None:
    """At 60 ms, s2_auto is better."""
    machine = Solicitor(
        msgspec.structs.replace(TERMS, compression=normal(own)),
        parse_url("nats-leaf://h"),
        rtt_ns=lambda: 60_000_000,
    )
    (step,) = says(machine, FIRST, compression=theirs)
    assert isinstance(step, Compress)
    assert json.loads(step.data.removeprefix(b"INFO ")) == {"client_id": 5, "compression": told}
    assert step.agreed.level == level
    steps = says(machine, SECOND)
    assert connect_of(steps)["compress_mode"] == LEVELS[level]
    assert not machine.up
    up_of(says(machine, CONNECTED))


@pytest.mark.parametrize(
    ("own", "theirs", "mode"),
    [
        ("off", "s2_auto", "off"),
        ("off", "", "not supported"),
        ("not_supported", "s2_auto", "not supported"),
        ("s2_auto", "", "not supported"),
        ("s2_auto", "off", "off"),
        ("accept", "accept", "off"),
    ],
)
def test_compression_that_is_not(own: str, theirs: str, mode: str) -> None:
    machine = solicitor(compression=normal(own))
    assert connect_of(says(machine, FIRST, compression=theirs))["compress_mode"] == mode


def test_a_mode_that_nobody_knows() -> None:
    (step,) = says(solicitor(compression=normal("accept")), FIRST, compression="lz4")
    assert step == Close(Reason.PROTOCOL_VIOLATION, 'unsupported route compression mode "lz4"', wire=True)
