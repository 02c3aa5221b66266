"""nats-server's ``feature_flags``: how its next versions will behave, for who wants it now.

A flag that is not known is no mistake, here and there: files are shared by versions.
"""

from collections.abc import Mapping

SCOPED_ACKS = "js_ack_fc_v2"  # replies of deliveries and of flow control name domain and account
CLUSTER_ONLY = {"js_raft_delete_range", "js_snapshot_sources"}


def told(flags: Mapping[str, bool]) -> list[str]:
    """What the log says of them at the start."""
    if not flags:
        return []
    known = [
        f"{name} ({'opt-in' if on else 'opt-out'})"
        for name, on in sorted(flags.items())
        if name == SCOPED_ACKS
    ]
    idle = sorted(CLUSTER_ONLY & set(flags))
    strange = sorted(set(flags) - {SCOPED_ACKS} - CLUSTER_ONLY)
    rows = (("Configured:", known), ("Without effect:", idle), ("Unsupported:", strange))
    return ["  Feature flags:"] + [f"    {title:<16}{', '.join(names)}" for title, names in rows if names]
