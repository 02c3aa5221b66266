"""The targets: how each makes its inputs and what it expects of them.

``make(random)`` gives an input, ``execute(steps)`` carries it out and raises ``Nonsense`` where the kernel did wrong
without crashing.
"""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from phloem.shared.kernel.sublist import Trie
from tests.fuzz import (
    archives,
    asking,
    collected,
    columns,
    folder,
    forwarded,
    logins,
    making,
    packed,
    saying,
    sealed,
    served,
    snappy,
    stored,
)
from tests.fuzz.frames import Nonsense
from tests.fuzz.scenario import ATTACH_LEAF, ATTACH_PAIR, Scenario
from tests.fuzz.steps import Step, Steps, corpus

SLACK = 1_000
SLACK_OF_SERVERS = 2_000  # a whole server each time: Python's free lists take some runs to fill


class Target(NamedTuple):
    """One way to look for faults."""

    name: str
    make: Callable[[Random], Steps]
    execute: Callable[[Steps], None]
    slack: int = 0  # bytes each time that are no leak: py-lmdb and asyncio leave a little behind


def _streams(r: Random, leafs: list[bool]) -> Steps:
    """Each connection's bytes, mixed with each other's in pieces."""
    steps = [Step("limits", 0, r.randrange(6))] if r.random() < 0.5 else []
    todo: list[list[Step]] = []
    for who, leaf in enumerate(leafs):
        bits = (ATTACH_LEAF if leaf else 0) | (
            r.getrandbits(8) & ~ATTACH_PAIR & ~ATTACH_LEAF if r.random() < 0.2 else 0
        )
        steps.append(Step("attach", who, bits))
        data = making.stream(r, leaf, r.randint(2, 14))
        todo.append([Step("feed", who, 0, piece) for piece in making.pieces(r, data)])
    while any(todo):
        queue = r.choice([queue for queue in todo if queue])
        steps.append(queue.pop(0))
        if r.random() < 0.1:
            steps.append(Step(r.choice(("output", "resume")), r.randrange(len(leafs))))
    return tuple(steps)


def _client_streams(r: Random) -> Steps:
    return _streams(r, [r.random() < 0.15 for _ in range(r.randint(1, 5))])


def _leaf_streams(r: Random) -> Steps:
    return _streams(r, [r.random() < 0.75 for _ in range(r.randint(2, 5))])


def _mix(r: Random) -> Steps:
    steps = [
        Step("attach", n, r.choice((0, ATTACH_LEAF, ATTACH_PAIR, ATTACH_PAIR | ATTACH_LEAF)))
        for n in range(4)
    ]
    for _ in range(r.randint(5, 60)):
        if r.random() < 0.5:
            who = r.randrange(6)
            leaf = who < 4 and bool(steps[who].number & ATTACH_LEAF)
            data = making.stream(r, leaf, r.randint(1, 4))
            steps += [Step("feed", who, 0, piece) for piece in making.pieces(r, data)]
        else:
            steps.append(making.any_step(r, 6))
    return tuple(steps)


def _run(steps: Steps) -> None:
    Scenario().run(steps)


def _joined(steps: Steps) -> Steps:
    """Neighbouring pieces of one connection put together."""
    out: list[Step] = []
    for step in steps:
        if out and step.verb == out[-1].verb == "feed" and step.who == out[-1].who:
            out[-1] = out[-1]._replace(data=out[-1].data + step.data)
        else:
            out.append(step)
    return tuple(out)


def _run_streams(steps: Steps) -> None:
    """However the bytes arrive, everyone receives the same and ends for the same reason."""
    one, other = Scenario(), Scenario()
    one.run(steps)
    whole = _joined(steps)
    if whole == steps:
        whole = tuple(
            piece
            for step in steps
            for piece in (
                [
                    step._replace(data=step.data[: len(step.data) // 2]),
                    step._replace(data=step.data[len(step.data) // 2 :]),
                ]
                if step.verb == "feed"
                else [step]
            )
        )
    other.run(whole)
    if one.outputs != other.outputs or sorted(one.ended) != sorted(other.ended):
        raise Nonsense(f"depends on pieces: {one.outputs} {other.outputs} {one.ended} {other.ended}")


def _trie(r: Random) -> Steps:
    steps = []
    for _ in range(r.randint(1, 80)):
        verb = r.choice(("insert", "insert", "remove", "match", "match", "subset"))
        wild = verb != "match"
        text = b".".join(
            r.choice((b"a", b"b", b"*", b"%d" % r.randrange(40))) for _ in range(r.choice((1, 1, 2, 3, 5)))
        )
        if wild and r.random() < 0.3:
            text += b".>"
        if r.random() < 0.02:
            text = b".".join([text] * r.choice((50, 3_000)))
            text = text.replace(b">", b"x")
        steps.append(Step(verb, r.randrange(30), r.randrange(2), text))
    return tuple(steps)


def covers(pattern: bytes, subject: bytes, subset: bool) -> bool:
    """The naive matcher; with ``subset`` the subject may be a pattern that has to be covered as a whole."""
    want, have = pattern.split(b"."), subject.split(b".")
    for at, token in enumerate(want):
        if token == b">" and at == len(want) - 1:
            return at < len(have)
        if at >= len(have) or (token not in (b"*", have[at])):
            return False
        if subset and token == b"*" and have[at] == b">":
            return False
    return len(want) == len(have)


def _valid(pattern: bytes) -> bool:
    tokens = pattern.split(b".")
    return b"" not in tokens and b">" not in tokens[:-1]


def _run_trie(steps: Steps) -> None:
    trie, held = Trie(), dict[int, list[bytes]]()
    for step in steps:
        if step.verb == "insert" and _valid(step.data):
            trie.insert(step.data, step.who, b"q%d" % (step.who % 20) if step.number else None)
            held.setdefault(step.who, []).append(step.data)
        elif step.verb == "remove" and step.who in held:
            trie.remove(step.who)
            del held[step.who]
        elif step.verb in ("match", "subset"):
            subset = step.verb == "subset"
            found = trie.match(step.data, subset)
            wanted = [n for n, patterns in held.items() for p in patterns if covers(p, step.data, subset)]
            if b"" in step.data.split(b"."):
                wanted = []
            if found != sorted(wanted):
                raise Nonsense(f"{step}: {found} is not {sorted(wanted)}")
    if {n: sorted(p) for n, p in trie.patterns().items()} != {
        n: sorted(p if len(p) <= 4096 else b"" for p in ps) for n, ps in held.items()
    }:
        raise Nonsense("patterns read back differ")
    for ident in list(held):
        trie.remove(ident)
    if not trie.empty():
        raise Nonsense("not empty")


def _kept(name: str, fresh: Callable[[Random], Steps], only_input: bool = True) -> Callable[[Random], Steps]:
    """Half of the inputs are mutations of kept ones."""
    kept = corpus(name)

    def make(r: Random) -> Steps:
        if kept and r.random() < 0.5:
            return making.mutate(r, r.choice(kept), r.choice(kept), only_input=only_input)
        return fresh(r)

    return make


def _varied(name: str, fresh: Callable[[Random], Steps]) -> Callable[[Random], Steps]:
    """A third of the inputs are mutations of kept ones or of fresh ones."""
    kept = corpus(name)

    def make(r: Random) -> Steps:
        if r.random() < 0.3:
            return making.vary(r, r.choice(kept) if kept and r.random() < 0.5 else fresh(r), fresh(r))
        return fresh(r)

    return make


TARGETS = {
    target.name: target
    for target in (
        Target("client", _kept("client", _client_streams), _run_streams),
        Target("leaf", _kept("leaf", _leaf_streams), _run_streams),
        Target("trie", _kept("trie", _trie), _run_trie),
        Target("mix", _kept("mix", _mix, only_input=False), _run),
        Target("packed", _varied("packed", packed.make), packed.run),
        Target("s2", _varied("s2", snappy.make), snappy.run),
        Target("archive", _varied("archive", archives.make), archives.run),
        Target("journal", _varied("journal", stored.journal), folder.run, SLACK),
        Target("pages", _varied("pages", stored.pages), folder.run, SLACK),
        Target("values", _varied("values", stored.values), folder.run, SLACK),
        Target("login", _varied("login", logins.make), logins.run, SLACK),
        Target("tls", _varied("tls", sealed.make), sealed.run, SLACK),
        Target("jetstream", _varied("jetstream", asking.make), served.run, SLACK_OF_SERVERS),
        Target("columns", _varied("columns", columns.make), columns.run, SLACK),
        Target("device", _varied("device", saying.device), collected.run, SLACK_OF_SERVERS),
        Target("hub", _varied("hub", saying.hub), forwarded.run, SLACK_OF_SERVERS),
    )
}
