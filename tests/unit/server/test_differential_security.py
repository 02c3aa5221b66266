"""Configurations about who may connect through phloem and through the real nats-server, with ``-t`` and starting."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load, merge
from phloem.shared.server.validation import validate
from tests.support.sampling import SHARES
from tests.unit.server.corpus_security import CHECKED, FILES, REFUSED_AT_START, SAME_TEXT, SAME_WORDS, STARTS
from tests.unit.server.corpus_sharing import (
    EXPORTS,
    IMPORTS,
    MAPPINGS,
    SAME_TEXT_BETWEEN,
    SAME_TEXT_EXPORTS,
)
from tests.unit.server.test_differential import NATS_SERVER, digest_in, judged, our_verdict

READY = "Server is ready"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@SHARES
def test_accepted_alike(folder: Path, every: int) -> None:
    for text, name, verdict in judged(folder, [*CHECKED, *EXPORTS, *IMPORTS, *MAPPINGS], every):
        ours, said = our_verdict(name)
        assert ours == digest_in(verdict), (text, verdict, said)


@SHARES
def test_wording(folder: Path, every: int) -> None:
    for text, name, verdict in judged(folder, [*SAME_TEXT, *SAME_TEXT_EXPORTS, *SAME_TEXT_BETWEEN], every):
        assert our_verdict(name) == (None, verdict), text
    for text, name, verdict in judged(folder, SAME_WORDS, every):
        assert words(our_verdict(name)[1]) == words(verdict), text


def words(verdict: str) -> str:
    """Without the position in front."""
    return re.sub(r"^\S+:\d+:\d+: ", "", verdict)


def started(name: str) -> str:
    """Why nats-server does not start with a file; empty when it does."""
    with subprocess.Popen([NATS_SERVER, "-c", name], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if READY in line:
                process.kill()
                return ""
            if not line.startswith("["):
                return line.strip().removeprefix("nats-server: ")
    return "it ended without a word"


def our_start(name: str) -> str:
    try:
        validate(merge(load(name), {}))
    except ConfigError as error:
        return str(error)
    return ""


@SHARES
def test_what_only_a_server_that_starts_looks_at(folder: Path, every: int) -> None:
    texts = [*REFUSED_AT_START[::every], *STARTS[::every]]
    names = [f"s{number}.conf" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (folder / name).write_text(f'listen: "127.0.0.1:-1"\n{text}')
    with ThreadPoolExecutor(2) as pool:
        for text, name, theirs in zip(texts, names, pool.map(started, names), strict=True):
            assert our_start(name) == theirs, text
            assert bool(theirs) == (text in REFUSED_AT_START), text
