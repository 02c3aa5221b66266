"""Bounds of EdgeLink with their reasons. Times are nanoseconds (``_ns``) here and milliseconds on the wire."""

from phloem.shared.limits import SECOND_NS as SECOND_NS  # beside the others for who reads them

MILLISECOND_NS = SECOND_NS // 1000

# --- frames ---------------------------------------------------------------------------------------
FRAME_LEAST = 32  # the smallest max_frame that a side may say: a command with a short name fits
FRAME_MOST = 1024
FRAME_UNKNOWN = 64  # until the other side has said more
CRC_BYTES = 4
UID_BYTES_MAX = 16  # the chips with the longest numbers have 128 bits
CHANNELS_MAX = 255

# --- the window -----------------------------------------------------------------------------------
WINDOW_MAX = 8  # what every host takes, and HELLO's ``window`` may say
WINDOW_MOST = 64  # what this host takes of a board that says ``most``: 15 ms of 921,600 baud, or more

# --- times ----------------------------------------------------------------------------------------
ASK_NS = 1 * SECOND_NS
SCHEMA_MIN_NS, SCHEMA_MAX_NS = 200 * MILLISECOND_NS, 2 * SECOND_NS
DATA_MIN_NS, DATA_MAX_NS = 200 * MILLISECOND_NS, 5 * SECOND_NS
COMMAND_MIN_NS, COMMAND_MAX_NS = 500 * MILLISECOND_NS, 5 * SECOND_NS
TEXT_IDLE_NS = 100 * MILLISECOND_NS
SILENCE_NS = 5 * SECOND_NS
PING_NS = 1 * SECOND_NS
PINGS = 3  # without an answer: the board is gone
CLOCK_FIRST = 8  # exchanges after WELCOME
CLOCK_WAIT_NS = 1 * SECOND_NS  # an answer that takes longer says nothing about the clock
CLOCK_SOON_NS = 1 * SECOND_NS  # the pause after these, and double for each one that follows, up to
CLOCK_EVERY_NS = 600 * SECOND_NS

# --- what a host keeps for a port -----------------------------------------------------------------
COMMANDS_MAX = 64  # waiting behind the one under way; more are refused
SCHEMAS_MAX = 64  # remembered, for all ports; a board that says a new one each time must not fill the memory
BOARDS_MAX = 256  # the same for boards; one that is forgotten is looked up in the stream when it comes again
ASKED_MAX = 8  # rings of one board whose beginning is asked for at once: more than one is a board that resets
STARTS_MAX = 8  # of a board on a line that are remembered: one that comes again is of a second board
TWINS_TURNS, TWINS_NS = (
    5,
    60 * SECOND_NS,
)  # a uid that changes its port so often in that time is of two boards

# --- the stream -----------------------------------------------------------------------------------
STORE_MESSAGES = 512  # a group is not begun with more; a batch of JetStream may have 1,000
STORES_MAX = 2  # groups of a board under way at once: the disk writes one batch while the next one fills
STORE_MIN_NS, STORE_MAX_NS = 500 * MILLISECOND_NS, 10 * SECOND_NS  # after a failure
