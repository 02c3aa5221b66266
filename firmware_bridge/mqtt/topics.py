"""Topics and subjects: which becomes which. Pure.

The mapping is nats-server's (``mqttToNATSSubjectConversion``): levels become tokens, a dot in a level becomes ``//``,
an empty level the token ``/``. nats-server refuses topics with blanks; a broker that is there already has them
(Zigbee2MQTT's names of devices), and refusing one would stop what comes behind it. So what no subject can have is
written as ``/`` and two hexadecimal digits, which nats-server's mapping never makes: ``living room`` becomes
``living/20room``. Whatever is a topic has one subject, and that subject leads back to it.
"""

import re

TOPIC_BYTES_MAX = 65_535  # a string of MQTT has two bytes for its length
_BARE = "\x00\t\n\x0b\x0c\r \x7f"  # what would end or split a subject; 0x7f as nats-server has it
_ESCAPES = str.maketrans({".": "//"} | {char: f"/{ord(char):02x}" for char in _BARE})
_WILDCARDS = {"*": "/2a", ">": "/3e"}  # as whole tokens; in MQTT they are letters like any other
_PIECE = re.compile(r"//|/([0-9a-f]{2})|/")


def subject_of(topic: str) -> str:
    """The subject of a topic (of a name, not of a filter)."""
    return ".".join(_token(level) for level in topic.split("/"))


def topic_of(subject: str) -> str:
    """The topic of a subject.

    Raises:
        ValueError: It has none: an empty token, a stray ``/``, or what a topic cannot have; the text says which.
    """
    if not subject:
        raise ValueError("there is no topic without a name")
    topic = "/".join(_level(token) for token in subject.split("."))
    if bad := next((char for char in "+#\x00" if char in topic), ""):
        raise ValueError(f"{bad!r} cannot be in the name of a topic")
    if len(topic.encode()) > TOPIC_BYTES_MAX:
        raise ValueError(f"longer than {TOPIC_BYTES_MAX} bytes")
    return topic


def filter_problem(topic_filter: str) -> str:
    """Why this is no filter that a broker takes; empty if it is one."""
    levels = topic_filter.split("/")
    if not topic_filter:
        return "it is empty"
    if "\x00" in topic_filter or len(topic_filter.encode()) > TOPIC_BYTES_MAX:
        return f"it has a zero byte, or more than {TOPIC_BYTES_MAX} bytes"
    if any("#" in level and (level != "#" or at < len(levels) - 1) for at, level in enumerate(levels)):
        return "# stands alone behind the last /, as in zigbee2mqtt/#"
    if any("+" in level and level != "+" for level in levels):
        return "+ stands alone between two /, as in tele/+/SENSOR"
    return ""


def _token(level: str) -> str:
    return _WILDCARDS.get(level) or level.translate(_ESCAPES) or "/"


def _level(token: str) -> str:
    if token == "/":
        return ""
    if not token:
        raise ValueError("it has an empty token")
    return _PIECE.sub(_char, token)


def _char(piece: re.Match[str]) -> str:
    if piece[0] == "//":
        return "."
    if piece[1] is None:
        raise ValueError(
            "/ in a token stands for a dot as //, and for a character as / and two hexadecimal digits"
        )
    return chr(int(piece[1], 16))
