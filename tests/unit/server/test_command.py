"""What the command prints and returns; the server itself is replaced by a recorder."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

import phloem
from phloem.shared.errors import ConfigError
from phloem.shared.server import command, program
from phloem.shared.server.options import Options

Invoke = Callable[..., Result]


class Served:
    """Stands where the server would run."""

    options: Options
    reload_source: Callable[[], Options]

    def serve(self, options: Options, reload_source: Callable[[], Options]) -> int:
        self.options, self.reload_source = options, reload_source
        return 7


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    recorder = Served()
    module = types.ModuleType("phloem.shared.server.run")
    monkeypatch.setattr(module, "serve", recorder.serve, raising=False)
    monkeypatch.setitem(sys.modules, "phloem.shared.server.run", module)
    return recorder


@pytest.fixture
def invoke() -> Invoke:
    return lambda *words: CliRunner().invoke(command.server, list(words))


def test_options_reach_the_server(invoke: Invoke, served: Served, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("port: 1\nhost: h\nping_interval: 5")
    done = invoke("-c", str(tmp_path / "f"), "-p", "2", "-T=false")
    assert done.exit_code == 7
    assert done.stderr == (
        f'phloem server: {tmp_path}/f:3:1: invalid use of field "ping_interval": '
        "ping_interval should be converted to a duration\n"
    )
    got = served.options
    assert (got.port, got.host, got.logtime, got.ping_interval_ns) == (2, "h", False, 5 * 10**9)
    assert got.config_file == str(tmp_path / "f")
    assert got.config_digest.startswith("sha256:")


def test_reload_reads_the_file_again_and_keeps_flags(invoke: Invoke, served: Served, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("port: 1")
    invoke("-c", str(tmp_path / "f"), "-D")
    (tmp_path / "f").write_text("port: 3\ndebug: false")
    fresh = served.reload_source()
    assert (fresh.port, fresh.debug) == (3, True)
    (tmp_path / "f").write_text("max_payload: 2MB, max_pending: 1MB")
    with pytest.raises(ConfigError, match="cannot be higher"):
        served.reload_source()


def test_reload_without_a_file(invoke: Invoke, served: Served) -> None:
    invoke()
    with pytest.raises(ConfigError, match="can only reload config when a file is provided"):
        served.reload_source()


def test_profile_of_a_product(served: Served, tmp_path: Path) -> None:
    def adjust(options: Options) -> Options:
        if "max_connections" in options.explicit:
            return options
        return msgspec.structs.replace(options, max_connections=100)

    edge = command.ServerCommand(program.Product("edge", "An edge.", adjust))
    (tmp_path / "f").write_text("max_connections: 5")
    assert CliRunner().invoke(edge, ["-c", str(tmp_path / "f")]).exit_code == 7
    assert served.options.max_connections == 5
    (tmp_path / "f").write_text("port: 5")
    assert served.reload_source().max_connections == 100


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        ("-v", 0, f"phloem: v{phloem.__version__} (speaks NATS 2.15.1)", ""),
        ("version", 0, f"phloem: v{phloem.__version__} (speaks NATS 2.15.1)", ""),
        ("--help", 0, "Usage: phloem server [options]", ""),
        ("HELP", 0, "Usage: phloem server [options]", ""),
        ("-foo", 0, "Usage: phloem server [options]", "flag provided but not defined: -foo"),
        ("-p x", 0, "Usage: phloem server [options]", 'invalid value "x" for flag -p: parse error'),
        ("-tls", 1, "", "phloem server: TLS Server certificate must be present and valid"),
        ("-tls --tlscert x", 1, "", "phloem server: TLS Server private key must be present and valid"),
        ("foo", 1, "", 'phloem server: unrecognized command: "foo"'),
        ("-t", 1, "", "phloem server: must specify [-c, --config] option to check configuration file syntax"),
        ("-c /nope.conf", 1, "", "phloem server: open /nope.conf: no such file or directory"),
        ("-p 70000", 1, "", "phloem server: port 70000 is not between -1 and 65535"),
        ("--signal foo", 1, "", 'phloem server: unknown signal "foo"'),
    ],
)
def test_texts_and_exit_codes(
    invoke: Invoke, served: Served, words: str, code: int, out: str, err: str
) -> None:
    done = invoke(*words.split())
    assert done.exit_code == code
    assert done.stdout.partition("\n")[0] == out
    assert done.stderr.rstrip("\n") == err
    assert not hasattr(served, "options")


def test_version_under_the_name_of_nats_server(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/nats-server"])
    assert invoke("-v").stdout == "nats-server: v2.15.1\n"
    assert invoke("foo").stderr == 'nats-server: unrecognized command: "foo"\n'


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("port: 1", 0, r"phloem server: configuration file {f} is valid (sha256:"),
        ("", 1, "phloem server: {f}: config has no values or is empty"),
        ("port: x\nfoo: 1", 1, 'phloem server: {f}:1:0: "port" expects integer, got the string "x"\nphloem'),
        ("a: [", 1, "phloem server: Parse error on line 1: '"),
        ("max_payload: 8MB, max_pending: 1MB", 0, "phloem server: configuration file {f} is valid"),
    ],
)  # fmt: skip
def test_check(invoke: Invoke, served: Served, tmp_path: Path, text: str, code: int, said: str) -> None:
    (tmp_path / "f").write_text(text)
    done = invoke("-t", "-c", str(tmp_path / "f"))
    assert done.exit_code == code
    assert done.stderr.startswith(said.format(f=tmp_path / "f"))
    assert not hasattr(served, "options")


def test_help_names_every_flag(invoke: Invoke) -> None:
    from phloem.shared.server.declare import walk

    text = invoke("--help").stdout
    for _, option in walk(Options):
        for flag in option.opt.flags.split():
            assert f"-{flag}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_help_of_click_is_the_same(invoke: Invoke) -> None:
    import click

    context: Any = click.Context(command.server)
    assert command.server.get_help(context) == invoke("-h").stdout.removesuffix("\n")
