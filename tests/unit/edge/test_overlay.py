"""What a hub may set of a device's configuration, and what only the device itself."""

import pytest

from phloem.edge.twin.overlay import lay_over
from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options

PORT = "device: /dev/ttyUSB0, subject: tele.a"


def device(**twin: object) -> Options:
    return merge(load_mapping({"twin": {"device": "d", **twin}}), {})


def test_a_hub_may_set_ports() -> None:
    (port,) = lay_over(device(), f"serial {{ a {{ {PORT}, decode: number }} }}").serial
    assert (port.name, port.decode) == ("a", "number")


@pytest.mark.parametrize(
    "entry",
    [
        'process: "os:system"',
        'Process { function: "os:system" }',
        'export: "pty:///x"',
        'images { board: b, keys: ["/k"], state_dir: "/s" }',
    ],
)
def test_it_may_not_run_functions_or_share_ports(entry: str) -> None:
    text = f"serial {{ a {{ {PORT} }}, b {{ device: /dev/b, subject: b, {entry} }} }}"
    with pytest.raises(
        ConfigError, match=r'serial.(process|Process|export|images)" may not be set by the hub'
    ):
        lay_over(device(), text)
    keys = ["serial", "serial.process", "serial.export", "serial.images"]
    assert len(lay_over(device(config_keys=keys), text).serial) == 2
