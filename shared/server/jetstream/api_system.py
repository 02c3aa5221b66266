"""What ``$JS.API`` answers in the system account of a server without a cluster (reference 1.1).

What only a cluster has (its leader, its members, streams on the move) stays silent, as nats-server leaves it.
"""

import logging
from typing import TYPE_CHECKING, Any

from phloem.shared.jetstream.errors import error

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.system import JetStream

log = logging.getLogger("phloem.jetstream")

TYPE = "io.nats.jetstream.api.v1."
PURGE = "ACCOUNT.PURGE."
SILENT = (
    "META.LEADER.STEPDOWN",
    "META.RESCUE",
    "SERVER.REMOVE",
    "SERVER.EVACUATE",
    "ACCOUNT.STREAM.MOVE.",
    "ACCOUNT.STREAM.CANCEL_MOVE.",
)


def system_answer(system: "JetStream", asked: str) -> dict[str, Any] | None:
    """``asked`` is what follows ``$JS.API.``; None: nothing is said."""
    if asked.startswith(SILENT):
        return None
    if asked.startswith(PURGE) and "." not in asked.removeprefix(PURGE):
        name = asked.removeprefix(PURGE)
        account = system.accounts.get(name)
        streams = list(account.streams.values()) if account is not None else []
        log.info("Purge request for account %s (streams: %d)", name, len(streams))
        for stream in streams:
            stream.delete()
        return {"type": f"{TYPE}account_purge_response", "initiated": True}
    kind = "account_info" if asked == "INFO" else "system"
    return {"type": f"{TYPE}{kind}_response", "error": error(10039).as_dict()}
