"""The generated documents are in step, and the example file is right once everything in it is switched on."""

import re
from pathlib import Path

from phloem.shared.server.declare import Kind, walk
from phloem.shared.server.documents import configuration_page, example_file
from phloem.shared.server.load import load, merge
from phloem.shared.server.options import Options
from phloem.shared.server.validation import validate

DOCS = Path(__file__).parents[3] / "docs"
BLOCKS = (Kind.BLOCK, Kind.SWITCHED)
AGAIN = "run: python -m phloem.shared.server.documents docs"


def test_configuration_page() -> None:
    assert (DOCS / "configuration.md").read_text() == configuration_page(), AGAIN


def test_example() -> None:
    assert (DOCS / "phloem.conf.example").read_text() == example_file(), AGAIN


def test_example_as_it_is_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(example_file())
    assert load(tmp_path / "f").fields == {}


def test_example_switched_on(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(re.sub(r"(?m)^( *)#(?! )", r"\1", example_file()))
    loaded = load(tmp_path / "f")
    assert loaded.warnings == ()
    options = merge(loaded, {})
    validate(options)
    plain = {path[0] for path, option in walk(Options) if len(path) == 1 and option.kind not in BLOCKS}
    shown = {path[0] for path, option in walk(Options) if len(path) == 1 and option.opt.example}
    defaults = Options()
    for field in plain - shown - {"serial", "accounts", "forward", "bridge_mqtt"}:
        assert getattr(options, field) == getattr(defaults, field), field
    assert options.serial[0].name == options.forward[0].name == options.bridge_mqtt[0].name == "bench"
    assert options.accounts[0].users[0].account == "PLANT"
    assert options.leafnodes.remotes[0].urls
    assert options.jetstream is not None
    assert options.jetstream.store_dir == "/var/lib/phloem"
    assert options.authorization.users[0].permissions
