"""An edge's defaults, and that they never win over what its user set."""

import pytest

from phloem.edge.profile import DEFAULTS, for_device
from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.profile import STORE, describe
from phloem.shared.server.validation import validate


def test_small_where_nothing_is_said() -> None:
    options = for_device(merge(None, {}))
    assert (options.max_connections, options.max_pending, options.max_closed_clients) == (1024, 8 << 20, 100)
    assert options.http_port == 0
    validate(options)


@pytest.mark.parametrize("field", [each.field for each in DEFAULTS])
def test_what_is_set_stays(field: str) -> None:
    normal = getattr(Options(), field)
    options = for_device(merge(load_mapping({field: normal}), {}))
    assert getattr(options, field) == normal
    assert for_device(options) == options


def test_flags_win_as_files_do() -> None:
    assert for_device(merge(None, {("max_pending",): 1 << 25})).max_pending == 1 << 25


def test_a_large_max_payload_alone_is_not_refused() -> None:
    options = for_device(merge(load_mapping({"max_payload": 16 << 20}), {}))
    assert options.max_pending == 16 << 20
    validate(options)


def test_twice_is_once() -> None:
    once = for_device(merge(load_mapping({"max_connections": 7}), {}))
    assert for_device(once) == once


def test_help_names_every_default() -> None:
    text = describe(DEFAULTS)
    assert [line for line in text.splitlines() if len(line) > 100] == []
    for each in DEFAULTS:
        assert f"    {each.field}: {each.shown}  " in text


def test_a_store_outlives_a_restart() -> None:
    assert for_device(merge(None, {})).jetstream is None
    for configured, folder in (({}, STORE.value), ({"store_dir": "/data"}, "/data")):
        stored = for_device(merge(load_mapping({"jetstream": configured}), {})).jetstream
        assert stored is not None
        assert stored.store_dir == folder


def test_pauses_grow_unless_the_file_says_otherwise() -> None:
    assert for_device(merge(None, {})).phloem.link.reconnect_max_ns == 10_000_000_000
    own = load_mapping({"phloem": {"link": {"reconnect_max": "1s", "metered": True}}})
    assert for_device(merge(own, {})).phloem.link.reconnect_max_ns == 1_000_000_000
    assert for_device(merge(own, {})).phloem.link.metered
