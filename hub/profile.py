"""What a hub starts with where its user says nothing: a listener for leafnodes, and room for a fleet."""

import msgspec

from phloem.shared.limits import SECOND_NS
from phloem.shared.server.options import Options
from phloem.shared.server.profile import Default, apply

LEAF_PORT = 7422  # by custom; what the documentation of NATS uses
PLAN_BYTES = 192 << 20  # of one account: some 400,000 subjects in use, such as 40 of each of 10,000 edges

DEFAULTS = (
    Default(
        "max_pending",
        256 << 20,
        "256MB",
        "One subscriber may see the whole fleet: after a cut thousands of edges send at once.",
    ),
    Default(
        "write_deadline_ns",
        30 * SECOND_NS,
        "30s",
        "Radio links stand still for longer than 10s; cutting one loses what it would have carried.",
    ),
)
LISTENER = Default(
    "leafnodes.port", LEAF_PORT, str(LEAF_PORT), "A hub is there to be linked to; -1 for any port."
)


def for_fleet(options: Options) -> Options:
    """``options`` with the defaults of a hub."""
    large, leafnodes = apply(options, DEFAULTS), options.leafnodes
    if leafnodes.port:
        return large
    return msgspec.structs.replace(large, leafnodes=msgspec.structs.replace(leafnodes, port=LEAF_PORT))
