"""What an edge starts with where its user says nothing: bounds for a device with 512 MB and other programs."""

import msgspec

from phloem.edge.forward.settings import fenced
from phloem.edge.twin.prepare import with_twin
from phloem.shared import limits
from phloem.shared.server.options import Options
from phloem.shared.server.profile import Default, apply

PLAN_BYTES = 4 << 20  # of one account: some 8,000 subjects in use, where a hub sees a whole fleet's

DEFAULTS = (
    Default("max_connections", 1024, "1024", "The programs of one device; a leak in one of them ends here."),
    Default(
        "max_pending",
        8 << 20,
        "8MB",
        "What one slow subscriber or a stalled link may hold before it is cut off; 64MB would be an eighth "
        "of the memory. At least max_payload.",
    ),
    Default("max_closed_clients", 100, "100", "/connz is read by a person here; 10,000 would be several MB."),
)
PAUSES = Default(
    "reconnect_max",
    limits.LINK_EDGE_RECONNECT_MAX_NS,
    "10s",
    "In phloem { link }: pauses grow to an eighth of the time that the hub is away, so that a fleet does not fall "
    "upon a hub that was restarted.",
)


def for_device(options: Options) -> Options:
    """``options`` with the defaults of an edge, and what its twin needs. Doing it twice is harmless.

    Raises:
        ConfigError: A twin cannot be kept.
    """
    return fenced(with_twin(_small(options)))


def _small(options: Options) -> Options:
    small = _patient(apply(options, DEFAULTS))
    if "max_pending" in options.explicit or small.max_payload <= small.max_pending:
        return small
    # Only a large max_payload was asked for; our own bound must not be what stands in its way.
    return msgspec.structs.replace(small, max_pending=small.max_payload)


def _patient(options: Options) -> Options:
    """Pauses that grow, unless the file says how far."""
    link = options.phloem.link
    if link.reconnect_max_ns:
        return options
    link = msgspec.structs.replace(link, reconnect_max_ns=int(PAUSES.value))
    return msgspec.structs.replace(options, phloem=msgspec.structs.replace(options.phloem, link=link))
