"""Options of JetStream: of the server, and of an account. Declared as in ``options.py``."""

from typing import Annotated

import msgspec

from phloem.shared.server.declare import Duration, Kind, Opt, Size

HIDDEN = "[REDACTED]"
SINGLE_TIER = "R1"  # what limits by replicas call one copy


class BatchLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of batches; 0 for the default."""

    max_inflight_per_stream: Annotated[
        int, Opt("Open batches of one stream; by default 50 atomic ones, 1000 fast ones.")
    ] = 0
    max_inflight_total: Annotated[
        int, Opt("Open batches of the server; by default 1000 atomic ones, 50000 fast ones.")
    ] = 0
    max_msgs: Annotated[int, Opt("Messages of an atomic batch; by default 1000.")] = 0
    timeout_ns: Annotated[
        Duration, Opt("A batch is over when nothing has come for so long; by default 10s.", example='"10s"')
    ] = 0


class JetStreamLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds for everybody."""

    max_ack_pending: Annotated[int, Opt("Most that a consumer may ask for; 0 for no bound.")] = 0
    max_request_batch: Annotated[int, Opt("Most messages of one pull request; 0 for no bound.")] = 0
    duplicate_window_ns: Annotated[
        Duration, Opt("Longest duplicate window; 0 for no bound.", example='"5m"')
    ] = 0
    max_ha_assets: Annotated[
        int, Opt("Most streams and consumers with replicas; a server without a cluster has none.")
    ] = 0
    batch: Annotated[BatchLimits, Opt("Bounds of batches.")] = BatchLimits()


class JetStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Streams and consumers kept by this server. A block, or ``true``."""

    enabled: Annotated[bool, Opt("Keep streams.", aliases="enable")] = True
    disabled: Annotated[bool, Opt("Do not.", aliases="disable")] = False
    store_dir: Annotated[
        str,
        Opt(
            "Folder for everything that is stored; phloem uses jetstream/phloem inside it.",
            aliases="store storedir",
            flags="sd store_dir",
            example='"/var/lib/phloem"',
            value="dir",
        ),
    ] = ""
    max_memory_store: Annotated[
        Size,
        Opt(
            "Bytes of memory for streams; -1 for three quarters of the machine's, and at most a third of what "
            "systemd or a container lets the server use. May grow.",
            aliases="max_mem max_mem_store",
            reload=True,
        ),
    ] = -1
    max_file_store: Annotated[
        Size,
        Opt(
            "Bytes on disk for streams; -1 for three quarters of what is free. May grow.",
            aliases="max_file",
            reload=True,
        ),
    ] = -1
    domain: Annotated[str, Opt("Name of this JetStream across leaf links.", example="edge-1")] = ""
    sync_interval_ns: Annotated[
        int,
        Kind.SYNC,
        Opt(
            "always: acknowledged is on the disk; an interval: as much may be lost with the power.",
            aliases="sync",
            example='"2s"',
        ),
    ] = 0
    strict: Annotated[bool, Opt("Refuse requests with unknown fields.")] = True
    key: Annotated[
        str,
        Opt(
            "Encrypts what is stored. A long random text, best as `$NAME` from the environment or in a file: "
            "`phloem { store_key_file }`.",
            aliases="ek encryption_key",
            example='"a long random text"',
        ),
    ] = ""
    prev_key: Annotated[
        str,
        Opt(
            "The key before this one, until the server has started once.",
            aliases="prev_ek prev_encryption_key",
        ),
    ] = ""
    cipher: Annotated[
        str,
        Kind.CIPHER,
        Opt("ChaCha20-Poly1305, or AES-256-GCM for processors with instructions for it."),
    ] = "chacha"
    limits: Annotated[JetStreamLimits, Opt("Bounds for everybody.", reload=True)] = JetStreamLimits()

    @property
    def on(self) -> bool:
        """Whether streams are kept."""
        return self.enabled and not self.disabled

    def __repr__(self) -> str:
        """Without keys: it is logged when it changes."""
        shown = msgspec.structs.replace(self, key=self.key and HIDDEN, prev_key=self.prev_key and HIDDEN)
        return super(JetStream, shown).__repr__()


class AccountJetStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an account may keep: ``enabled``, or a block of limits; -1 is no limit."""

    enabled: Annotated[bool, Opt("Keep streams for this account.", aliases="enable")] = True
    disabled: Annotated[bool, Opt("Do not.", aliases="disable")] = False
    max_memory: Annotated[Size, Opt("Bytes of memory.", aliases="max_mem mem memory")] = -1
    max_store: Annotated[Size, Opt("Bytes on disk.", aliases="max_file max_disk store disk")] = -1
    max_streams: Annotated[int, Opt("Streams.", aliases="streams")] = -1
    max_consumers: Annotated[int, Opt("Consumers of one stream.", aliases="consumers")] = -1
    max_bytes_required: Annotated[
        bool, Opt("Streams have to say max_bytes.", aliases="max_stream_bytes max_bytes")
    ] = False
    memory_max_stream_bytes: Annotated[
        Size, Opt("Bytes of one memory stream.", aliases="mem_max_stream_bytes")
    ] = -1
    disk_max_stream_bytes: Annotated[
        Size, Opt("Bytes of one file stream.", aliases="store_max_stream_bytes")
    ] = -1
    max_ack_pending: Annotated[int, Opt("Most that a consumer may ask for.")] = -1
    tiers: dict[
        str, "AccountJetStream"
    ] = {}  # a JWT's limits by replicas, if it has such; those of R1 are these here

    @property
    def on(self) -> bool:
        """Whether the account has JetStream."""
        return self.enabled and not self.disabled
