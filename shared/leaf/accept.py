"""The hub's side of a leaf link's handshake: CONNECT in, a verdict out. Pure (wire 2.3, 2.5, 2.11).

Credentials are checked before anything said in CONNECT is judged; the caller does that between ``decode`` and
``judge``. Every refusal has nats-server's text, because the peer acts on parts of it.
"""

import re
from typing import NamedTuple

from phloem.shared.kernel.reasons import Reason
from phloem.shared.wire.leaf import LeafConnect

SAME_CLUSTER_NAME = "remote leafnode has same cluster name"
MIN_VERSION = "connection rejected since minimum version required is"
DUPLICATE = "Duplicate Remote LeafNode Connection"
RESERVED_CLUSTER = "_"

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class Refusal(NamedTuple):
    """Why a CONNECT is not accepted; ``info_first``: the peer wants a connect INFO before it understands."""

    reason: Reason
    text: str
    info_first: bool = False


class LinkKey(NamedTuple):
    """What makes two accepted links the same one (wire 2.5): the newer takes the older one's place."""

    name: str
    cluster: str
    account: str
    remote_account: str


def judge(connect: LeafConnect, *, own_cluster: str, min_version: str) -> Refusal | None:
    """Whether a peer with these words may link; ``None``: it may.

    Args:
        connect: What the peer says of itself.
        own_cluster: This server's cluster name, empty for none.
        min_version: ``leafnodes.min_version``, empty for none.
    """
    if connect.lang:
        return Refusal(Reason.WRONG_PORT, "attempted to connect to leaf node port")
    if " " in connect.cluster:
        return Refusal(Reason.PROTOCOL_VIOLATION, "cluster name cannot contain spaces")
    if connect.cluster == RESERVED_CLUSTER:
        return Refusal(Reason.PROTOCOL_VIOLATION, "cluster name is reserved")
    if connect.cluster and connect.cluster == own_cluster:
        return Refusal(Reason.CLUSTER_NAMES_IDENTICAL, SAME_CLUSTER_NAME)
    if connect.gateway:
        text = f'Rejecting connection from gateway "{connect.gateway}" on the leafnode port'
        return Refusal(Reason.WRONG_PORT, text)
    if min_version and not at_least(connect.version, min_version):
        return Refusal(Reason.MINIMUM_VERSION_REQUIRED, f'{MIN_VERSION} "{min_version}"', info_first=True)
    return None


def link_key(connect: LeafConnect, account: str) -> LinkKey | None:
    """What to look for among the links there are; ``None`` for a peer that cannot be told from others."""
    if not connect.name or not connect.remote_account:
        return None
    return LinkKey(connect.name, connect.cluster, account, connect.remote_account)


def at_least(version: str, least: str) -> bool:
    """Whether ``version`` is as new as ``least``; what is no version is older than everything."""
    ours, theirs = _VERSION.match(least), _VERSION.match(version)
    if theirs is None or ours is None:
        return False
    return tuple(map(int, theirs.groups())) >= tuple(map(int, ours.groups()))


def loop_text(account: str, delay_ns: int) -> str:
    """What both ends say of a loop; peers look for ``Loop detected`` in it."""
    return (
        f'Loop detected for leafnode account="{account}". '
        f"Delaying attempt to reconnect for {delay_ns // 1_000_000_000}s"
    )
