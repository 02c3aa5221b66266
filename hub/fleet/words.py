"""What the commands of a fleet share: settings of click, time, and how they end.

Exit codes: 0 done, 1 it did not work and nothing was changed, 2 wrong words, 3 done here, but the hub was not told.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from phloem.shared.clock import SystemClock
from phloem.shared.errors import PhloemError
from phloem.shared.limits import SECOND_NS

FAILED, NOT_TOLD = 1, 3
SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def now_s() -> int:
    """Seconds since 1970 UTC."""
    return SystemClock().wall_ns() // SECOND_NS


@contextlib.contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """What is expected to go wrong is told without a traceback, and ends with ``FAILED``."""
    try:
        yield
    except (PhloemError, OSError) as error:
        for line in str(error).splitlines():
            click.echo(f"phloem {command}: {line}", err=True)
        sys.exit(FAILED)
