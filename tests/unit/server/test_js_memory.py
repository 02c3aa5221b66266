"""How much memory streams may take: control groups as the kernel shows them."""

import os
from pathlib import Path

import pytest

from phloem.shared.server.jetstream.memory import bound_of_streams, service_bound

MB = 1 << 20
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def group(folder: Path, lines: str, files: dict[str, str]) -> tuple[Path, Path]:
    (folder / "cgroup").write_text(lines)
    for name, text in files.items():
        path = folder / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder / "cgroup", folder / "fs"


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/system.slice/phloem-edge.service\n",
         {"system.slice/phloem-edge.service/memory.high": f"{192 * MB}",
          "system.slice/phloem-edge.service/memory.max": f"{256 * MB}", "system.slice/memory.max": "max"}, 192 * MB),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/b/memory.high": "max", "a/memory.max": f"{64 * MB}"}, 64 * MB),
        ("0::/\n", {"memory.max": f"{100 * MB}"}, 100 * MB),  # in a container
        ("0::/../elsewhere\n", {}, 0),
        ("12:cpu,cpuacct:/x\n5:memory:/x\n0::/\n",
         {"memory/x/memory.limit_in_bytes": f"{80 * MB}", "cpu/x/memory.limit_in_bytes": "1"}, 80 * MB),
        ("5:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712"}, 9223372036854771712),
        ("", {}, 0),
    ],
)  # fmt: skip
def test_what_a_service_may_use(tmp_path: Path, lines: str, files: dict[str, str], expected: int) -> None:
    assert service_bound(*group(tmp_path, lines, files)) == expected


def test_streams_have_a_third_of_it(tmp_path: Path) -> None:
    made = group(tmp_path, "0::/s\n", {"s/memory.high": f"{96 * MB}"})
    assert bound_of_streams(*made) == 32 * MB


@pytest.mark.parametrize("text", ["max", "9223372036854771712", f"{MACHINE * 2}"])
def test_without_a_bound_it_is_the_machines(tmp_path: Path, text: str) -> None:
    made = group(tmp_path, "0::/s\n", {"s/memory.max": text})
    assert bound_of_streams(*made) == int(MACHINE * 0.75)
