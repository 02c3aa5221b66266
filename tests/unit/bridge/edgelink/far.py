"""A server of phloem's for the stories: groups arrive in the order in which a connection sends them, each at any time.

What was sent on a connection that is gone arrives none the less, also behind what the next one sends. A server that is
restarted loses what was not durable, and nobody knows what became of what was under way.
"""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from phloem.firmware_bridge.edgelink import ledger, limits
from phloem.firmware_bridge.headers import Encoded
from phloem.shared.server.jetstream.groups import Asked, Groups

if TYPE_CHECKING:
    from tests.unit.bridge.edgelink.stories import World

MS = limits.MILLISECOND_NS


class Far:
    """One server, and the connection of now. Counts groups that followed others, and those that were turned away."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.followed = self.refused = 0
        self._life = 0  # of the server
        self._cid = 0
        self._generation = -1
        self._clear_ns = 0
        self._numbers: dict[bytes, int] = {}
        self._rows = 0
        self._under_way: list[tuple[int, ledger.Store]] = []
        self._start()

    def _start(self) -> None:
        self._life += 1
        self._groups = Groups(self._stream())

    def _stream(self) -> Any:
        """As much of a stream as a group needs."""
        world = self.world

        class Log:
            @property
            def last_seq(self) -> int:
                return len(world.stream)

        def last_on(pattern: bytes) -> int:
            return world.last(bytes.fromhex(pattern.decode().split(".")[1]))

        return SimpleNamespace(
            config=SimpleNamespace(retention="limits"),
            engine=SimpleNamespace(take_all=self._take_all),
            log=Log(),
            publish=SimpleNamespace(last_on=last_on),
        )

    def restart(self) -> None:
        """All connections are gone."""
        self.world.lose_what_is_not_durable()
        self._start()
        self._generation = -1
        lost, self._under_way = self._under_way, []
        for generation, task in lost:
            self._answer(generation, task, None)

    def send(self, task: ledger.Store) -> None:
        world = self.world
        if self._generation != world.generation:
            self._generation, self._cid, self._clear_ns = world.generation, self._cid + 1, world.now
            self._numbers.clear()
        if task.after == ledger.BEHIND:
            if task.uid not in self._numbers:
                self._answer(world.generation, task, None, overtaken=True)
                return
            self._numbers[task.uid] += 1
        else:
            self._rows += 1
            self._numbers[task.uid] = self._rows << 32
        after = None if task.after == ledger.BEHIND else task.after
        asked = Asked(f"tele.{task.uid.hex()}.>", self._numbers[task.uid], after, list(task.messages))
        self._clear_ns = max(self._clear_ns, world.now) + world.rng.randrange(1, 30) * MS
        cid, life, sent = self._cid, self._life, (world.generation, task)
        self._under_way.append(sent)
        world.at(self._clear_ns, lambda: self._arrive(cid, asked, sent) if life == self._life else None)
        world.tasks(world.ledger.placed(task.uid, task.number, ledger.BEHIND, world.now))

    def _arrive(self, cid: int, asked: Asked, sent: tuple[int, ledger.Store]) -> None:
        world = self.world
        bad = not world.calm and world.rng.random() < world.faults.stream_fails
        how = world.rng.choice(("not", "some", "silent")) if bad else "all"
        self._takes = {"not": 0, "some": world.rng.randrange(len(asked.messages))}.get(how)
        self._task = sent[1]
        placed = self._groups.follow(cid, asked) if how != "not" else (0, 0)
        self.followed += asked.after is None and bool(placed and placed[0])
        self.refused += placed is None
        whole = placed is not None and placed[0] == len(asked.messages)
        when = max(world.disk_ns, world.now + MS)

        def answer() -> None:
            if sent in self._under_way:
                self._under_way.remove(sent)
                seq = placed[1] if whole and placed is not None and how == "all" else None
                self._answer(*sent, seq, overtaken=placed is None)

        world.at(when, answer)

    def _take_all(self, messages: list[Encoded]) -> int:
        world, takes = self.world, self._takes
        before = len(world.stream)
        world.append(self._task._replace(after=world.last(self._task.uid)), takes)
        return len(world.stream) - before

    def _answer(
        self, generation: int, task: ledger.Store, seq: int | None, *, overtaken: bool = False
    ) -> None:
        world = self.world
        if generation == world.generation:
            world.tasks(world.ledger.stored(task.uid, task.number, seq, world.now, overtaken=overtaken))
