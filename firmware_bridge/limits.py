"""Bounds of the bridge with their reasons; what the whole system bounds is in ``phloem.shared.limits``.

Sizes are bytes, times are nanoseconds (``_ns``), everything else is a count.
"""

from phloem.shared.limits import (
    MAX_PAYLOAD,
    SERIAL_FRAME,
    SERIAL_FRAME_MAX,
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

# --- the server -----------------------------------------------------------------------------------
PUBLISH_QUEUE_BYTES_MAX = 8 << 20  # while the server is away: some 10 minutes of a busy 115,200 baud port
PUBLISH_MESSAGE_OVERHEAD_BYTES = 1024  # what headers and objects of one queued message take, rounded up
PUBLISH_BATCH_BYTES_MAX = 512 << 10  # sent before one confirmation; below nats-py's own 2 MiB buffer
COMMANDS_PENDING_MAX = 1024  # messages of one command subject between nats-py and the port
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
