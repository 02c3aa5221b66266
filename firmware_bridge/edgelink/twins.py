"""Two boards with one uid on two ports at once: found, so that it can be said. Pure.

A board that is plugged in elsewhere is heard on one port and then on the other; bytes that were under way may make that
a few turns. Two boards take turns for as long as both are there.
"""

from collections import deque

from phloem.firmware_bridge.edgelink import limits


class Twins:
    """What is asked with each frame is one look into a dictionary, unless the port is another one than before."""

    def __init__(self) -> None:
        self._port: dict[bytes, str] = {}
        self._turns: dict[bytes, deque[tuple[int, str]]] = {}  # when, and from which port
        self._said: set[bytes] = set()

    def heard(self, uid: bytes, port: str, now_ns: int) -> set[str]:
        """The ports of boards that say the same ``uid``, once for each uid; else none."""
        before = self._port.get(uid)
        if before == port:
            return set()
        self._port.pop(uid, None)
        self._port[uid] = port
        if len(self._port) > limits.BOARDS_MAX:
            gone = next(iter(self._port))
            del self._port[gone]
            self._turns.pop(gone, None)
            self._said.discard(gone)
        if before is None:
            return set()
        turns = self._turns.setdefault(uid, deque(maxlen=limits.TWINS_TURNS))
        turns.append((now_ns, before))
        often = len(turns) == limits.TWINS_TURNS and now_ns - turns[0][0] <= limits.TWINS_NS
        if not often or uid in self._said:
            return set()
        self._said.add(uid)
        return {port, *(name for _, name in turns)}
