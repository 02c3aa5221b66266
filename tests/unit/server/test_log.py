"""The forms of a log line, the file, rotation; pid and ports files."""

import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phloem.shared.server import files, log
from phloem.shared.server.log_file import LogFile
from phloem.shared.server.options import Options
from phloem.shared.server.options_phloem import PhloemOptions

CREATED = 1_795_452_212.895803  # 2026-11-23 16:43:32.895803 UTC


@pytest.fixture(autouse=True)
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    before = (list(log.LOGGER.handlers), log.LOGGER.level, log.LOGGER.propagate)
    yield logging.getLogger("phloem.server")
    for handler in list(log.LOGGER.handlers):
        log.LOGGER.removeHandler(handler)
        handler.close()
    for handler in before[0]:
        log.LOGGER.addHandler(handler)
    log.LOGGER.setLevel(before[1])
    log.LOGGER.propagate = before[2]


def record(text: str, level: int = logging.INFO, created: float = CREATED) -> logging.LogRecord:
    made = logging.LogRecord("phloem.server", level, "", 0, text, None, None)
    made.created = created
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def options(log_format: str = "auto", **fields: object) -> Options:
    return Options(phloem=PhloemOptions(log_format=log_format), **fields)  # type: ignore[arg-type]


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_line_of_nats_server() -> None:
    shown = log.TextFormatter(pid=7, logtime=True, utc=True, colour=False).format(record("Server is ready"))
    assert shown == "[7] 2026/11/23 16:43:32.895803 [INF] Server is ready"


def test_line_without_time() -> None:
    assert (
        log.TextFormatter(pid=7, logtime=False, utc=True, colour=False).format(record("x")) == "[7] [INF] x"
    )


def test_microseconds_never_round_into_a_seventh_digit() -> None:
    formatter = log.TextFormatter(pid=7, logtime=True, utc=True, colour=False)
    assert formatter.format(record("x", created=1.9999999)) == "[7] 1970/01/01 00:00:02.000000 [INF] x"


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (log.TRACE, "TRC"),
        (logging.DEBUG, "DBG"),
        (logging.INFO, "INF"),
        (logging.WARNING, "WRN"),
        (logging.ERROR, "ERR"),
        (logging.CRITICAL, "FTL"),
        (25, "INF"),
        (1, "TRC"),
    ],
)
def test_labels(level: int, name: str) -> None:
    assert log.label(level) == name


def test_colours_on_a_terminal(logger: logging.Logger) -> None:
    stream = Terminal()
    log.configure(options(logtime=False), stream)
    logger.error("bad")
    assert lines(stream) == [f"[{os.getpid()}] [\x1b[31mERR\x1b[0m] bad"]


@pytest.mark.parametrize(
    ("flags", "labels"),
    [
        ({}, ["INF"]),
        ({"debug": True}, ["DBG", "INF"]),
        ({"trace": True}, ["TRC", "INF"]),
        ({"trace": True, "debug": True}, ["TRC", "DBG", "INF"]),
    ],
)
def test_levels(logger: logging.Logger, flags: dict[str, bool], labels: list[str]) -> None:
    stream = io.StringIO()
    log.configure(options(**flags), stream)
    logger.log(log.TRACE, "t")
    logger.debug("d")
    logger.info("i")
    assert re.findall(r"\[([A-Z]{3})\]", stream.getvalue()) == labels


def test_json(logger: logging.Logger) -> None:
    stream = io.StringIO()
    log.configure(options("json"), stream)
    logger.warning("slow %s", "client", extra={"cid": 5, "peer": Path("/x"), "text": "never wins"})
    got = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", got.pop("time"))
    assert got == {
        "level": "WRN",
        "pid": os.getpid(),
        "logger": "phloem.server",
        "text": "slow client",
        "cid": 5,
        "peer": "/x",
    }


def test_traceback_in_every_form(logger: logging.Logger) -> None:
    for form in ("text", "json", "journal"):
        stream = io.StringIO()
        log.configure(options(form), stream)
        try:
            raise OSError("disk")
        except OSError:
            logger.exception("failed")
        assert "OSError: disk" in stream.getvalue(), form
    assert all(line.startswith("<3>") for line in lines(stream))


def test_journal_is_found_by_its_inode(
    logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stderr").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.configure(options(), stream)
        logger.warning("low disk\nreally")
        stream.seek(0)
        assert stream.read() == "<4>low disk\n<4>really\n"
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not log.is_journal(stream)
    assert not log.is_journal(io.StringIO())


def test_configure_again_moves_everything(logger: logging.Logger, tmp_path: Path) -> None:
    stream = io.StringIO()
    log.configure(options(), stream)
    assert not log.reopen(), "no file is in use"
    log.configure(options(log_file=str(tmp_path / "log")), stream)
    assert log.reopen()
    logger.info("in the file")
    assert stream.getvalue() == ""
    (file,) = log.LOGGER.handlers
    assert isinstance(file, LogFile)
    with pytest.raises(FileNotFoundError):
        log.configure(options(log_file=str(tmp_path / "no/log")), stream)
    logger.info("still in the file")
    texts = [line.partition("[INF] ")[2] for line in (tmp_path / "log").read_text().splitlines()]
    assert texts == ["in the file", "still in the file"]


def log_file(path: Path, **limits: int) -> LogFile:
    handler = LogFile(path, **limits)
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


def test_log_file_mode_and_append(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for text in ("one", "two \udcff"):
        handler = log_file(path)
        handler.emit(record(text))
        handler.close()
        handler.emit(record("after close"))
    assert path.read_text() == "one\ntwo \\udcff\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_reopen_after_the_file_was_moved(tmp_path: Path) -> None:
    handler = log_file(tmp_path / "log")
    handler.emit(record("one"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    handler.emit(record("two"))
    handler.reopen()
    handler.emit(record("three"))
    handler.close()
    assert (tmp_path / "log.1").read_text() == "one\ntwo\n"
    assert (tmp_path / "log").read_text() == "three\n"


def test_rotation(tmp_path: Path) -> None:
    handler = log_file(tmp_path / "log", size_limit=1000)
    first, second = "a" * 499, "b" * 499
    for text in (first, second, "c"):
        handler.emit(record(text))
    handler.close()
    (backup,) = (path for path in tmp_path.iterdir() if path.name != "log")
    assert re.fullmatch(r"log\.2026\.11\.2[34]\.\d\d\.\d\d\.32\.8958\d{5}", backup.name)
    assert backup.read_text() == f"{first}\n{second}\n"
    assert (tmp_path / "log").read_text() == f'Rotated log, backup saved as "{backup}"\nc\n'


def test_rotation_purges_the_oldest(tmp_path: Path) -> None:
    (tmp_path / "log.old").write_text("not a backup")
    handler = log_file(tmp_path / "log", size_limit=1, max_num=3)
    for number in range(5):
        handler.emit(record(f"line {number}", created=CREATED + number))
    handler.close()
    backups = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("log.2026"))
    assert [name.split(".")[6] for name in backups] == ["35", "36"]
    text = (tmp_path / "log").read_text()
    assert "line 4" in text
    assert re.search(r'Purged log file "[^"]*/log\.2026\.[\d.]*\.34\.\d{9}"', text)
    assert (tmp_path / "log.old").exists()


def test_rotation_at_the_same_instant_keeps_both(tmp_path: Path) -> None:
    handler = log_file(tmp_path / "log", size_limit=1)
    for text in ("a", "b", "c"):
        handler.emit(record(text))
    handler.close()
    assert len(list(tmp_path.iterdir())) == 3


def test_full_disk_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = log_file(Path("/dev/full"))
    handler.emit(record("lost"))
    handler.close()
    assert "No space left on device" in capsys.readouterr().err


def test_pid_file(tmp_path: Path) -> None:
    files.write_pid_file(tmp_path / "pid")
    assert (tmp_path / "pid").read_text() == str(os.getpid())
    assert (tmp_path / "pid").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError):
        files.write_pid_file(tmp_path / "no" / "pid")


def test_ports_file(tmp_path: Path) -> None:
    path = files.ports_file(tmp_path, "nats-server")
    assert path == tmp_path / f"nats-server_{os.getpid()}.ports"
    files.write_ports_file(
        path, {"nats": ["nats://127.0.0.1:4222"], "monitoring": [], "leafnodes": ["a", "b"]}
    )
    assert path.read_text() == '{"nats":["nats://127.0.0.1:4222"],"leafnodes":["a","b"]}'
    assert path.stat().st_mode & 0o777 == 0o644
    files.remove_file(path)
    files.remove_file(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("called", "name"),
    [("/usr/bin/phloem", "phloem"), ("/x/__main__.py", "phloem"), ("nats-server", "nats-server")],
)
def test_ports_file_has_the_name_of_the_program(
    monkeypatch: pytest.MonkeyPatch, called: str, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert files.ports_file("d").name == f"{name}_{os.getpid()}.ports"


def test_ports_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.ports").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        files.write_ports_file(tmp_path / "x.ports", {"nats": ["a"]})
    assert [path.name for path in tmp_path.iterdir()] == ["x.ports"]
