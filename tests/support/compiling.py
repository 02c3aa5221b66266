"""Test files compiled in shares. pytest rewrites the assertions of each file once and keeps what comes of it; in a new
checkout that takes half a minute of a processor, and workers that collect the same files at the same time would each
do all of it. What is used is pytest's own, as its import hook uses it.
"""

import sys
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

TESTS = Path(__file__).parent.parent


def compile_share(config: pytest.Config, number: int, workers: int) -> None:
    """Every ``workers``-th test file from ``number`` on, if all are wanted and nobody has compiled it yet."""
    wanted = [config.invocation_params.dir / argument for argument in config.args]
    if wanted != [TESTS] or sys.dont_write_bytecode:
        return
    state = config.stash[rewrite.assertstate_key]
    for file in sorted(TESTS.rglob("test_*.py"))[number::workers]:
        folder = rewrite.get_cache_dir(file)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / (file.stem + rewrite.PYC_TAIL)
        if rewrite._read_pyc(file, kept) is None:
            of_source, code = rewrite._rewrite_test(file, config)
            rewrite._write_pyc(state, code, of_source, kept)
