"""The list of compiled extensions; everything else is declared in pyproject.toml.

``PHLOEM_SANITIZE=1`` builds the kernel with AddressSanitizer and UBSan, for ``make fuzz``.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SHARED = Path(".src/phloem/shared")
OPTIMISED = ["-O3", "-fno-semantic-interposition", "-fno-plt", "-Wno-unused-function"]
SANITIZED = [
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
    "-Wno-unused-function",
]

sanitize = os.environ.get("PHLOEM_SANITIZE") == "1"
flags = SANITIZED if sanitize else OPTIMISED
link = ["-fsanitize=address,undefined"] if sanitize else []

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.relative_to(".src").with_suffix("").parts),
                [str(source)],
                extra_compile_args=flags,
                extra_link_args=link,
            )
            for source in sorted(SHARED.glob("*/*.pyx"))
        ],
        language_level=3,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": False,
            "freethreading_compatible": False,
        },
    )
)
