"""Which stream of the hub takes what a device forwards.

A device names the entry and the stream, and is believed neither: the entry is a token of subjects, and what is stored
is ``fleet.<entry>.<device>.<subject>`` in any case. A stream that is there has to list these subjects, so that no
device writes into a bucket or another program's stream; one is made only if ``fleet { make }`` has its name.
"""

import fnmatch
import logging
import re
from typing import TYPE_CHECKING

import msgspec

from phloem.shared import limits
from phloem.shared.forward.messages import Offer
from phloem.shared.forward.receiver import Refused
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.server.jetstream.api import Request
from phloem.shared.server.jetstream.api_streams import create
from phloem.shared.wire.subjects import matches

if TYPE_CHECKING:
    from phloem.shared.jetstream.stream_config import StreamConfig
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream

log = logging.getLogger("phloem.fleet")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # of a device, and of an entry
STREAM_NAME_MAX = 255
FITS = 1024  # entries and streams that are remembered to fit
NO_SPACE = "the hub has no space on its disk"


class FleetStreams:
    """Those of one account."""

    def __init__(self, home: "AccountJetStream") -> None:
        self._home = home
        self._fit: dict[
            tuple[str, str], tuple[Stream, StreamConfig]
        ] = {}  # by entry and ``to``, what was found right

    def of(self, offer: Offer) -> "Stream":
        """The stream of an entry, made if it is not there. Raises Refused."""
        key = offer.name, offer.to
        fit = self._fit.pop(key, None)
        if fit is not None and fit[0].config is fit[1] and self._home.streams.get(fit[1].name) is fit[0]:
            self._fit[key] = fit
            return fit[0]
        if not NAME.fullmatch(offer.name):
            raise Refused(f"{offer.name[:80]!r} is not the name of an entry", for_good=True)
        name = offer.to or f"FLEET_{offer.name}"
        if len(name) > STREAM_NAME_MAX or not name.isprintable():
            raise Refused(f"{name[:80]!r} is not the name of a stream", for_good=True)
        stream = self._home.streams.get(name)
        if stream is None:
            return self._made(name, offer)
        config = stream.config
        if config.mirror is not None or config.sealed:
            raise Refused(f"stream {name} takes no messages", for_good=True)
        subjects = f"fleet.{offer.name}.>"
        if not any(matches(pattern, subjects) for pattern in config.subjects):
            raise Refused(f"stream {name} is not for {subjects}", for_good=True)
        if len(self._fit) < FITS:
            self._fit[key] = stream, config
        return stream

    def check(self, offer: Offer) -> None:
        """Whether a session may begin with it. Raises Refused."""
        stream = self.of(offer)
        if self._home.system.out_of_space:
            raise Refused(NO_SPACE)
        if lost := stream.lost():
            raise Refused(lost)

    def why_not(self, stream: "Stream") -> str:
        """Why a stream takes nothing more."""
        if self._home.system.out_of_space:
            return NO_SPACE
        return stream.lost() or f"stream {stream.name} is full"

    def _made(self, name: str, offer: Offer) -> "Stream":
        options = self._home.system.server.options.fleet
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in options.make):
            raise Refused(
                f"there is no stream {name}, and fleet {{ make }} does not have its name", for_good=True
            )
        if sum(
            one.startswith("fleet.") for s in self._home.streams.values() for one in s.config.subjects
        ) >= (limits.FLEET_STREAMS):
            raise Refused(f"devices have had {limits.FLEET_STREAMS} streams made already", for_good=True)
        config = {
            "name": name,
            "subjects": [f"fleet.{offer.name}.>"],
            "retention": "limits",
            "storage": "file",
            "max_bytes": options.max_bytes,
            "max_age": options.max_age_ns,
            "compression": "s2" if options.compression else "none",
        }
        made(self._home, config)
        log.info("Stream '%s > %s' was made for what devices forward", self._home.name, name)
        return self._home.streams[name]


def made(home: "AccountJetStream", config: dict[str, object]) -> None:
    """Make a stream as a client would. Raises Refused."""
    name = str(config["name"])
    body = msgspec.json.encode(config)
    try:
        create(Request(home, f"$JS.API.STREAM.CREATE.{name}", [name], b"", b"", body))
    except ApiError as error:
        raise Refused(f"stream {name} cannot be made: {error}", for_good=True) from error
