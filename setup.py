"""The list of compiled extensions; everything else is declared in pyproject.toml.

With sanitizers they are built by ``tests/fuzz/sanitized.py``, which has only the C files made here.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SHARED = Path(".src/phloem/shared")
OPTIMISED = ["-O3", "-g0", "-fno-semantic-interposition", "-fno-plt", "-Wno-unused-function"]


def jobs() -> int:
    """How many to compile at once: a compiler may want 1 GB, which a small device has once."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory >> 30))


setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.relative_to(".src").with_suffix("").parts),
                [str(source)],
                extra_compile_args=OPTIMISED,
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
