"""Programs that a machine may not have."""

import subprocess
from pathlib import Path


class ProgramError(Exception):
    """It is missing, or failed; the text says what to do."""


def output(*words: str | Path, packages: str) -> str:
    """What a program prints. ``packages``: Debian's, that have what is needed. Raises ProgramError."""
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ProgramError(f"{words[0]} is missing: apt-get install {packages}") from None
    if done.returncode:
        raise ProgramError(f"{words[0]}: {(done.stdout + done.stderr).strip()[-1500:]}")
    return done.stdout
