"""The list of compiled extensions; everything else is declared in pyproject.toml.

With sanitizers they are built by ``tests/fuzz/sanitized.py``, which has only the C files made here.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SHARED = Path(".src/phloem/shared")
# The second line is Python's own, which somebody's CFLAGS would replace: no assertions, and sums that wrap around
OPTIMISED = ["-O3", "-g0", "-fno-semantic-interposition", "-fno-plt", "-Wno-unused-function"]
OPTIMISED += ["-DNDEBUG", "-fwrapv"]
# Work of a start, a repair or once a generation: at -O3 they would take half of the compile for nothing
COLD = {"store": ("contents", "frames", "generations", "inspect", "replay", "store"), "testing": ("faults",)}


def jobs() -> int:
    """How many to compile at once: a compiler may want 1 GB, which a small device has once."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory >> 30))


def flags(source: Path) -> list[str]:
    """How one file is compiled."""
    cold = source.stem in COLD.get(source.parent.name, ())
    return ["-O1" if flag == "-O3" and cold else flag for flag in OPTIMISED]


setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.relative_to(".src").with_suffix("").parts),
                [str(source)],
                extra_compile_args=flags(source),
            )
            for source in sorted(SHARED.glob("*/*.pyx"))
        ],
        nthreads=jobs() if jobs() > 1 else 0,
        language_level=3,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": False,
            "freethreading_compatible": False,
        },
    ),
    options={"build_ext": {"parallel": jobs()}},
)
