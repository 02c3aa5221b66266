"""Every bound of the system with its reason. What nats-server also bounds has nats-server's default.

Sizes are bytes, times are nanoseconds (``_ns``), everything else is a count.
"""

SECOND_NS = 1_000_000_000

# --- client protocol (nats-server's defaults) -------------------------------------------------
MAX_CONTROL_LINE = 4096  # arguments of one operation, without the verb
MAX_CONTROL_LINE_MOST = 65_000  # lengths of subjects in the kernel are 16 bits wide
MAX_CONTROL_LINE_CEILING = 65_000  # lengths inside the sublist are 16 bits wide
MAX_PAYLOAD = 1 << 20
MAX_PAYLOAD_WARN = 8 << 20  # above this the server warns at start
MAX_PENDING = 64 << 20  # bytes waiting for one client before it is cut off
MAX_CONNECTIONS = 65536
MAX_CLOSED_CLIENTS = 10_000  # ring of closed connections kept for /connz
PLAN_BYTES = 48 << 20  # of one account: who gets what, by subject; about 100,000 subjects that are in use

PING_INTERVAL_NS = 120 * SECOND_NS
PING_MAX = 2  # unanswered PINGs before a connection is stale
FIRST_PING_CLIENT_NS = 2 * SECOND_NS  # measures the round trip soon after CONNECT
FIRST_PING_LEAF_NS = 1 * SECOND_NS
WRITE_DEADLINE_NS = 10 * SECOND_NS
AUTH_TIMEOUT_NS = 2 * SECOND_NS
TLS_TIMEOUT_NS = 2 * SECOND_NS
TLS_FIRST_FALLBACK_NS = 50 * SECOND_NS // 1000  # as nats-server: what "auto" waits for a ClientHello
TLS_HANDSHAKES = 2048  # under way on one listener; each may cost some 60 KB until it is over
RESOLVER_INTERVAL_NS = 60 * SECOND_NS  # between comparing stored JWTs with other servers
RESOLVER_TIMEOUT_NS = 1900 * SECOND_NS // 1000  # below AUTH_TIMEOUT_NS, so that a client still hears of it

LINGER_NS = 50_000  # an answer on the same machine takes about this long

LAME_DUCK_DURATION_NS = 120 * SECOND_NS
LAME_DUCK_DURATION_MIN_NS = 30 * SECOND_NS
LAME_DUCK_GRACE_NS = 10 * SECOND_NS

ALLOW_RESPONSES_MAX = 1  # replies a responder may send to one request
ALLOW_RESPONSES_TTL_NS = 120 * SECOND_NS

# --- JetStream ------------------------------------------------------------------------------------
CLOCK_STEP_NS = 60 * SECOND_NS  # further forward at once, and the clock was set: see steady_date.py
CLOCK_HOLD_NS = 600 * SECOND_NS  # how long a clock has to stay there before messages are old because of it
CLOCK_AWAY_NS = 90 * 86_400 * SECOND_NS  # a clock that has gone further since the last run may be wrong
CLOCK_AWAY_HOLD_NS = 86_400 * SECOND_NS  # how long it then has to stay there
CLOCK_ERA_NS = SECOND_NS // 20  # a clock that is set by less is one that was read slowly
CLOCK_LATEST_NS = 1 << 62  # 2116: a device, or its hub, that says otherwise is not believed
CLOCK_EARLIEST_NS = (
    1_577_836_800 * SECOND_NS
)  # 2020: nothing of this was running before, so the clock is wrong
ERA_LOOK_BACK = 10_000  # sequences in which a message is looked for, to see when an era ended
SYNC_INTERVAL_NS = 2 * SECOND_NS  # of streams that are acknowledged before they are synced
GENERATION_BYTES = (
    16 << 20
)  # of the journal before it is moved to LMDB; as much is in memory and read back at a start
GENERATION_BYTES_EDGE = (
    2 << 20
)  # of a device: it is in memory up to twice, and 4 % more is written than with 4 MB
INTAKE_MESSAGES = (
    512  # taken by a mirror or source in one go, a few milliseconds; then clients have their turn
)
DRAW_MESSAGES = 4096  # the same where the engine copies them
INTAKE_BYTES = 4 << 20  # the same for large messages
INTAKE_PENDING_BYTES = 8 << 20  # not yet on the disk: mirrors and sources wait for it
BATCH_MESSAGES = 1000  # of an atomic batch, here and below as in nats-server
BATCHES_PER_STREAM = 50
BATCHES = 1000
BATCH_BYTES = 64 << 20  # of all open batches: they wait in memory for their commit
BATCH_IDLE_NS = 10 * SECOND_NS
GROUP_MESSAGES = 2000  # of one group: a bridge sends up to 511 and a frame; max_payload bounds its bytes
# Of a stream, whose last messages are remembered: boards that come and go fill no memory.
GROUP_PATTERNS = 1024
GROUP_SUBJECTS = 16_384  # of a stream, that were looked at and are right
GROUP_SUBJECT_BYTES = 256  # longer ones are looked at each time
FAST_BATCHES_PER_STREAM = 1000
FAST_BATCHES = 50_000
SCHEDULE_LOOK_NS = 60 * SECOND_NS  # a timer for a message that is due later looks at the clock again
HEADER_BLOCK = 65535  # of a stored message; its length is 16 bits wide

ARCHIVE_DOCUMENT = (
    16 << 20
)  # a consumer in a snapshot: its configuration and 100,000 outstanding messages are 8 MB
SNAPSHOT_CHUNK = 128 << 10  # one message of a snapshot (nats-server's numbers)
SNAPSHOT_CHUNK_MIN, SNAPSHOT_CHUNK_MAX = 1 << 10, 1 << 20
SNAPSHOT_WINDOW = 8 << 20  # of a snapshot on its way and not acknowledged
SNAPSHOT_WINDOW_MAX = 32 << 20
SNAPSHOT_INTEREST_NS = 2 * SECOND_NS  # how long a snapshot waits for somebody who listens
SNAPSHOT_STALL_NS = 5 * SECOND_NS  # without an acknowledgement, or without a chunk of a restore
SNAPSHOTS_MAX = 32  # snapshots and restores of a server at one time; each keeps about half a megabyte
SNAPSHOT_PIECE = 1 << 18  # plain bytes packed at once
SNAPSHOT_TURN = 1 << 20  # plain bytes packed or unpacked before others have their turn
RESTORE_WAITING = 32 << 20  # chunks of a restore that wait to be unpacked; clients keep far less on the way

ORIGIN_ANSWER_NS = 5 * SECOND_NS  # until an origin that does not answer is asked again
ORIGIN_SILENCE_NS = 10 * SECOND_NS  # without a message or one of the heartbeats, which come every second
ORIGIN_EARLY_MAX = 10_000  # messages that overtake the answer; what is more is asked for again
ORIGIN_RETRY_NS = (
    2 * SECOND_NS
)  # from one question to the next; to the next look whether somebody could answer
ORIGIN_LOOK_NS = SECOND_NS // 10  # the same when a link has come up, whose interest is on its way
ORIGIN_LOOKS = 50
ORIGIN_SIGN_NS = (
    5 * SECOND_NS // 2
)  # silence behind a link that has come up: its other end may have been another
ORIGIN_RETRY_MAX_NS = 30 * SECOND_NS  # more than that after many failures

JETSTREAM_DOMAIN = 255  # bytes, as names of streams: it is in subjects of acknowledgements
METRICS_NAMED = 1000  # streams, and consumers, that have series of their own in /metrics; sums hold for all

# --- the system account (nats-server's numbers, but for the last two) -----------------------------
STATSZ_FIRST_NS = SECOND_NS // 4  # the pause doubles until it is the next one
STATSZ_EVERY_NS = 10 * SECOND_NS
ACCOUNT_HEARTBEAT_NS = 30 * SECOND_NS  # the number of an account's connections without any change
ACCOUNT_PACED_FROM = 100  # connections: working out an account's figures takes time for each of them, so
ACCOUNT_PACE_NS = (
    40_000  # for each, several times what it costs, lies between two messages about their number
)

# --- leaf links ---------------------------------------------------------------------------------
LEAF_RECONNECT_NS = 1 * SECOND_NS
LEAF_DIAL_TIMEOUT_NS = 1 * SECOND_NS
LEAF_FIRST_INFO_TIMEOUT_NS = 1 * SECOND_NS
LEAF_CONNECT_INFO_TIMEOUT_NS = 2 * SECOND_NS
LEAF_COMPRESS_MODE_MAX = 32  # characters of what a leaf calls its compression; monitoring shows it
LEAF_LOOP_DELAY_NS = 30 * SECOND_NS  # after "Loop detected" and after a name conflict
LEAF_MIN_VERSION_DELAY_NS = 5 * SECOND_NS
LINK_STEADY_NS = 10 * SECOND_NS  # a link that was up for less has not been well, and pauses go on growing
LINK_TIMEOUT_MAX_NS = 10 * SECOND_NS  # dial, TLS and INFO: what a geostationary link under load needs, twice
LINK_DEAD_AFTER_NS = 10 * SECOND_NS
LINK_DEAD_AFTER_LEAST_NS = 2 * SECOND_NS  # the system probes once a second at most
LINK_GUARD_NS = 60 * SECOND_NS  # an attempt that none of its own times has ended; a bug, then
LINK_OVERDUE_NS = (
    60 * SECOND_NS
)  # behind its own time, a link does not move any more: the loop may be late, not so late
LINK_IDLE_PING_NS = 15 * 60 * SECOND_NS  # metered: 16 KB a day in all, and within what NATs of carriers keep
LINK_EDGE_RECONNECT_MAX_NS = 10 * SECOND_NS
LINK_PING_MOST_NS = 24 * 3600 * SECOND_NS  # what a peer may ask for
LINK_BUG_PAUSE_NS = SECOND_NS  # after a bug in an attempt, which may come back in the next
LINK_HURRY_NS = SECOND_NS // 4  # an address is there a moment before it can be used
LINK_NETWORK_SETTLES_NS = SECOND_NS  # changes come in swarms
LINK_SAVE_NS = 60 * SECOND_NS  # counters of a metered link are written no more often than this
LINK_SAVE_IDLE_NS = 3600 * SECOND_NS  # and this seldom where next to nothing has gone over it
LINK_SAVE_BYTES = 64 << 10

# --- keys and claims (nats-server's numbers, but for the first) --------------------------------------
NKEY_TEXT = 128  # characters of a key as text; the longest kind, a private key, has 108
JWT_BYTES = 1 << 20  # of a token, looked at before anything is decoded
JWT_INFO_BYTES = 8 << 10  # of an account's description or info_url
JWT_QUOTED = 256  # characters of a peer's text in the text of an error
TEMPLATE_SUBJECTS = 4096  # that the templates of one list of a scoped signing key may become
NONCE_BYTES = 11  # 15 characters
LOGIN_SLACK_NS = (
    15 * SECOND_NS
)  # a login that waits for others is over at the latest so long after its own time
REFUSAL_STEP_NS = (
    10_000_000  # who is refused hears of it a multiple after his CONNECT: many times what deciding takes
)
ACCOUNT_FETCHES = 64  # accounts that are asked for at the same time; peers choose which, so more have to wait
ACCOUNT_FETCH_TIMEOUT_NS = 1_900_000_000
ACCOUNT_REFRESH_NS = 1 * SECOND_NS  # an account that has expired is asked for again at most so often
SHARED_PERMISSIONS = 256  # sets of rules that are kept compiled because others may have the same
CREDENTIALS_BYTES = (1 << 20) + (64 << 10)  # of a creds file: a token of any size and what is around it

# --- connections that fail again and again ------------------------------------------------------
CONNECT_ERROR_REPORTS = 3600  # every n-th failure of a link that never came up is logged as an error
RECONNECT_ERROR_REPORTS = 1  # the same once it has been up

# --- configuration files ------------------------------------------------------------------------
CONFIG_FILE_BYTES = 16 << 20  # of one file; more is a mistake, not a configuration
CONFIG_NESTING = 64  # maps and arrays inside one another; the parser recurses
CONFIG_INCLUDES = 16  # includes inside one another: a file that includes itself ends here
CONFIG_VARIABLES = 16  # environment variables that name one another
AUTH_TIMEOUT_WARN_NS = 60 * SECOND_NS  # above this the unit was probably mistaken

# --- serial devices -----------------------------------------------------------------------------
SERIAL_BAUD = 115_200
SERIAL_FRAME = 4096  # the longest line of NMEA is 82 bytes, of JSON sensors a few hundred
SERIAL_FRAME_MAX = 64 << 10  # a "frame" that long is a wrong baud rate or the wrong framing
SERIAL_RETRY_MIN_NS = SECOND_NS // 5  # a USB device needs about this long to appear again
SERIAL_RETRY_MAX_NS = 5 * SECOND_NS  # how long somebody who plugs a device in has to wait at worst
SERIAL_REQUEST_TIMEOUT_NS = SECOND_NS  # nats request waits for 5 s, most clients for 2 s
SERIAL_CAPTURE = 16 << 10  # 1.4 s of a busy 115,200 baud line, some minutes of a sensor's
SERIAL_CAPTURE_MAX = 192 << 10  # as text, four times as much, it is still one message

# --- MQTT brokers ---------------------------------------------------------------------------------
MQTT_KEEPALIVE_NS = 60 * SECOND_NS
MQTT_SESSION_EXPIRY_NS = 7 * 86_400 * SECOND_NS  # a device that is repaired within a week has lost nothing
MQTT_RETRY_MIN_NS = SECOND_NS // 2  # a broker on the same device is restarted in about this time
MQTT_RETRY_MAX_NS = 30 * SECOND_NS
MQTT_BROKERS = 16  # of one device: each costs a connection and its windows

# --- check and repair of a store ----------------------------------------------------------------
SEQUENCE_MAX = 1 << 61  # of what is asked for; the store itself goes to 2^62 - 1 (store/types.pxd)
STORE_FINDINGS_MAX = 10_000  # listed one by one; more are counted: nobody reads that many
STORE_JOURNAL_BYTES_MAX = 1 << 31  # a journal file that is larger is not one of ours
STORE_REPAIR_MOVE_BYTES = 32 << 20  # of messages that a repair holds in memory
STORE_COMPACT_MOVE_BYTES = 16 << 20  # of entries that are copied in one transaction
STORE_GLANCE_S = (
    150.0  # between questions whether the file of a store that nothing is written to is looked at
)
STORE_DAMAGED_MAX = 1000  # folders of damaged stores that are kept beside one

# --- twins ---------------------------------------------------------------------------------------------

TWIN_TRIAL_NS = 60 * SECOND_NS  # a modem may have to dial in this time
TWIN_HEARTBEAT_NS = 600 * SECOND_NS  # 144 a day, some 20 KB; what is lost without the link's noticing is rare
TWIN_WINDOW = 32  # reports that wait for the hub's acknowledgement
TWIN_LOOK_NS = SECOND_NS // 2  # how often it is looked whether a link has come or gone
TWIN_ANSWER_NS = 10 * SECOND_NS  # over a slow link
TWIN_RETRY_NS = 2 * SECOND_NS  # after a refusal, doubled each time
TWIN_RETRY_MAX_NS = 300 * SECOND_NS

# --- store-and-forward ----------------------------------------------------------------------------
FORWARD_CONTROL_BYTES = 256 << 10  # of a message that is no parcel: 64 streams with 64 epochs each
FORWARD_STREAMS = 64  # entries of one device
FORWARD_COLUMNS_BYTES = 32 << 20  # of a parcel, not compressed: the largest message there can be, and company
FORWARD_DICTIONARY_BYTES = 64 << 10  # zstandard's advice is 100 KB for large samples; readings are small
FORWARD_DICTIONARIES = (
    128  # that the hub keeps of one device; the oldest is forgotten, and sent again if it is used
)
FORWARD_RECORDS = 256  # streams of one device that a hub knows, former ones among them
FORWARD_GAPS = 100  # of a stream, kept at the hub; older ones are counted
FORWARD_REASON = 200  # characters of the reason for a gap
FORWARD_FORMER = 16  # stores that a stream had before, at the hub
FORWARD_CLOCKS = 128  # entries about one stream's clocks
FORWARD_LOST = 256  # ranges of messages that a device lost before it sent them; older ones are summed up
FLEET_DEVICES = 100_000  # that one hub remembers at a time
FLEET_STREAMS = 256  # that devices may have made in an account; more are made by whoever administers it
FLEET_FIGURES = 32  # of a device's link, and of its health
FLEET_TEXT = 100  # characters of a name or text among them
FLEET_SAID = 400  # characters of an event
FLEET_FORGET_NS = 600 * SECOND_NS  # a device that is away so long is read from the store again when it comes
FLEET_RECHECK_NS = 5 * SECOND_NS  # whether a stream that was refused can be taken now
FLEET_GATHER_NS = (
    50_000_000  # parcels that come within this of others are stored together: one sync for all of them
)
FLEET_GATHER_BYTES = 32 << 10  # as many are not made to wait, nor is a device that has sent two
LEDGER_EVENTS = 10  # of a device, in its document
LEDGER_GAPS = 10  # of a stream, in its device's document; all that are kept are in the stream's record
LEDGER_WRITES = 100  # documents a second, of one account: a thousand devices that are busy share them
LEDGER_WATCHED_NS = SECOND_NS  # between two documents of a device while somebody watches
LEDGER_CALM_NS = 15 * SECOND_NS  # and while nobody does, if it is figures alone that changed
LEDGER_CALM_WRITES = (
    20  # documents a second of that kind: a thousand devices would write megabytes a minute of figures
)
LEDGER_ABSENT_NS = 60 * SECOND_NS  # a device that is not back so long after the hub's start is offline
LEDGER_STUCK_NS = 60 * SECOND_NS  # a backlog that does not move for so long is trouble
LEDGER_RECENT_NS = 86_400 * SECOND_NS  # what was lost is trouble for a day
LEDGER_CLONE_NS = (
    3600 * SECOND_NS
)  # two devices of one name are one again when they have not taken turns since
