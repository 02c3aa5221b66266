"""What is configured for one broker. A value that cannot work raises ``ConfigError`` when the settings are made."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from phloem.firmware_bridge.mqtt.topics import filter_problem
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SECOND_NS
from phloem.shared.wire.subjects import is_literal, is_valid

PORTS = {"mqtt": 1883, "mqtts": 8883}
FIVE, THREE = "mqtt5", "mqtt3.1.1"
KEEPALIVE_MAX_S = 65_535  # two bytes in CONNECT
EXPIRY_MAX_S = 0xFFFF_FFFE  # four bytes; all ones would be for ever


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files with PEM; empty: the system's roots, no certificate."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One broker. Subjects are prefixes, without a dot at their end; ``password_file`` is read at each attempt."""

    name: str
    url: str
    client_id: str
    subject: str
    protocol: str = FIVE
    username: str = ""
    password: str = ""
    password_file: str = ""
    tls: Tls = Tls()
    keepalive_ns: int
    session_expiry_ns: int
    topics: tuple[str, ...] = ()
    qos: int = 1
    retained: bool = True
    command_subject: str = ""
    account: str = ""
    max_bytes: int = -1
    max_age_ns: int = 0
    retry_min_ns: int
    retry_max_ns: int

    def __post_init__(self) -> None:
        self._check_broker()
        self._check_login()
        self._check_times()
        if not (self.topics or self.command_subject):
            raise ConfigError("it needs topics, a command_subject, or both")
        for topic in self.topics:
            if problem := filter_problem(topic):
                raise ConfigError(f"topic {topic!r} cannot be subscribed to: {problem}")
        self._check_subjects()

    @property
    def host(self) -> str:
        """The broker's."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's, 1883 or 8883 if the URL has none."""
        parts = urlsplit(self.url)
        return parts.port or PORTS[parts.scheme]

    @property
    def uses_tls(self) -> bool:
        """Whether it is ``mqtts://``."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def keepalive_s(self) -> int:
        """As CONNECT has it."""
        return self.keepalive_ns // SECOND_NS

    def _check_broker(self) -> None:
        try:
            parts = urlsplit(self.url)
            there = parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            there = False
        if not there or parts.scheme not in PORTS or parts.path not in ("", "/") or parts.query:
            raise ConfigError(f"url {self.url!r} is not mqtt://host:port or mqtts://host:port")
        if parts.username is not None:
            raise ConfigError("url has a user; use username and password_file, so that no log shows them")
        if self.protocol not in (FIVE, THREE):
            raise ConfigError(f"protocol {self.protocol!r} is not {FIVE} or {THREE}")
        if self.qos not in (0, 1):
            raise ConfigError(
                f"qos {self.qos} is not 0 or 1: exactly once cannot be kept over a restart, as the library answers "
                "PUBREC before the disk has it; 1 takes what is published with QoS 2 as well, and loses none of it"
            )
        if self.tls != Tls() and not self.uses_tls:
            raise ConfigError("tls is for mqtts://")
        if bool(self.tls.cert_file) != bool(self.tls.key_file):
            raise ConfigError("tls needs cert_file and key_file, or none of them")

    def _check_login(self) -> None:
        if not self.client_id or not self.client_id.isprintable() or len(self.client_id.encode()) > 256:
            raise ConfigError(
                "it needs a client_id that stays the same, or a server_name: the broker keeps what it has for "
                "this device under it"
            )
        if self.password and self.password_file:
            raise ConfigError("password and password_file cannot both be set")
        if (self.password or self.password_file) and not self.username:
            raise ConfigError("a password needs a username")

    def _check_times(self) -> None:
        if not 1 <= self.keepalive_s <= KEEPALIVE_MAX_S:
            raise ConfigError("keepalive is 1s at least, and 18h at most")
        if not SECOND_NS <= self.session_expiry_ns <= EXPIRY_MAX_S * SECOND_NS:
            raise ConfigError("session_expiry is 1s at least: a session that ends at once keeps nothing")
        if not 0 < self.retry_min_ns <= self.retry_max_ns:
            raise ConfigError("retry_min must be above 0 and not above retry_max")

    def _check_subjects(self) -> None:
        for field in ("subject", "command_subject"):
            prefix = getattr(self, field)
            if prefix and not (is_valid(prefix) and is_literal(prefix)):
                raise ConfigError(f"{field} {prefix!r} is not a valid subject without wildcards")
        if self.command_subject and _overlap(self.subject, self.command_subject):
            raise ConfigError(
                f"command_subject {self.command_subject!r} and subject {self.subject!r} overlap: what comes from "
                "the broker would go back to it, for ever"
            )


def check_brokers(brokers: Sequence[MqttSettings]) -> None:
    """Raise ConfigError for what cannot be side by side."""
    seen = dict[tuple[str, int, str], str]()
    for broker in brokers:
        session = (broker.host, broker.port, broker.client_id)
        if session in seen:
            raise ConfigError(
                f'bridge_mqtt "{seen[session]}" and "{broker.name}" have the same broker and client_id: it would '
                "end the connection of one whenever the other comes"
            )
        seen[session] = broker.name
    for at, one in enumerate(brokers):
        for other in brokers[at + 1 :]:
            if one.account == other.account and _overlap(one.subject, other.subject):
                raise ConfigError(
                    f'bridge_mqtt "{one.name}" and "{other.name}" have subjects that overlap: {one.subject}, '
                    f"{other.subject}"
                )


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
