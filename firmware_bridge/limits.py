"""Bounds of the bridge with their reasons; what the whole system bounds is in ``phloem.shared.limits``.

Sizes are bytes, times are nanoseconds (``_ns``), everything else is a count.
"""

from phloem.shared.limits import (
    MAX_PAYLOAD,
    SECOND_NS,
    SERIAL_CAPTURE,
    SERIAL_CAPTURE_MAX,
    SERIAL_FRAME,
    SERIAL_FRAME_MAX,
    SERIAL_REQUEST_TIMEOUT_NS,
    SERIAL_RETRY_MAX_NS,
    SERIAL_RETRY_MIN_NS,
)

# --- the device -----------------------------------------------------------------------------------
READ_BYTES_MAX = 16 << 10  # one read; a pseudo-terminal holds at most this much, a tty a quarter of it
WRITE_QUEUE_BYTES_MAX = 64 << 10  # commands waiting for a slow device: 5.7 s of 115,200 baud
FRAME_BYTES = SERIAL_FRAME
FRAME_BYTES_MAX = SERIAL_FRAME_MAX
SUBJECT_BYTES_MAX = 1024  # leaves room in a control line of 4,096 for a reply subject and sizes
BAUD_MAX = 20_000_000  # beyond any UART; catches digits too many
RETRY_MIN_NS = SERIAL_RETRY_MIN_NS
RETRY_MAX_NS = SERIAL_RETRY_MAX_NS

NETWORK_OPEN_NS = 10 * SECOND_NS  # to connect and agree on settings; a modem may have to be woken first
NETWORK_IDLE_S = 10  # silence before the other end is asked whether it is there
NETWORK_PROBE_S, NETWORK_PROBES = 5, 3  # then it is gone after 25 s
NETWORK_UNACKNOWLEDGED_MS = 25_000  # the same for what was written
INIT_BYTES_MAX = 4096  # of one init string; it fits into the write queue many times
INIT_PAUSE_MAX_NS = 60 * SECOND_NS  # a modem that boots takes half of it
SILENT_MIN_NS = SECOND_NS // 10  # a reopening takes about that long
CAPTURE_BYTES = SERIAL_CAPTURE
CAPTURE_BYTES_MAX = SERIAL_CAPTURE_MAX

# --- what else is at a port ------------------------------------------------------------------------
TURNS_WAITING_MAX = (
    32  # commands, requests and polls that wait for the port; each is a second of a slow device
)
COMMAND_WAIT_NS = 2 * SECOND_NS  # a command that could not be written by then is for another moment
REQUEST_TIMEOUT_NS = SERIAL_REQUEST_TIMEOUT_NS
REQUEST_TIMEOUT_MIN_NS, REQUEST_TIMEOUT_MAX_NS = SECOND_NS // 1000, 60 * SECOND_NS
GUEST_HOLD_NS = SECOND_NS  # a program that shares a port is silent that long between two of its commands
GUEST_WAIT_NS = 60 * SECOND_NS  # it waits for its turn that long; what it wrote is then worth nothing
GUEST_BUFFER_BYTES_MAX = 256 << 10  # that a program has not read: 20 s of 115,200 baud
POLL_EVERY_MIN_NS = SECOND_NS // 100  # an exchange at 115,200 baud takes about that long
POLL_PAUSE_MAX_NS = 60 * SECOND_NS  # a device that does not answer is asked that often at least
POLLS_MAX = 64
EXPORTS_MAX = 8  # of one port
DEVICE_BYTES_MAX = 512  # it stands in a header of each message; a path in /dev/serial has some 100
PROCESS_TIMEOUT_MIN_NS, PROCESS_TIMEOUT_MAX_NS = SECOND_NS // 1000, 60 * SECOND_NS  # of one call
PROCESS_START_NS = 20 * SECOND_NS  # to import a module: numpy from the card of a small device needs 8 s
PROCESS_QUEUE_MAX = 10_000  # items; and of at most
PROCESS_QUEUE_BYTES_MAX = 4 << 20
PROCESS_WINDOW = 16  # calls on their way to the process, so that it does not wait for the loop between two
PROCESS_WINDOW_BYTES_MAX = 64 << 10  # fits into a socket's buffer with what the kernel adds
PROCESS_GOOD = (
    32  # calls in a row that end a trouble; less, and a function that fails now and then says so each time
)
PROCESS_RETRY_MIN_NS, PROCESS_RETRY_MAX_NS = SECOND_NS // 5, 30 * SECOND_NS
PROCESS_CLOSE_NS = 2 * SECOND_NS  # what is under way at the end gets this long
QUALITY_NS = 10 * SECOND_NS  # how old the word for the clock may be; asking is a system call

# --- the server -----------------------------------------------------------------------------------
PUBLISH_QUEUE_BYTES_MAX = 8 << 20  # while the server is away: a minute of a busy 115,200 baud port
PUBLISH_MESSAGE_OVERHEAD_BYTES = 256  # what one queued message takes beside its bytes, rounded up
PUBLISH_BATCH_BYTES_MAX = 512 << 10  # sent before one confirmation; below nats-py's own 2 MiB buffer
ANSWERS_PENDING_MAX = 65_536  # between nats-py and who asked; far above what is under way
GROUP_PATTERNS_MAX = 1024  # whose groups are counted; above BOARDS_MAX of a bridge
COMMANDS_PENDING_MAX = 1024  # messages of one command subject between nats-py and the port
HEADERS_BYTES = 1024  # room in a message for the headers of the bridge; they have some 300
PAYLOAD_BYTES = MAX_PAYLOAD - HEADERS_BYTES  # until a server says what it takes
CONNECT_TIMEOUT_S = 2
CONFIRM_TIMEOUT_S = 10  # a server that does not answer a PING for this long is gone
CANCEL_AGAIN_S = 0.05  # a cancellation that got lost is repeated after this
CLOSE_TIMEOUT_S = 2  # what is still queued at the end gets this long

# --- MQTT brokers ---------------------------------------------------------------------------------
MQTT_WAITING_MAX = (
    1024  # messages that are not on the disk, or not acknowledged; far above any broker's window
)
MQTT_WAITING_BYTES_MAX = 8 << 20  # the same in bytes, unless one message of max_payload is more
MQTT_WINDOW = (
    64  # MQTT 5: unacknowledged messages that the broker may send; one sync of the disk carries them
)
MQTT_COMMANDS = 16  # commands that wait for PUBACK; paho sends 20 at a time
MQTT_TIMEOUT_S = 5.0  # for TCP, TLS, CONNACK and SUBACK each
MQTT_STEADY_NS = (
    10_000_000_000  # a connection that was up for less has not been well, and pauses go on growing
)
MQTT_SHORT_MAX = 3  # of these in a row: two clients of one id end each other's connections in turn
MQTT_STORE_RETRY_MIN_NS = 200_000_000  # until a message is offered to its stream again
MQTT_STORE_RETRY_MAX_NS = 5_000_000_000  # a disk that has room again is found by then
MQTT_COMMAND_PAUSE_NS = 30_000_000_000  # until a command that the broker refused is tried again
MQTT_ERRORS_LOGGED_NS = 60_000_000_000  # what fails for each message is said so often

assert FRAME_BYTES <= FRAME_BYTES_MAX < MAX_PAYLOAD
assert RETRY_MIN_NS < RETRY_MAX_NS
assert PUBLISH_BATCH_BYTES_MAX < PUBLISH_QUEUE_BYTES_MAX
