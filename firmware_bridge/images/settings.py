"""What is configured for the firmware of one port: ``images { ... }`` of its block."""

import os.path
import re

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from phloem.firmware_bridge.images import limits
from phloem.firmware_bridge.images.manifest import BOARD_TYPE
from phloem.firmware_bridge.images.signature import public_key
from phloem.firmware_bridge.images.tools import check_words
from phloem.shared.errors import ConfigError
from phloem.shared.server.durations import parse_duration

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which images a port's board gets, and how."""

    board: str
    """The board's type: images for it are the object of that name, or ``TYPE/UID``."""
    keys: tuple[str, ...]
    """Ed25519 public keys, base64 or paths of PEM files; one of them has to have signed an image."""
    state_dir: str
    """A folder for images and for what has to survive a restart; each port has a folder in it."""
    bucket: str = "FIRMWARE"
    domain: str = ""
    """The JetStream domain that has the bucket, such as ``hub``; empty: the broker's own."""
    states: str = "FIRMWARE_STATES"
    """The KV bucket, of the broker's own JetStream, where each port says how far it is; made if it is not there."""
    tool: tuple[str, ...] = ()
    """The program that flashes, and its words, with {port}, {file} and {version}; empty: the board takes images itself
    (EdgeLink)."""
    verify: tuple[str, ...] = ()
    """A program that ends with 0 if the board runs ``{version}``; with ``tool`` only."""
    limit: str = "10m"
    """How long one flashing may take."""
    look: str = "1m"
    """How often the bucket is asked; a change that the broker hears of itself is found at once."""

    @property
    def limit_ns(self) -> int:
        """``limit``."""
        return _duration("limit", self.limit)

    @property
    def look_ns(self) -> int:
        """``look``."""
        return _duration("look", self.look)

    def public_keys(self) -> list[Ed25519PublicKey]:
        """``keys``. Raises ConfigError."""
        return [public_key(key) for key in self.keys]


def image_settings(given: dict[str, object], protocol: str) -> ImageSettings:
    """The settings of an ``images`` block.

    Raises:
        ConfigError: They cannot work.
    """
    try:
        settings = msgspec.convert(given, ImageSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"images: {error}") from None
    try:
        _check(settings, protocol)
    except ConfigError as error:
        raise ConfigError(f"images: {error.text}") from None
    return settings


def _check(settings: ImageSettings, protocol: str) -> None:
    if not BOARD_TYPE.fullmatch(settings.board):
        raise ConfigError(f"board {settings.board!r} must be letters, digits, - _ = and . (1 to 64)")
    if not settings.keys:
        raise ConfigError("keys: an image that nobody vouches for is not flashed; name a public key")
    settings.public_keys()
    for name in ("bucket", "states"):
        if not _BUCKET.fullmatch(getattr(settings, name)):
            raise ConfigError(f"{name} {getattr(settings, name)!r} is not the name of a bucket")
    if settings.domain and not _BUCKET.fullmatch(settings.domain):
        raise ConfigError(f"domain {settings.domain!r} is not the name of a domain")
    if not os.path.isabs(settings.state_dir):
        raise ConfigError(f"state_dir {settings.state_dir!r} has to be an absolute path")
    if not settings.tool and protocol != "edgelink":
        raise ConfigError("tool is missing: only boards with protocol edgelink take images themselves")
    if settings.verify and not settings.tool:
        raise ConfigError("verify goes with tool; an EdgeLink board proves what it runs")
    for name in ("tool", "verify"):
        check_words(name, getattr(settings, name))
    if settings.limit_ns <= 0 or settings.look_ns < limits.RETRY_MIN_NS:
        raise ConfigError("limit must be above 0, look at least 1s")


def _duration(name: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
