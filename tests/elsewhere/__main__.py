"""``make elsewhere``: a package in a bare Debian of its kind, then the tests there.

    python -m tests.elsewhere --package dist/phloem_0.4.0_armhf.deb --root /var/tmp/phloem-armhf
    python -m tests.elsewhere ... tests/unit/store tests/property        these tests only; none: SUITE
    python -m tests.elsewhere ... --no-suite                             only the package
    python -m tests.elsewhere ... --no-package --append tests/unit/net   more tests, below what was reported before

What is printed goes into a log; a summary of it, which is worth keeping, into ``results/ARCH.txt``. A part that is
stopped, by its time or by an interrupt, is reported with the cases that it had come to. Cases of nats-server
alone are left out, and the board's C, which needs a compiler there (``make boards`` runs it on other processors).
"""

import argparse
import platform
import re
import signal
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from tests.elsewhere.machine import HOME, INTERRUPTED, STOPPED, Machine, packages_architecture
from tests.support.programs import ProgramError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
# The most telling first: what is compiled, what is on the disk, then what is made of it, and what others make of that
FIRST = ("kernel", "store", "storage", "wire", "engine", "forward", "jetstream", "security", "net")
SUITE = (
    *(f"tests/unit/{part}" for part in FIRST),
    "tests/property",
    *(
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests/unit").iterdir())
        if path.is_dir() and path.name not in (*FIRST, "bench") and not path.name.startswith("_")
    ),
    "tests/durability",
    "tests/conformance",
    "tests/interop",
)
# They need a compiler there, as unit/bench does; or of the kernel what qemu-user does not pass on: TIOCGEXCL, TCP_INFO
LEFT_OUT = (
    "--ignore=tests/unit/bridge/boards",
    *(
        f"--deselect=tests/{case}"
        for case in (
            "unit/bridge/images/test_install.py::test_from_the_bucket_to_an_edgelink_board[c]",
            "unit/bridge/test_port_events.py::test_programs_that_ask_for_no_lock_are_kept_out_while_it_is_open",
            "interop/test_link_health.py::test_tcp_is_told",
            "interop/test_link_health.py::test_an_idle_day_of_a_metered_link",
            "interop/test_link_health.py::test_counters_survive_a_restart_and_are_used_up",
            "interop/forward/test_idle_day.py::test_an_idle_day_of_a_metered_link_with_five_streams",
            "interop/forward/test_idle_day.py::test_a_day_with_a_trickle",
        )
    ),
)
PATIENCE_S = 900  # of one test: emulation is slow, and nothing is measured
COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|deselected)")
VERDICT = re.compile(  # of -v, alone and with several workers
    r"^(?:\[gw\d+\] \[ *\d+%\] (?P<word>[A-Z]+) )?(?P<case>tests/\S+\.py::.*?)(?: (?P<after>[A-Z]+)(?: \(.*\))?)?$"
)
VERDICTS = {
    "PASSED": "passed",
    "FAILED": "failed",
    "ERROR": "errors",
    "SKIPPED": "skipped",
    "XFAIL": "xfailed",
}


def so_far(said: str) -> tuple[str, list[str]]:
    """The same as ``outcome``, of a run that did not come to its end."""
    counts: Counter[str] = Counter()
    bad: list[str] = []
    open_case = ""
    for line in said.splitlines():
        if not (found := VERDICT.match(line.rstrip())):
            continue
        word = found["word"] or found["after"]
        open_case = "" if word in VERDICTS else found["case"]
        if word in VERDICTS:
            counts[VERDICTS[word]] += 1
            if word in ("FAILED", "ERROR"):
                bad.append(f"{word} {found['case']}")
    if open_case:
        bad.append(f"in {open_case}")
    done = ", ".join(f"{number} {what}" for what, number in sorted(counts.items())) or "no case"
    return f"{done}; did not end", bad


def outcome(said: str) -> tuple[str, list[str]]:
    """pytest's counts, and the cases that did not pass."""
    last = [line for line in said.splitlines() if COUNTS.search(line) and (" in " in line)]
    if not last:
        return so_far(said)
    counts = ", ".join(f"{number} {what}" for number, what in COUNTS.findall(last[-1]))
    bad = sorted(
        {line.split(" - ")[0] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))}
    )
    return counts, bad


class Report:
    """A file that is written line by line, so that what was done is there however a run ends."""

    def __init__(self, path: Path, append: bool = False) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not append:
            path.write_text("")

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")


def package(machine: Machine, path: Path, log: Path, report: Report) -> bool:
    """Installed, and looked at with what it has itself."""
    machine.install(path, log)
    report(f"dpkg -i {path.name}, without a network: installed")
    (machine.root / "tmp/smoke.py").write_text((Path(__file__).parent / "smoke.py").read_text())
    line = "exec /usr/bin/python3.11 -I /tmp/smoke.py 2>/tmp/smoke.log"  # where the server and its client log
    code, said = machine.run("sh", "-c", line, log=log)
    for line in said.splitlines():
        report(f"  {line}")
    if code:
        report((machine.root / "tmp/smoke.log").read_text(errors="replace")[-2_000:])
    return code == 0


def suite(machine: Machine, paths: list[str], options: argparse.Namespace, log: Path, report: Report) -> bool:
    """Each part in a process of its own; False: something did not pass."""
    machine.furnish(ROOT)
    good = True
    library = f"/usr/lib/phloem/python:/{HOME}/lib"
    for path in paths:
        begin = time.monotonic()
        words = ["python3.11", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-m", "not soak and not slow"]
        words += ["-o", f"timeout={PATIENCE_S}", "-o", "console_output_style=classic", "--assert=plain"]
        words += ["-n", str(options.workers), "--dist", "loadgroup"] if options.workers else []
        words += ["-k", options.k, *LEFT_OUT, path]
        line = f'cd /{HOME} && exec "$@"'
        code, said = machine.run(
            "sh", "-c", line, "sh", *words, log=log, timeout_s=options.minutes * 60, PYTHONPATH=library
        )
        counts, bad = outcome(said)
        report(
            f"{path}: {counts}{' (stopped)' if code in STOPPED else ''}; {(time.monotonic() - begin) / 60:.0f} min"
        )
        for case in bad:
            report(f"  {case}")
        good = good and code in (0, 5)
        if code == INTERRUPTED:
            break
    return good


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make elsewhere", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--package", type=Path, required=True, help="phloem_VERSION_ARCH.deb, as make deb writes it"
    )
    parser.add_argument("--root", type=Path, help="folder with that Debian, made if it is not there")
    parser.add_argument("--log", type=Path, help="all that is printed; build/elsewhere/ARCH.log")
    parser.add_argument("--results", type=Path, help="the summary; tests/elsewhere/results/ARCH.txt")
    parser.add_argument("--append", action="store_true", help="add to log and summary what is there already")
    parser.add_argument("--no-suite", action="store_true", help="only the package")
    parser.add_argument("--no-package", action="store_true", help="it is installed, and was looked at")
    parser.add_argument(
        "--minutes", type=float, default=120, help="a part of the suite that takes longer is stopped"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes for tests")
    parser.add_argument("-k", default="not nats-server", help="which cases, as pytest understands it")
    parser.add_argument("tests", nargs="*", help="parts of the suite")
    wish = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which setsid's children in a shell's background ignore
    try:
        arch = packages_architecture(wish.package)
        log = wish.log or ROOT / f"build/elsewhere/{arch}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if not wish.append:
            log.write_text("")
        report = Report(wish.results or RESULTS / f"{arch}.txt", wish.append)
        machine = Machine(arch, wish.root or Path(f"/var/tmp/phloem-{arch}"))
        host = f"qemu-user on {platform.machine()} (Linux {platform.release()})"
        report(f"{arch}, Debian 12 by debootstrap, {host}; {datetime.now(UTC):%Y-%m-%d}")
        good = wish.no_package or package(machine, wish.package, log, report)
        if not wish.no_suite:
            good = suite(machine, wish.tests or list(SUITE), wish, log, report) and good
    except ProgramError as error:
        print(f"not run: {error}", file=sys.stderr)
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
