"""The text of ``--help``: groups and examples; every line about an option comes from its declaration."""

import textwrap

from phloem.shared.server.declare import Declared, walk
from phloem.shared.server.options import Options

WIDTH, COLUMN = 100, 38
GROUPS = {
    "Server": ("host", "port", "server_name", "client_advertise", "http_port", "pid_file", "ports_file_dir"),
    "Logging": (
        *("debug", "trace", "log_file", "log_size_limit", "log_format", "logtime", "logtime_utc"),
        "max_traced_msg_len",
    ),
    "Streams (JetStream)": ("jetstream", "store_dir"),
    "Who may connect": ("user", "password", "token"),
    "TLS": ("https_port",),
}
CONTROL = (
    ("-c, --config <file>", "Configuration file; every option is in docs/configuration.md"),
    ("-t", "Check the configuration file and end"),
    ("-sl, --signal <signal>[=<pid>]", "Send reload, reopen, ldm, quit, term or stop to a running server, "
     "found by itself, by process id or by the file that holds the id"),
)  # fmt: skip
TRACING = (
    ("-DV", "Debug and trace"),
    ("-VV", "Trace the system account, too"),
    ("-DVV", "Debug and trace the system account, too"),
)
TLS = (
    ("--tls", "Clients use TLS; needs --tlscert and --tlskey"),
    ("--tlscert <file>", "Certificate, and those that lead to its root, as PEM"),
    ("--tlskey <file>", "Its key, as PEM"),
    ("--tlsverify", "Clients have to show a certificate"),
    ("--tlscacert <file>", "Roots that vouch for clients' certificates"),
    ("--help_tls", "Show suites and curves"),
)
COMMON = (("-h, --help", "Show this"), ("-v, --version", "Show the version"))


def usage(program: str, about: str) -> str:
    """The whole text for a command called ``program``."""
    options = {path[-1]: option for path, option in walk(Options) if option.opt.flags}
    parts = [f"Usage: {program} [options]\n\n{textwrap.fill(about, WIDTH)}\n"]
    for title, fields in GROUPS.items():
        rows = [_row(options[field]) for field in fields]
        extra = {"Server": CONTROL, "Logging": TRACING, "TLS": TLS}.get(title, ())
        parts.append(_section(title, [*rows, *extra]))
    parts.append(_section("Common", list(COMMON)))
    parts.append(_examples(program))
    return "\n".join(parts)


def _row(option: Declared) -> tuple[str, str]:
    names = option.opt.flags.split()
    short = [f"-{name}" for name in names if len(name) < 3]
    long = [f"--{name}" for name in names if len(name) >= 3]
    value = f" <{option.opt.value}>" if option.opt.value else ""
    return ", ".join(short + long) + value, option.opt.doc.removesuffix(".") + _default(option)


def _default(option: Declared) -> str:
    if option.default is True:
        return f"; --{option.opt.flags.split()[-1]}=false turns it off"
    return f" (default {option.default})" if option.default else ""


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"{title}:"]
    for left, right in rows:
        wrapped = textwrap.wrap(right, WIDTH - COLUMN)
        head = f"    {left}"
        if len(head) >= COLUMN:
            lines.append(head)
            head = ""
        lines.append(f"{head:<{COLUMN}}{wrapped[0]}")
        lines += [" " * COLUMN + line for line in wrapped[1:]]
    return "\n".join(lines) + "\n"


def _examples(program: str) -> str:
    rows = (
        ("", "clients on port 4222"),
        ("-p 4333 -m 8222 -DV", "another port, monitoring, everything in the log"),
        ("-c phloem.conf -t", "is the file right?"),
        ("-c phloem.conf", "run with it; flags win over the file"),
        ("--signal reload", "read the file again"),
        ("--signal ldm=/run/phloem.pid", "let clients go one by one, then end"),
    )
    width = max(len(args) for args, _ in rows) + len(program) + 5
    lines = [f"    {program} {args}".rstrip().ljust(width + 2) + f"# {what}" for args, what in rows]
    return "Examples:\n" + "\n".join(lines) + "\n"
