"""Compiles the board's C for this machine, with sanitizers, once for each content."""

import hashlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[4]
C = ROOT / "firmware_bridge" / "boards" / "c"
BUILD = ROOT / "build" / "boards"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZED = (
    "-g1",
    "-O1",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def built(name: str, *flags: str) -> Path:
    """The program of ``host/<name>.c`` and the board's file. Takes some seconds when something changed."""
    sources = [C / "host" / f"{name}.c", C / "src" / "edgelink.c"]
    text = b"".join(p.read_bytes() for p in (*sources, C / "src" / "edgelink.h"))
    command = [*compiler(), *STRICT, *SANITIZED, *flags]
    target = BUILD / f"{name}-{hashlib.sha256(text + repr(command).encode()).hexdigest()[:16]}"
    if target.exists():
        return target
    BUILD.mkdir(parents=True, exist_ok=True)
    # Beside the target and moved: tests that build at the same time see whole files only
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        output = Path(scratch) / name
        subprocess.run([*command, *map(str, sources), "-o", str(output)], check=True)
        output.replace(target)
    return target
