"""Whether what a peer was sent makes sense: whole operations, and interest that is told once and taken back once."""

import re

LINE = rb"[^ \t\n]+"
CLIENT = re.compile(
    rb"MSG %(w)b %(w)b (?:%(w)b )?(?P<msg>\d{1,9})\r\n"
    rb"|HMSG %(w)b %(w)b (?:%(w)b )?(?P<header>\d{1,9}) (?P<hmsg>\d{1,9})\r\n"
    rb"|INFO [^\n]*\r\n|PING\r\n|PONG\r\n|\+OK\r\n|-ERR '[^\n]*'\r\n" % {b"w": LINE}
)
LEAF = re.compile(
    rb"LMSG %(w)b (?:[^\n]*? )??(?P<msg>\d{1,9})\r\n"
    rb"|HMSG %(w)b (?:[^\n]*? )??(?P<header>\d{1,9}) (?P<hmsg>\d{1,9})\r\n"
    rb"|LS\+ (?P<on>%(w)b)\r\n|LS\+ (?P<group>%(w)b %(w)b) (?P<weight>[1-9]\d*)\r\n"
    rb"|LS- (?P<off>%(w)b(?: %(w)b)?)\r\n"
    rb"|INFO [^\n]*\r\n|PING\r\n|PONG\r\n|-ERR '[^\n]*'\r\n" % {b"w": LINE}
)


class Nonsense(AssertionError):
    """A peer was sent something that no peer could read."""


class Received:
    """What one peer has been sent. ``strict``: interest is followed, too."""

    def __init__(self, leaf: bool, strict: bool = True) -> None:
        self.leaf, self.strict = leaf, strict
        self.told: dict[bytes, int] = {}
        self.rest = b""

    def add(self, data: bytes, whole: bool = True) -> None:
        """``whole``: the data may not stop within an operation."""
        data = self.rest + data
        at = 0
        while at < len(data):
            end = self._one(data, at)
            if end > len(data):
                break
            at = end
        self.rest = data[at:]
        if whole and self.rest:
            raise Nonsense(f"cut short: {self.rest[:200]!r}")

    def _one(self, data: bytes, at: int) -> int:
        """Where the operation at ``at`` ends; behind the data if it is not all there."""
        found = (LEAF if self.leaf else CLIENT).match(data, at)
        if found is None:
            if b"\n" in data[at:]:
                raise Nonsense(f"no operation: {data[at : at + 200]!r}")
            return len(data) + 1
        size = found["msg"] or found["hmsg"]
        if size is None:
            if self.leaf and self.strict:
                self._interest(found)
            return found.end()
        end = found.end() + int(size) + 2
        if int(found["header"] or 0) > int(size) or (end <= len(data) and data[end - 2 : end] != b"\r\n"):
            raise Nonsense(f"sizes: {data[at : at + 200]!r}")
        return end

    def _interest(self, found: re.Match[bytes]) -> None:
        if found["on"] is not None:
            if found["on"] in self.told:
                raise Nonsense(f"told twice: {found[0]!r}")
            self.told[found["on"]] = 1
        elif found["group"] is not None:
            weight = int(found["weight"])
            if self.told.get(found["group"]) == weight:
                raise Nonsense(f"no news: {found[0]!r}")
            self.told[found["group"]] = weight
        elif found["off"] is not None and self.told.pop(found["off"], None) is None:
            raise Nonsense(f"never told: {found[0]!r}")
