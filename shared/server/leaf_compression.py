"""Compression of links, carried out: what both ends agree on (``shared/leaf/compression.py``) is told the kernel."""

from typing import TYPE_CHECKING

from phloem.shared.errors import LinkError, MalformedJSON
from phloem.shared.kernel import Reason
from phloem.shared.leaf.compression import Agreed, Compression, agree, changed
from phloem.shared.server.leaf_greeting import first_info
from phloem.shared.wire.leaf import decode_leaf_info

if TYPE_CHECKING:
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.server import Server


def compress(link: "Link", agreed: Agreed, last_words: bytes = b"") -> None:
    """Both ends speak S2 from now on, behind these bytes."""
    assert agreed.level is not None
    link.agreed = agreed
    link.conn.send(last_words)
    link.conn.compress(agreed.level, agreed.thresholds_ns)


def recompress(link: "Link", new: Compression) -> None:
    """Another mode (reload): a level changes in place, what has to be agreed on is when the link is made again."""
    change = changed(link.compression, new, link.rtt_ns)
    if change.relink:
        link.conn.close(Reason.CLIENT_CLOSED)
    elif change.level is not None:
        link.conn.compress(change.level, change.thresholds_ns)


def answer(server: "Server", link: "Link", body: bytes) -> None:
    """INFO of a leaf before its CONNECT: its mode, after which it waits for ours."""
    try:
        theirs = decode_leaf_info(body).compression
        agreed = agree(server.options.leafnodes.compression, theirs, server.leafs.since_start_ns(link))
    except MalformedJSON:
        link.conn.close(Reason.PARSE_ERROR)
    except LinkError as error:
        link.conn.close(Reason.PROTOCOL_VIOLATION, str(error).encode())
    else:
        if agreed.level is None:
            link.agreed = agreed
        else:
            compress(link, agreed)
            link.conn.send(first_info(server, link, agreed.told))
