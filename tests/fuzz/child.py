"""The process that feeds the sanitized modules; started by ``run``, which reads what it prints.

Before an input is carried out it is written to the file that was named, so that a crash leaves it there. Lines on
stdout: ``at <n>`` now and then, ``wrong <text>`` for what went wrong without a crash, ``done <n>``.

Memory is watched by the sanitizer's own count: inputs are carried out again and again, and what grows each time by
the same few bytes is a leak.
"""

import argparse
import ctypes
import gc
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from phloem.shared.kernel import reactor
from tests.fuzz.frames import Nonsense
from tests.fuzz.sanitized import BUILDS
from tests.fuzz.steps import Steps, corpus, dump, load
from tests.fuzz.targets import TARGETS, Target

LEAK_EVERY = 40  # of so many inputs one is looked at for leaks
LEAK_RUNS = 4
REPORT_S = 0.25


def leaks(target: Target, steps: Steps) -> int:
    """The bytes that each further run of an input leaves behind, 0 if there is a run that leaves none.

    Counted are all bytes that C code has allocated and not freed, Python's objects among them; so the counts
    themselves lie in memory that was there before."""
    count = ctypes.CDLL(None).__sanitizer_get_current_allocated_bytes
    count.restype = ctypes.c_size_t
    marks = (ctypes.c_size_t * (LEAK_RUNS + 1))()
    for run in range(LEAK_RUNS + 1):
        target.execute(steps)
        gc.collect()
        marks[run] = count()
    lost: int = min(after - before for before, after in itertools.pairwise(marks))
    return max(lost, 0)


def inputs(target: Target, seed: int, first: int) -> Iterator[tuple[int, Steps]]:
    """The kept ones as they are, then what the seed makes."""
    kept = corpus(target.name)
    for number in range(first, 1 << 60):
        yield (
            number,
            kept[number] if number < len(kept) else target.make(Random(f"{seed}:{target.name}:{number}")),
        )


def feed(target: Target, seed: int, first: int, seconds: float, count: int, note: Path) -> None:
    start = told = time.monotonic()
    done = 0
    for number, steps in inputs(target, seed, first):
        now = time.monotonic()
        if now - start >= seconds or (count and done >= count):
            break
        if now - told >= REPORT_S:
            told = now
            print("at", number, flush=True)
        note.write_text(f"# target {target.name}, seed {seed}, input {number}\n{dump(steps)}")
        attempt(target, steps, look_for_leaks=number % LEAK_EVERY == 0)
        done += 1
    print("done", first + done, flush=True)


def attempt(target: Target, steps: Steps, *, look_for_leaks: bool) -> None:
    """Ends the process with what went wrong."""
    try:
        target.execute(steps)
    except Nonsense as error:
        print("wrong", str(error)[:2_000].replace("\n", " "), flush=True)
        sys.exit(3)
    if look_for_leaks and (lost := leaks(target, steps)):
        print("wrong", f"leak: {lost} bytes each time", flush=True)
        sys.exit(3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", choices=sorted(TARGETS), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--note", type=Path, required=True, help="where the current input is written")
    parser.add_argument("--replay", action="store_true", help="carry out the note instead")
    options = parser.parse_args()
    if BUILDS not in Path(reactor.__file__).parents:
        sys.exit(f"this is not the sanitized kernel: {reactor.__file__}")
    target = TARGETS[options.target]
    if options.replay:
        attempt(target, load(options.note.read_text()), look_for_leaks=True)
        print("done", 1, flush=True)
    else:
        feed(target, options.seed, options.first, options.seconds, options.count, options.note)


if __name__ == "__main__":
    main()
