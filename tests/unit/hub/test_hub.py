"""The hub: what it starts with, and its command."""

import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from phloem.hub.app import Hub
from phloem.hub.command import hub
from phloem.hub.profile import DEFAULTS, LEAF_PORT, for_fleet
from phloem.hub.program import EXAMPLE
from phloem.shared.server.load import load, load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.profile import STORE
from phloem.shared.server.server import Server
from phloem.shared.server.validation import validate


def test_listens_for_edges_where_nothing_is_said() -> None:
    options = for_fleet(merge(None, {}))
    assert (options.leafnodes.port, options.leafnodes.host) == (LEAF_PORT, "0.0.0.0") == (7422, "0.0.0.0")
    assert options.http_port == 0
    assert options.max_pending == 256 << 20
    validate(options)


@pytest.mark.parametrize("port", [-1, 7000])
def test_port_for_edges_stays(port: int) -> None:
    assert for_fleet(merge(load_mapping({"leafnodes": {"port": port}}), {})).leafnodes.port == port


def test_a_block_without_a_port_keeps_its_rest() -> None:
    options = for_fleet(merge(load_mapping({"leafnodes": {"no_advertise": True}}), {}))
    assert (options.leafnodes.port, options.leafnodes.no_advertise) == (7422, True)


@pytest.mark.parametrize("field", [each.field for each in DEFAULTS])
def test_what_is_set_stays(field: str) -> None:
    normal = getattr(Options(), field)
    key = field.removesuffix("_ns")
    options = for_fleet(merge(load_mapping({key: "10s" if key != field else normal}), {}))
    assert getattr(options, field) == normal
    assert for_fleet(options) == options


async def test_runs_with_them() -> None:
    async with Hub({"listen": "127.0.0.1:-1", "leafnodes": {"listen": "127.0.0.1:-1"}}) as running:
        assert running.leaf_port > 0
        assert running.options.max_pending == 256 << 20
        assert running.monitor is None
        assert running.plan_bytes_max > Server.plan_bytes_max


def test_the_example_in_help_works(tmp_path: Path) -> None:
    file = tmp_path / "hub.conf"
    file.write_text(textwrap.dedent(EXAMPLE))
    loaded = load(file)
    assert loaded.warnings == ()
    options = for_fleet(merge(loaded, {}))
    validate(options)
    assert [user.user for user in options.leafnodes.authorization.users] == ["edge"]


def test_help_teaches() -> None:
    done = CliRunner().invoke(hub, ["--help"])
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: phloem hub [options]\n\nRun the hub that edges link to")
    assert EXAMPLE in done.stdout
    assert "    leafnodes.port: 7422  " in done.stdout
    assert "    write_deadline: 30s  " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_store_outlives_a_restart() -> None:
    assert for_fleet(merge(None, {})).jetstream is None
    for configured, folder in (({}, STORE.value), ({"store_dir": "/data"}, "/data")):
        stored = for_fleet(merge(load_mapping({"jetstream": configured}), {})).jetstream
        assert stored is not None
        assert stored.store_dir == folder
