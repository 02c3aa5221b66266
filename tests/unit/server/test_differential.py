"""The same files through phloem and through the real ``nats-server -t``: accepted alike, equal digests."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.server.conf import config_digest, parse_file
from phloem.shared.server.load import load
from tests.support.sampling import SHARES
from tests.unit.server.corpus import (
    DOCUMENTS,
    ENVIRONMENT,
    FEATURES,
    GRAMMAR,
    INCLUDED,
    NO_EFFECT,
    NO_EFFECT_TEXT,
    OPTIONS,
    SAME_TEXT,
)

NATS_SERVER = Path(sys.executable).parent / "nats-server"
ANY_VALUE = "resolver {\n type: MEM\n v: %s\n}\n"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in INCLUDED.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, text in ENVIRONMENT.items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def judge(folder: Path, name: str) -> str:
    """What nats-server says about a file, without its own name in front."""
    done = subprocess.run(
        [NATS_SERVER, "-t", "-c", name],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stderr.strip().removeprefix("nats-server: ")


def judged(folder: Path, texts: list[str], every: int) -> list[tuple[str, str, str]]:
    """For each ``every``-th text its file and nats-server's verdict, two at a time."""
    texts = texts[::every]
    names = [f"c{number}.conf" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (folder / name).write_text(text, newline="")
    with ThreadPoolExecutor(2) as pool:
        return list(zip(texts, names, pool.map(partial(judge, folder), names), strict=True))


def digest_in(verdict: str) -> str | None:
    found = DIGEST.search(verdict)
    return found[0] if found else None


def our_verdict(name: str) -> tuple[str | None, str]:
    """The digest if the file passes -t, and what is said if it does not."""
    try:
        loaded = load(name)
    except ConfigError as error:
        return None, str(error)
    return (None, "\n".join(loaded.warnings)) if loaded.warnings else (loaded.digest, "")


@SHARES
def test_grammar(folder: Path, every: int) -> None:
    for text, name, verdict in judged(folder, [ANY_VALUE % value for value in GRAMMAR], every):
        try:
            ours = config_digest(parse_file(name))
        except ConfigError:
            ours = None
        assert ours == digest_in(verdict), (text, verdict)


@SHARES
def test_documents_and_options(folder: Path, every: int) -> None:
    for text, name, verdict in judged(folder, [*DOCUMENTS, *OPTIONS, *NO_EFFECT], every):
        ours, said = our_verdict(name)
        assert ours == digest_in(verdict), (text, verdict, said)


@SHARES
def test_features_phloem_does_not_have(folder: Path, every: int) -> None:
    for text, name, verdict in judged(folder, FEATURES, every):
        assert digest_in(verdict), (text, verdict)
        ours, said = our_verdict(name)
        assert ours is None
        assert re.fullmatch(r'c\d+\.conf:\d+:\d+: "\w+" is not supported by phloem \S+ yet', said), (
            text,
            said,
        )


@SHARES
def test_wording(folder: Path, every: int) -> None:
    for text, name, verdict in judged(folder, [*SAME_TEXT, *NO_EFFECT_TEXT], every):
        assert our_verdict(name) == (None, verdict), text
