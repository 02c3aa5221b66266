"""What the account of the links allows to whoever forwards (``link_meter``)."""

from typing import TYPE_CHECKING

from phloem.shared.forward.entries import Class
from phloem.shared.forward.sender import PARCEL_MIN
from phloem.shared.limits import SECOND_NS

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

NOT_TODAY_NS = (
    3600 * SECOND_NS
)  # until it is asked again whether something may be sent that is too much by itself


class Metered:
    """Of all links of a server."""

    def __init__(self, server: "Server") -> None:
        self._meter = server.leafs.meter

    def wait_ns(self, cls: Class, _now_ns: int) -> int:
        """As in ``Allowance``."""
        answer = self._meter.may_send(cls.name.lower(), PARCEL_MIN)
        if answer.ok:
            return 0
        return int(answer.wait_s * SECOND_NS) if answer.wait_s > 0 else NOT_TODAY_NS

    def room(self, cls: Class, most: int) -> int:
        """As in ``Allowance``."""
        return self._meter.room(cls.name.lower(), most)
