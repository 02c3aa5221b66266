"""What a server says of itself to the leafs that it accepts: INFO (wire 2.1)."""

from typing import TYPE_CHECKING

import msgspec

from phloem import __version__
from phloem.shared.wire.info import API_LEVEL, PROTOCOL_VERSION
from phloem.shared.wire.leaf import LEAF_PROTOCOL, Extras, LeafInfo, encode_leaf_info

if TYPE_CHECKING:
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.server import Server


def leaf_info(server: "Server", link: "Link") -> LeafInfo:
    """INFO for one leaf. Without a configured address leafs are told the one under which they reached us."""
    o = server.options
    host, port = o.leafnodes.host, server.leaf_port
    if o.leafnodes.advertise:
        name, _, number = o.leafnodes.advertise.rpartition(":")
        host, port = (name.strip("[]"), int(number)) if name else (number, port)
    elif host in ("", "0.0.0.0", "::"):
        host = link.reached
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return LeafInfo(
        server_id=server.server_id,
        server_name=server.name,
        version=PROTOCOL_VERSION,
        proto=LEAF_PROTOCOL,
        host=host,
        port=port,
        headers=not o.no_header_support,
        auth_required=True,
        tls_required=server.tls.leafs is not None,
        tls_verify=server.tls.leafs is not None and server.tls.leafs.verify,
        max_payload=o.max_payload,
        jetstream=server.jetstream is not None,
        domain=server.leafs.domain,
        ip=where,
        client_id=link.conn.cid,
        cluster=server.leafs.own_cluster,
        api_lvl=API_LEVEL,
        info_on_connect=True,
        leafnode_urls=() if o.leafnodes.no_advertise else (where,),
        phloem=Extras(version=__version__),
    )


def first_info(server: "Server", link: "Link", compression: str) -> bytes:
    """What comes before a leaf has logged in: with the nonce, and a mode of compression."""
    return encode_leaf_info(
        msgspec.structs.replace(leaf_info(server, link), nonce=link.nonce, compression=compression)
    )
