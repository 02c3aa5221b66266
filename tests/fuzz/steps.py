"""What an input is made of, and how it is written down.

One Step a line: verb, connection, number, data as a Python bytes literal. ``scenario`` says what they mean.
"""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """One thing that happens; every combination of values means something, so that any mutation is an input."""

    verb: str
    who: int = 0
    number: int = 0
    data: bytes = b""


Steps = tuple[Step, ...]


def dump(steps: Iterable[Step]) -> str:
    return "".join(f"{step.verb} {step.who} {step.number} {step.data!r}\n" for step in steps)


def load(text: str) -> Steps:
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            verb, who, number, data = line.split(" ", 3)
            found.append(Step(verb, int(who), int(number), ast.literal_eval(data)))
    return tuple(found)


def corpus(target: str) -> list[Steps]:
    """The kept inputs of a target, in the order of their names."""
    folder = Path(__file__).parent / "corpus" / target
    return [load(path.read_text()) for path in sorted(folder.glob("*.txt"))]
