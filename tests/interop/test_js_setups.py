"""Who answers for JetStream in every setup of domains, default domains and system accounts, in every pairing.

Each side has one stream, named after it, where it has JetStream at all; an answer to STREAM.NAMES shows whose it is.
"""

import asyncio
import json
from pathlib import Path
from typing import NamedTuple

import pytest
from nats.aio.client import Client

from tests.interop.pairs import PAIRINGS, Pair

ACCOUNTS = """
accounts {
  A { %s users: [ { user: a, password: p } ] }
  SYS { users: [ { user: s, password: p } ] }
}
system_account: SYS
"""
ON, OFF = ACCOUNTS % "jetstream: enabled,", ACCOUNTS % ""
LINK_A = '{ url: "nats-leaf://a:p@127.0.0.1:%(port)d", account: A }'
LINK_SYS = '{ url: "nats-leaf://s:p@127.0.0.1:%(port)d", account: SYS }'
ASKED = ("$JS.API", "$JS.hub.API", "$JS.edge.API", "$JS.same.API")


class Setup(NamedTuple):
    """Configurations, and who answers at the hub and at the leaf to each of ``ASKED``, in this order; "": nobody."""

    hub: str
    leaf: str
    at_hub: tuple[str, ...]
    at_leaf: tuple[str, ...]
    system: bool = False
    pairings: list[tuple[str, str]] = PAIRINGS

    @property
    def configs(self) -> tuple[str, str]:
        """Of hub and leaf."""
        links = f"{LINK_A}\n{LINK_SYS}" if self.system else LINK_A
        return (
            f'server_name: HUB\nleafnodes {{ listen: "127.0.0.1:%(leaf_port)s" }}\n{self.hub}',
            f'server_name: EDGE\nleafnodes {{ reconnect: "50ms", remotes: [ {links} ] }}\n{self.leaf}',
        )


def _js(domain: str) -> str:
    return f'jetstream {{ store_dir: "@FOLDER@/js"{f", domain: {domain}" if domain else ""} }}\n{ON}'


SETUPS = {
    "domains": Setup(_js("hub"), _js("edge"), ("hub", "hub", "edge", ""), ("edge", "hub", "edge", "")),
    "same domain": Setup(_js("same"), _js("same"), ("hub", "", "", "hub"), ("edge", "", "", "edge")),
    "no domains": Setup(_js(""), _js(""), ("hub", "", "", ""), ("edge", "", "", "")),
    "leaf without": Setup(_js("hub"), OFF, ("hub", "hub", "", ""), ("", "hub", "", "")),
    "leaf without, no domain": Setup(_js(""), OFF, ("hub", "", "", ""), ("", "", "", "")),
    "hub without": Setup(OFF, _js("edge"), ("", "", "edge", ""), ("edge", "", "edge", "")),
    "default domain": Setup(
        _js("hub"), OFF + "default_js_domain { A: hub }", ("hub", "hub", "", ""), ("hub", "hub", "", "")
    ),
    "empty default domain": Setup(
        _js("") + 'default_js_domain { A: "" }',
        OFF + 'default_js_domain { A: "" }',
        ("hub", "", "", ""),
        ("hub", "", "", ""),
    ),
    "system linked": Setup(
        _js("hub"), _js("edge"), ("hub", "hub", "edge", ""), ("edge", "hub", "edge", ""), system=True
    ),
    # nats-server with itself makes one JetStream of the two; phloem extends none and is extended by none
    "system linked, same domain": Setup(
        _js("same"),
        _js("same"),
        ("hub", "", "", "hub"),
        ("edge", "", "", "edge"),
        system=True,
        pairings=[pairing for pairing in PAIRINGS if "ours" in pairing],
    ),
}


async def _answers(client: Client, prefix: str, pair: Pair) -> str:
    """Whose streams are named, one after the other if more than one answers."""
    inbox = client.new_inbox()
    heard = await client.subscribe(inbox)
    await client.publish(f"{prefix}.STREAM.NAMES", b"", reply=inbox)
    await pair.linked()
    await client.flush()
    names: list[str] = []
    while heard.pending_msgs:
        msg = await heard.next_msg()
        if msg.data:
            names += json.loads(msg.data).get("streams") or ["error"]
    await heard.unsubscribe()
    return " ".join(names)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("setup", "kinds"),
    [
        pytest.param(setup, kinds, id=f"{name}-{'-'.join(kinds)}")
        for name, setup in SETUPS.items()
        for kinds in setup.pairings
    ],
)
async def test_who_answers(kinds: tuple[str, str], setup: Setup, pairs_folder: Path) -> None:
    pair = await asyncio.to_thread(lambda: Pair(*kinds, pairs_folder, configs=setup.configs))
    try:
        await pair.linked()
        for side, config in ((pair.hub, setup.hub), (pair.leaf, setup.leaf)):
            if "store_dir" in config:
                await (await side.js()).add_stream(
                    name="hub" if side is pair.hub else "edge", subjects=["own"]
                )
        got = [
            tuple([await _answers(await side.client(), prefix, pair) for prefix in ASKED])
            for side in (pair.hub, pair.leaf)
        ]
        assert got == [setup.at_hub, setup.at_leaf]
        assert "closed" not in pair.leaf.process.log, "the link did not stay"
    finally:
        for side in (pair.hub, pair.leaf):
            await side.hang_up()
        await asyncio.to_thread(pair.stop)
