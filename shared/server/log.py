"""Where log records go: stdlib logging under the logger ``phloem``, in one of four forms.

* text: nats-server's line, ``[PID] 2026/11/23 16:43:32.895803 [INF] text``; coloured on a terminal
* json: one object a line with what the call passed in ``extra``
* journal: with fields in the journal's own protocol (``journal.py``), which adds time and process id itself; where no
  journal listens, ``<6>text`` on stderr, with the priority that systemd reads
* auto: journal when systemd reads stderr, else text

Levels are logging's, with ``TRACE`` below DEBUG for the protocol. Tracing without debug is possible, as in
nats-server: the trace is shown and debug lines are not. ``configure`` may be called again on reload; the
time in a line is the record's own.
"""

import logging
import os
import sys
import time
import traceback
from typing import IO, Any

import msgspec

from phloem.shared.server.journal import SOCKET, JournalHandler
from phloem.shared.server.log_file import LogFile
from phloem.shared.server.options import Options

TRACE = 5
JOURNAL = SOCKET  # tests have another one
LOGGER = logging.getLogger("phloem")

_LABELS = {
    TRACE: "TRC",
    logging.DEBUG: "DBG",
    logging.INFO: "INF",
    logging.WARNING: "WRN",
    logging.ERROR: "ERR",
    logging.CRITICAL: "FTL",
}
_COLOURS = {"TRC": "33", "DBG": "36", "INF": "32", "WRN": "0;93", "ERR": "31", "FTL": "31"}
_PRIORITIES = {"TRC": 7, "DBG": 7, "INF": 6, "WRN": 4, "ERR": 3, "FTL": 2}  # of syslog, sd-daemon(3)
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def label(levelno: int) -> str:
    """nats-server's three letters; a level between two counts as the lower."""
    return _LABELS[max((level for level in _LABELS if level <= levelno), default=TRACE)]


class TextFormatter(logging.Formatter):
    """nats-server's line."""

    def __init__(self, *, pid: int, logtime: bool, utc: bool, colour: bool) -> None:
        super().__init__()
        self._pid, self._logtime, self._colour = pid, logtime, colour
        self._clock = time.gmtime if utc else time.localtime

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there is one."""
        name = label(record.levelno)
        shown = f"[\x1b[{_COLOURS[name]}m{name}\x1b[0m]" if self._colour else f"[{name}]"
        when = f"{self._stamp(record.created)} " if self._logtime else ""
        return f"[{self._pid}] {when}{shown} {record.getMessage()}{_trace_of(record)}"

    def _stamp(self, created: float) -> str:
        micros = round(created * 1_000_000)
        seconds = self._clock(micros // 1_000_000)
        return f"{time.strftime('%Y/%m/%d %H:%M:%S', seconds)}.{micros % 1_000_000:06d}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, pid, logger, text, then the fields of the call."""

    def __init__(self, *, pid: int) -> None:
        super().__init__()
        self._pid = pid

    def format(self, record: logging.LogRecord) -> str:
        """The object; a field that is no JSON value is its string."""
        micros = round(record.created * 1_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(micros // 1_000_000))
        fields: dict[str, Any] = {
            "time": f"{stamp}.{micros % 1_000_000:06d}Z",
            "level": label(record.levelno),
            "pid": self._pid,
            "logger": record.name,
            "text": record.getMessage(),
        }
        fields |= {
            key: value for key, value in vars(record).items() if key not in _OWN_FIELDS | fields.keys()
        }
        if record.exc_info:
            fields["traceback"] = _trace_of(record).lstrip("\n")
        return msgspec.json.encode(fields, enc_hook=str).decode()


class JournalFormatter(logging.Formatter):
    """Lines with a priority in front, which the journal reads and removes."""

    def format(self, record: logging.LogRecord) -> str:
        """Every line of the text gets the priority, or the journal would take the rest as information."""
        text = record.getMessage() + _trace_of(record)
        priority = f"<{_PRIORITIES[label(record.levelno)]}>"
        return "\n".join(priority + line for line in text.split("\n"))


def is_journal(stream: IO[str]) -> bool:
    """Whether systemd's journal reads this stream: it names device and inode in ``JOURNAL_STREAM``."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(options: Options, stream: IO[str] | None = None) -> None:
    """Send phloem's records where the options say.

    The handler of an earlier call is closed once the new one stands.

    Raises:
        OSError: The log file cannot be opened; logging stays as it was.
    """
    stream = stream or sys.stderr
    file = _open_file(options)
    handler: logging.Handler = file or _journal(options, stream) or logging.StreamHandler(stream)
    handler.setFormatter(_formatter(options, stream))
    if options.trace and not options.debug:
        handler.addFilter(lambda record: record.levelno != logging.DEBUG)
    before = list(LOGGER.handlers)
    LOGGER.addHandler(handler)
    for old in before:
        LOGGER.removeHandler(old)
        old.close()
    LOGGER.setLevel(TRACE if options.trace else logging.DEBUG if options.debug else logging.INFO)
    LOGGER.propagate = False


def reopen() -> bool:
    """Go on in a new log file of the same name; False when none is in use.

    Raises:
        OSError: It cannot be opened; the old one stays in use.
    """
    files = [handler for handler in LOGGER.handlers if isinstance(handler, LogFile)]
    for file in files:
        file.reopen()
    return bool(files)


def _open_file(options: Options) -> LogFile | None:
    if not options.log_file:
        return None
    return LogFile(options.log_file, size_limit=options.log_size_limit, max_num=options.log_max_num)


def _journal(options: Options, stream: IO[str]) -> logging.Handler | None:
    """The journal itself, if it reads this stream as well: a copy of the log that goes elsewhere stays there."""
    if options.phloem.log_format not in ("journal", "auto") or not is_journal(stream):
        return None
    try:
        return JournalHandler(lambda level: _PRIORITIES[label(level)], JOURNAL, stream)
    except OSError:  # none listens
        return None


def _formatter(options: Options, stream: IO[str]) -> logging.Formatter:
    form, in_file = options.phloem.log_format, bool(options.log_file)
    if form == "json":
        return JsonFormatter(pid=os.getpid())
    if form == "journal" or (form == "auto" and not in_file and is_journal(stream)):
        return JournalFormatter()
    colour = not in_file and stream.isatty()
    return TextFormatter(pid=os.getpid(), logtime=options.logtime, utc=options.logtime_utc, colour=colour)


def _trace_of(record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")


logging.addLevelName(TRACE, "TRACE")
