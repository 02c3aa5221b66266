"""The hub's verdict on a CONNECT (wire 2.5, 2.10, 2.11)."""

import pytest

from phloem.shared.kernel import Reason
from phloem.shared.leaf.accept import LinkKey, at_least, judge, link_key, loop_text
from phloem.shared.wire.leaf import LeafConnect

ORDINARY = LeafConnect(
    version="2.15.1", name="LEAF", cluster="LEAF", headers=True, remote_account="$G", protocol=3
)


def test_accepted() -> None:
    assert judge(ORDINARY, own_cluster="HUB", min_version="2.8.0") is None
    assert judge(LeafConnect(), own_cluster="HUB", min_version="") is None


@pytest.mark.parametrize(
    ("connect", "reason", "text"),
    [
        (LeafConnect(lang="go"), Reason.WRONG_PORT, "attempted to connect to leaf node port"),
        (LeafConnect(cluster="a b"), Reason.PROTOCOL_VIOLATION, "cluster name cannot contain spaces"),
        (LeafConnect(cluster="_"), Reason.PROTOCOL_VIOLATION, "cluster name is reserved"),
        (LeafConnect(cluster="HUB"), Reason.CLUSTER_NAMES_IDENTICAL, "remote leafnode has same cluster name"),
        (
            LeafConnect(gateway="A"),
            Reason.WRONG_PORT,
            'Rejecting connection from gateway "A" on the leafnode port',
        ),
    ],
)
def test_refused(connect: LeafConnect, reason: Reason, text: str) -> None:
    refusal = judge(connect, own_cluster="HUB", min_version="")
    assert refusal is not None
    assert (refusal.reason, refusal.text, refusal.info_first) == (reason, text, False)


def test_too_old_is_told_after_a_connect_info() -> None:
    refusal = judge(LeafConnect(version="2.9.9"), own_cluster="", min_version="2.10.0")
    assert refusal is not None
    assert refusal.text == 'connection rejected since minimum version required is "2.10.0"'
    assert (refusal.reason, refusal.info_first) == (Reason.MINIMUM_VERSION_REQUIRED, True)


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("2.10.0", True),
        ("2.10.1", True),
        ("3.0.0", True),
        ("v2.10.0", True),
        ("2.10.0-beta", True),
        ("2.9.22", False),
        ("2.10", False),
        ("new", False),
        ("", False),
    ],
)
def test_versions(version: str, enough: bool) -> None:
    assert at_least(version, "2.10.0") is enough


def test_who_is_the_same_peer() -> None:
    assert link_key(ORDINARY, "A") == LinkKey("LEAF", "LEAF", "A", "$G")
    assert link_key(ORDINARY, "A") != link_key(ORDINARY, "B")
    assert link_key(LeafConnect(name="LEAF"), "A") is None
    assert link_key(LeafConnect(remote_account="$G"), "A") is None


def test_loop_text() -> None:
    want = 'Loop detected for leafnode account="$G". Delaying attempt to reconnect for 30s'
    assert loop_text("$G", 30_000_000_000) == want
