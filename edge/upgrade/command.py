"""``phloem upgrade``."""

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from phloem.edge.upgrade.device import Device, environment_of
from phloem.edge.upgrade.machine import End, Outcome, UpgradeError, resume
from phloem.edge.upgrade.machine import upgrade as carry_out
from phloem.edge.upgrade.package import run_program
from phloem.edge.upgrade.rehearsal import rehearse

LOCK = "/run/phloem-upgrade.lock"

_TOLD = {
    End.DONE: "{new} is installed and healthy.",
    End.UNCHANGED: "Nothing was changed, {old} serves: {why}",
    End.RETURNED: "{old} is back and serves: {why}",
    End.STUCK: "It needs you: {why}\nThe next boot, and phloem upgrade, try to put the old version back.",
}


@click.command("upgrade", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument(
    "package",
    required=False,
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
)
@click.option(
    "--copy-to",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Folder for the copy of the store, if there is no room beside it: a USB stick, say.",
)
@click.option("--rehearse", "copy", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Only let this version use STORE_DIR, which is a copy that is written to.")  # fmt: skip
@click.option(
    "-c", "--config", default="/etc/phloem/edge.conf", metavar="FILE", help="For --rehearse: the broker's."
)
@click.pass_context
def upgrade(
    ctx: click.Context, package: Path | None, copy_to: Path | None, copy: Path | None, config: str
) -> None:
    """Install another version of phloem's Debian package, and return to this one if that does not serve.

    The new version is unpacked beside this one and rehearses on a copy of the store; then this one checks the copy, so
    that there is a way back. Only then is it installed. If it is not healthy within 60 s (a slow device: twice what a
    start takes), the old version is installed again. A power cut in the middle leaves the old version or the new one,
    not both. Without PACKAGE: end what was cut short.

    \b
    Exit code 0: the new version serves; 1: nothing was changed; 2: the old version is back; 3: neither.
      sudo phloem upgrade phloem_0.5.0_arm64.deb
    """
    if copy is not None:
        try:
            found = rehearse(copy, config)
        except UpgradeError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{found.totals.messages} messages; all is well")
        return
    if os.geteuid():
        raise click.ClickException("this needs root: sudo phloem upgrade ...")
    for name, value in environment_of(run_program).items():
        os.environ.setdefault(name, value)
    with _alone(), _Shown() as shown, _calm() as interrupted:
        device = Device(package, shown.step, shown.copied, copy_to=copy_to, interrupted=interrupted)
        try:
            outcome = carry_out(device) if package else resume(device)
        except UpgradeError as error:
            outcome = Outcome(End.UNCHANGED, str(error))
        names = _names(device)
    if outcome is None:
        click.echo("Nothing was cut short.")
        return
    click.echo(_TOLD[outcome.end].format(why=outcome.why, **names))
    ctx.exit(outcome.end.value)


def _names(device: Device) -> dict[str, str]:
    try:
        version = device.installed()
    except UpgradeError:
        version = "phloem"
    return {"old": version, "new": version}


@contextmanager
def _alone() -> Iterator[None]:
    """Raises ClickException: another one is at it."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise click.ClickException("another phloem upgrade is at work") from None
    finally:
        os.close(descriptor)


class _Shown:
    """The step and how much of the copy is done: a bar on a terminal, a line for each step elsewhere."""

    def __enter__(self) -> Self:
        self._console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        )
        self._bar.__enter__()
        self._task = self._bar.add_task("beginning", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__(None, None, None)

    def step(self, what: str) -> None:
        """It begins now."""
        self._bar.update(self._task, description=escape(what), total=None)
        if not self._console.is_terminal:
            click.echo(what, err=True)

    def copied(self, done: int, whole: int) -> None:
        """Bytes of the store."""
        self._bar.update(self._task, completed=done, total=whole)


@contextmanager
def _calm() -> Iterator[Callable[[], None]]:
    """A terminal that goes away ends nothing. The first interruption takes effect between two steps, where what is
    given is called; the next ones have none, as the way back is not to be disturbed."""
    asked: list[int] = []

    def interrupted() -> None:
        if asked and asked[0]:
            asked[0] = 0
            raise KeyboardInterrupt

    def note(number: int, _frame: object) -> None:
        if not asked:
            asked.append(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
