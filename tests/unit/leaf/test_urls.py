"""URLs of hubs."""

import pytest

from phloem.shared.errors import LinkError
from phloem.shared.leaf.urls import HubURL, parse_url


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("nats-leaf://hub:7000", HubURL("nats-leaf", "hub", 7000)),
        ("nats://hub", HubURL("nats", "hub", 7422)),
        ("tls://hub", HubURL("tls", "hub", 7422)),
        ("hub:1", HubURL("nats-leaf", "hub", 1)),
        ("nats-leaf://u:p%40ss@hub", HubURL("nats-leaf", "hub", 7422, "u", "p@ss")),
        ("nats-leaf://token@hub", HubURL("nats-leaf", "hub", 7422, "token", None)),
        ("nats-leaf://u:@hub", HubURL("nats-leaf", "hub", 7422, "u", "")),
        ("nats-leaf://[::1]:7000", HubURL("nats-leaf", "::1", 7000)),
        ("unix:///run/hub.sock", HubURL("unix", "/run/hub.sock", 0)),
    ],
)
def test_parsed(text: str, want: HubURL) -> None:
    assert parse_url(text) == want


@pytest.mark.parametrize(
    "text", ["http://hub", "nats-leaf://", "nats-leaf://hub:99999", "nats-leaf://hub:x", "unix://"]
)
def test_no_hub(text: str) -> None:
    with pytest.raises(LinkError):
        parse_url(text)


def test_address_shows_no_credentials() -> None:
    assert parse_url("nats-leaf://u:secret@hub:1").address == "hub:1"
    assert parse_url("nats-leaf://u:secret@[::1]:1").address == "[::1]:1"


def test_same_hub_whoever_one_is() -> None:
    assert parse_url("nats-leaf://u:p@Hub:1").same_hub(parse_url("nats://hub:1"))
    assert not parse_url("nats://hub:1").same_hub(parse_url("nats://hub:2"))
