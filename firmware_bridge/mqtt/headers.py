"""What of a PUBLISH is not topic or payload, as headers of a message, and back. Pure.

Values are one line of text: what a header cannot have is percent-encoded (``%`` itself as well, so that it can be read
back), correlation data is Base64.
"""

import re
from base64 import b64decode, b64encode
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from phloem.firmware_bridge.mqtt.durable import Headers

TOPIC, QOS, RETAINED, DUP = "Mqtt-Topic", "Mqtt-Qos", "Mqtt-Retained", "Mqtt-Dup"
RETAIN = "Mqtt-Retain"  # of a command: the broker shall keep it
CONTENT_TYPE, RESPONSE, CORRELATION = "Mqtt-Content-Type", "Mqtt-Response-Topic", "Mqtt-Correlation"
PROPERTIES = "Mqtt-Properties"  # of users, as in a URL's query: many clients know one header of a name only

_BARE = re.compile(r"[\x00-\x1f\x7f%]")


class Properties(NamedTuple):
    """What MQTT 5 has beside topic and payload."""

    content_type: str = ""
    response_topic: str = ""
    correlation: bytes = b""
    user: tuple[tuple[str, str], ...] = ()


def headers_of(properties: Properties) -> tuple[tuple[str, str], ...]:
    """As headers."""
    found = list[tuple[str, str]]()
    if properties.content_type:
        found.append((CONTENT_TYPE, shielded(properties.content_type)))
    if properties.response_topic:
        found.append((RESPONSE, shielded(properties.response_topic)))
    if properties.correlation:
        found.append((CORRELATION, b64encode(properties.correlation).decode()))
    if properties.user:
        found.append((PROPERTIES, urlencode(properties.user, quote_via=quote)))
    return tuple(found)


class Wish(NamedTuple):
    """How a command shall be published."""

    qos: int
    retain: bool
    properties: Properties


def wish_of(headers: Headers) -> Wish:
    """What the headers of a command say; QoS 1 if they say nothing.

    Raises:
        ValueError: One of them cannot be read.
    """
    first = dict(reversed(headers))
    qos = first.get(QOS, "1")
    if qos not in ("0", "1"):
        raise ValueError(f"{QOS} is 0 or 1, not {qos!r}")
    return Wish(
        int(qos),
        first.get(RETAIN, "") in ("1", "true"),
        Properties(
            unquote(first.get(CONTENT_TYPE, "")),
            unquote(first.get(RESPONSE, "")),
            b64decode(first.get(CORRELATION, ""), validate=True),
            tuple(
                parse_qsl(
                    first.get(PROPERTIES, ""), keep_blank_values=True, strict_parsing=PROPERTIES in first
                )
            ),
        ),
    )


def shielded(text: str) -> str:
    """As one line of a header."""
    return _BARE.sub(lambda found: f"%{ord(found[0]):02X}", text)
