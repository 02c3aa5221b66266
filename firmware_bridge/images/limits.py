"""Bounds of firmware images, with their reasons."""

from phloem.shared.limits import SECOND_NS

IMAGE_BYTES_MAX = 32 << 20  # the flash of what hangs on a serial port; EdgeLink holds it in memory meanwhile
LOOK_NS = 60 * SECOND_NS  # how often the bucket is asked, also for what no subscription has told
LIMIT_NS = 600 * SECOND_NS  # one run of a tool, or one upload: a megabyte at 115,200 baud takes 90 s
PROOF_NS = 120 * SECOND_NS  # from written to the new HELLO: a bootloader copies, and starts
RETRY_MIN_NS, RETRY_MAX_NS = 1 * SECOND_NS, 60 * SECOND_NS  # after a failure of the bucket
TRIES_MAX = (
    10  # of one image: resumed ones count, as a board that dies of it each time must not be flashed for ever
)
OUTPUT_LINES_MAX = 1000  # of a tool, in the log; the last are told
OUTPUT_TAIL = 5
KILL_S = 5  # a tool gets SIGTERM, and so much later SIGKILL
STATES_MAX = 64  # that wait to be told while JetStream is away; the oldest go first
STATES_HISTORY = 32  # of each board in the KV bucket: some images with all their states
