"""``python -m tests.fuzz.run``: fuzz phloem's compiled modules under AddressSanitizer and UBSan.

What fails is written to ``build/fuzz/``, with a reproducer next to it that is as short as could be made within a
minute. The same seed makes the same inputs; ``--first`` starts at an input of that number.
"""

import argparse
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fuzz.minimise import minimise
from tests.fuzz.sanitized import ROOT, NoSanitizer, build, child
from tests.fuzz.steps import Steps, dump, load

FAILURES = ROOT / "build" / "fuzz"
TARGETS = {
    "client": "bytes of clients, in any pieces: the same comes out",
    "leaf": "the same for leaf links",
    "trie": "subscriptions and matches beside a naive matcher",
    "mix": "bytes, and everything that the server does to connections at the same time",
    "packed": "links that speak S2, against the same in plain",
    "s2": "S2 and Snappy streams beside a decoder in Python",
    "archive": "snapshots in both formats, read and restored",
    "journal": "a store's journal with damage, and batches no store has written, with good checksums",
    "pages": "LMDB's file with damaged pages: opened, read, checked, repaired",
    "values": "values in LMDB no store has written, with good checksums; blocks that expand to too much",
    "jetstream": "a server with streams and consumers: publishes, acks, pulls, direct gets, the API; then a restart",
    "columns": "what is in a parcel of forwarded messages, beside a decoder in Python",
    "device": "a hub whose devices say anything: parcels, gaps, dictionaries, bombs; then a restart",
    "hub": "a device whose hub says anything, one of phloem's or one with JetStream only",
    "tls": "handshakes and records, cut, damaged and out of place: the same as without TLS, or the end; nothing kept",
    "login": "CONNECT with JWTs, nkeys and signatures, nearly right: let in or turned away, logged once, nothing kept",
}
GROUPS = {
    "kernel": ("client", "leaf", "trie", "mix", "packed"),
    "wire": ("s2", "archive"),
    "store": ("journal", "pages", "values"),
    "engine": ("jetstream",),
    "forward": ("columns", "device", "hub"),
    "server": ("login", "tls"),
}
QUICK = (*GROUPS["kernel"], *GROUPS["wire"])  # what ``make test-long`` builds is enough for these
HANG_S = 60.0  # without a word from the child
MINIMISE_S = 60.0


class Outcome(NamedTuple):
    """How a child ended: the number of the last input, and what went wrong, if anything did."""

    last: int
    problem: str


def supervise(
    arguments: list[str], tell: Callable[[int], None], quiet_s: float = HANG_S, *, whole: bool = False
) -> Outcome:
    """Runs a child to its end. One that says nothing for ``quiet_s`` hangs, and is ended."""
    process = child(*arguments, whole=whole)
    assert process.stdout
    assert process.stderr
    errors: list[str] = []
    collector = threading.Thread(target=lambda stream: errors.extend(stream), args=(process.stderr,))
    collector.start()
    hung = threading.Event()

    def end() -> None:
        hung.set()
        process.kill()

    last, problem = 0, ""
    watch = threading.Timer(quiet_s, end)
    watch.start()
    for line in process.stdout:
        watch.cancel()
        verb, _, rest = line.strip().partition(" ")
        if verb == "wrong":
            problem = rest
        elif verb in ("at", "done"):
            last = int(rest)
            tell(last)
        watch = threading.Timer(quiet_s, end)
        watch.start()
    status = process.wait()
    watch.cancel()
    collector.join()
    process.stdout.close()
    process.stderr.close()
    if hung.is_set():
        problem = f"hang: nothing was done for {quiet_s:.0f} s"
    elif status and not problem:
        problem = "".join(errors)[-6_000:] or f"ended with status {status}"
    return Outcome(last, problem)


def _kind(problem: str) -> str:
    """What has to stay the same while an input is made shorter."""
    for line in problem.splitlines():
        if "SUMMARY:" in line or "runtime error" in line:
            return line.split(" in ")[-1]
    return problem.split(":")[0]


def shorten(target: str, steps: Steps, problem: str, folder: Path, whole: bool) -> Steps:
    """The shortest input found within a minute that fails in the same way."""
    note, wanted, stop = folder / "attempt.txt", _kind(problem), time.monotonic() + MINIMISE_S

    def fails(candidate: Steps) -> bool:
        if time.monotonic() > stop:
            return False
        note.write_text(dump(candidate))
        outcome = supervise(
            ["--target", target, "--note", str(note), "--replay"], lambda _: None, 10.0, whole=whole
        )
        return bool(outcome.problem) and _kind(outcome.problem) == wanted

    found = minimise(steps, fails) if fails(steps) else steps
    note.unlink(missing_ok=True)
    return found


def fuzz(
    target: str, seed: int, first: int, seconds: float, tell: Callable[[int], None], *, whole: bool
) -> tuple[int, list[str]]:
    """The number of inputs carried out, and a text about each failure."""
    FAILURES.mkdir(parents=True, exist_ok=True)
    note = FAILURES / f"current-{target}.txt"
    failures: list[str] = []
    stop, at = time.monotonic() + seconds, first
    while (left := stop - time.monotonic()) > 0:
        arguments = ["--target", target, "--seed", str(seed), "--first", str(at), "--seconds", str(left)]
        outcome = supervise([*arguments, "--note", str(note)], tell, whole=whole)
        if not outcome.problem:
            at = outcome.last
            break
        if not note.exists():
            return at, [f"{target}: the child does not start\n{outcome.problem}"]
        text = note.read_text()
        number = int(text.split("input ", 1)[1].split("\n", 1)[0])
        saved = FAILURES / f"{target}-{seed}-{number}.txt"
        saved.write_text(text)
        short = shorten(target, load(text), outcome.problem, FAILURES, whole)
        (FAILURES / f"{target}-{seed}-{number}-short.txt").write_text(dump(short))
        failures.append(
            f"{target}: seed {seed}, input {number}, kept in {saved}\n{dump(short)}{outcome.problem}\n"
        )
        at = number + 1
        if len(failures) >= 3:
            break
    note.unlink(missing_ok=True)
    return at - first, failures


def run(
    names: Sequence[str], seed: int, first: int, seconds: float, console: Console, *, whole: bool = True
) -> int:
    """Fuzzes each target for its share of the time; 0 if nothing failed. ``whole``: with all modules sanitized."""
    inputs, failures = 0, list[str]()
    bar = Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        TextColumn("{task.fields[inputs]} inputs"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        for name in names:
            share = seconds / len(names)
            start = time.monotonic()
            task = bar.add_task(name, total=share, inputs=0)

            def tell(number: int, task: int = task, start: float = start) -> None:
                bar.update(task, completed=time.monotonic() - start, inputs=number - first)  # type: ignore[arg-type]

            done, found = fuzz(name, seed, first, share, tell, whole=whole)
            bar.update(task, completed=share, inputs=done)
            inputs += done
            failures += found
    for text in failures:
        console.print(text, markup=False, highlight=False)
    console.print(f"{inputs} inputs, {len(failures)} crashes (seed {seed})", highlight=False)
    return 1 if failures else 0


def _epilog() -> str:
    """What ``--help`` teaches."""
    lines = ["targets, by the group that names all of its own:"]
    for group, names in GROUPS.items():
        lines.append(f"  {group}")
        lines += [f"    {name:<10} {TARGETS[name]}" for name in names]
    return "\n".join(
        [
            *lines,
            "",
            "examples:",
            "  make fuzz                                          every target for its share of a minute",
            '  make fuzz ARGS="--target store --seconds 60"       the three targets of the store',
            '  make fuzz ARGS="--target values --seed 7 --first 93 --seconds 5"   from input 93 of seed 7 on',
            "  python -m tests.fuzz.run --replay build/fuzz/values-7-93-short.txt   that failure again",
            "",
            "A failure that has been fixed is kept: move its -short.txt to tests/fuzz/corpus/<target>/.",
        ]
    )


def _replay(path: Path) -> int:
    """Carries out a kept or failed input; its first line names the target, else the folder it is in does."""
    words = path.read_text().split(maxsplit=3)
    target = words[2].strip(",") if words[:2] == ["#", "target"] else ""
    target = (
        target
        if target in TARGETS
        else path.parent.name
        if path.parent.name in TARGETS
        else path.name.split("-")[0]
    )
    outcome = supervise(["--target", target, "--note", str(path), "--replay"], lambda _: None, whole=True)
    print(outcome.problem or "nothing is wrong")
    return 1 if outcome.problem else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.run",
        description=__doc__,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (default 60)")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument(
        "--target",
        action="append",
        choices=[*GROUPS, *TARGETS],
        metavar="NAME",
        help="a target or a group, may be repeated (default: all)",
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="carry out the input in a file, nothing else"
    )
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    names = [name for wanted in options.target or GROUPS for name in GROUPS.get(wanted, (wanted,))]
    try:
        console.print("building with sanitizers, where something has changed", highlight=False)
        build(whole=True)
    except NoSanitizer as error:
        sys.exit(f"fuzzing needs AddressSanitizer: {error}")
    if options.replay:
        sys.exit(_replay(options.replay))
    sys.exit(run(names, seed, options.first, options.seconds, console))


if __name__ == "__main__":
    main()
