"""What the ends of a leaf link say about themselves: the hub's INFO and the leaf's CONNECT (wire 2.2, 2.3).

Field order is nats-server's. What has its default is left out when encoding, except where the peer insists:
``leafnode_urls`` is an array even when empty: leafs older than 2.15 take its absence for another port.
"""

from typing import Annotated

import msgspec

from phloem.shared.wire.go_json import decode
from phloem.shared.wire.info import encode_info

# What this end understands of the leaf protocol; 3 would invite messages that ask to be traced.
LEAF_PROTOCOL = 1

_Int32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class SubjectRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """Allow and deny lists of one direction; ``allow`` of ``None`` is everything."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] | None = None


class Extras(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What the two ends tell each other if they are phloem: the key ``phloem`` of INFO and CONNECT. nats-server skips
    what it does not know, and so does phloem: newer versions may say more."""

    version: str = ""
    ping_interval_ns: _Unsigned = 0  # of whoever says it: the peer asks later, and so is asked first
    metered: bool = False  # an idle connection is not probed, from neither end


class LeafInfo(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """INFO on a leaf link: the hub's first, the answer to CONNECT (``connect_info``), later changes."""

    server_id: str = ""
    server_name: str = ""
    version: str = ""
    proto: int = 0
    go: str = ""
    host: str = ""
    port: int = 0
    headers: bool = False
    auth_required: bool = False
    tls_required: bool = False
    tls_verify: bool = False
    max_payload: _Int32 = 0
    jetstream: bool = False
    ip: str = ""
    client_id: _Unsigned = 0
    nonce: str = ""
    cluster: str = ""
    domain: str = ""
    compression: str = ""
    connect_info: bool = False
    remote_account: str = ""
    acc_is_sys: bool = False
    api_lvl: int = 0
    info_on_connect: bool = False
    # From the leaf's point of view: what it may receive, and what it may send.
    import_: SubjectRules | None = msgspec.field(default=None, name="import")
    export: SubjectRules | None = None
    leafnode_urls: tuple[str, ...] | None = None
    phloem: Extras | None = None


class LeafConnect(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """CONNECT from the side that dialled."""

    version: str = ""
    nkey: str = ""
    jwt: str = ""
    sig: str = ""
    proxy_sig: str = ""
    user: str = ""
    password: str = msgspec.field(default="", name="pass")
    auth_token: str = ""
    server_id: str = ""
    domain: str = ""
    name: str = ""
    is_hub: bool = False
    cluster: str = ""
    headers: bool = False
    jetstream: bool = False
    deny_pub: tuple[str, ...] = ()  # what the dialling side does not want to be sent
    isolate: bool = False
    compress_mode: str = ""
    gateway: str = ""  # only a gateway on the wrong port sends it
    lang: str = ""  # only a client on the wrong port sends it
    account: str = ""  # nobody may choose an account this way
    remote_account: str = ""
    protocol: int = 0
    phloem: Extras | None = None


def decode_leaf_info(body: bytes) -> LeafInfo:
    """The argument of INFO.

    Raises:
        MalformedJSON: To be answered by closing without a word.
    """
    return decode(body, LeafInfo)


def decode_leaf_connect(body: bytes) -> LeafConnect:
    """The argument of CONNECT.

    Raises:
        MalformedJSON: To be answered by closing without a word.
    """
    return decode(body, LeafConnect)


def encode_leaf_info(info: LeafInfo) -> bytes:
    """The protocol line of an INFO."""
    return encode_info(info)


def encode_leaf_connect(connect: LeafConnect) -> bytes:
    """The protocol line of a CONNECT; unlike INFO it has no blank before CR LF."""
    return b"CONNECT " + msgspec.json.encode(connect) + b"\r\n"
