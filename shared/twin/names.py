"""Names of a twin: two buckets on the device, two at the hub that hold those of all devices.

    hub      twin_desired   <device>.<key>   written at the hub, copied to the device's desired   <key>
    device   reported       <key>            written on the device, copied to the hub's twin_reported   <device>.<key>

A command is a key ``command.<id>`` of ``desired``, and what has become of it the same key of ``reported``. The key
``config`` is a configuration, and what has become of that.
"""

from typing import Any

DESIRED, REPORTED = "desired", "reported"
HUB_DESIRED, HUB_REPORTED = "twin_desired", "twin_reported"
COMMAND, CONFIG = "command", "config"
LOCAL = "cmd"  # requests to handlers: cmd.<name>; crosses no link

OPERATION = b"KV-Operation"
DELETE, PURGE = b"DEL", b"PURGE"
PLACE = b"Phloem-Twin-Place"  # of a copy on the device: sequence and time at the hub

DAY_NS = 24 * 3600 * 1_000_000_000
# An acknowledgement that was lost with the link is recognised for as long as this.
DUPLICATES_NS = DAY_NS
DUPLICATES_LOCAL_NS = 120 * 1_000_000_000
VALUE_BYTES = 1 << 19  # of one key; twins are read whole when a link comes back


def stream_of(bucket: str) -> str:
    """The stream of a bucket."""
    return f"KV_{bucket}"


def prefix_of(bucket: str) -> str:
    """Subjects of a bucket's keys begin so."""
    return f"$KV.{bucket}."


def command_id(key: str) -> str:
    """The id in a key ``command.<id>``; empty for any other key."""
    word, _, ident = key.partition(".")
    return ident if word == COMMAND else ""


def bucket_config(bucket: str, *, owned: bool, shared: bool = False, replicas: int = 1) -> dict[str, Any]:
    """The configuration of a bucket's stream.

    ``owned``: clients write to it; else it has no subjects, and is a copy. ``shared``: devices write to it side by
    side. One value that is published with ``Nats-Rollup: all`` empties a whole bucket, so a shared one does not do
    that; keys are deleted there, not purged, which with a history of one comes to the same.
    """
    return {
        "name": stream_of(bucket),
        "description": "twin",
        "subjects": [prefix_of(bucket) + ">"] if owned else [],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_msg_size": VALUE_BYTES,
        "max_bytes": -1,
        "max_msgs": -1,
        "max_age": 0,
        "max_consumers": -1,
        "num_replicas": replicas,
        "allow_direct": True,
        "allow_rollup_hdrs": not shared,
        "deny_delete": True,
        "duplicate_window": DUPLICATES_NS if shared else DUPLICATES_LOCAL_NS,
    }
