"""TLS with others: nats-py as a client, nats-server as a leaf of ours and as our hub."""

import asyncio
from pathlib import Path

import nats
import pytest
from cryptography import x509

from phloem.shared.server.server import Server
from tests.interop.links import World, reachable
from tests.support.certificates import LOCAL, Certificates, Made

FAST = "reconnect: 50ms"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def block(certificates: Certificates, made: Made | None = None, more: str = "") -> str:
    return f'tls {{ {(made or certificates.server).block}\n ca_file: "{certificates.ca_file}"\n {more} }}'


def remotes(url: str, more: str) -> str:
    return f'leafnodes {{ listen: "127.0.0.1:-1", {FAST}, remotes: [ {{ url: "{url}"\n {more} }} ] }}'


async def ours(world: World, config: str, name: str) -> Server:
    """A server of ours from a text."""
    file = world.folder / f"{name}.conf"
    file.write_text(f'server_name: {name}\nlisten: "127.0.0.1:-1"\n{config}\n')
    return await world.run(Server(str(file)))


async def test_nats_py(world: World, certificates: Certificates) -> None:
    server = await ours(world, block(certificates, more="verify: true"), "HUB")
    context = certificates.context(certificates.client)
    client = await nats.connect(f"tls://localhost:{server.port}", tls=context)
    other = await nats.connect(f"tls://localhost:{server.port}", tls=context)
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(msg: nats.aio.msg.Msg) -> None:
        await got.put(msg.data)

    await client.subscribe("sizes", cb=keep)
    await client.flush()
    sizes = (0, 1, 16_383, 16_384, 16_385, 70_000, 1_000_000)
    for size in sizes:
        await other.publish("sizes", bytes(size))
    assert [len(await got.get()) for _ in sizes] == list(sizes)
    await client.close()
    await other.close()


@pytest.mark.parametrize("how", ["", "handshake_first: true"])
async def test_a_real_leaf_of_ours(world: World, certificates: Certificates, how: str) -> None:
    tls = block(certificates, more=f"verify: true, {how}")
    hub = await ours(world, f'leafnodes {{ listen: "127.0.0.1:-1", {tls} }}', "HUB")
    mine = block(certificates, certificates.client, how)
    leaf = await world.real(remotes(f"nats-leaf://127.0.0.1:{hub.leaf_port}", mine), "LEAF")
    up, down = await world.client(hub), await world.client(leaf)
    await reachable(up, down)
    await reachable(down, up)
    (link,) = hub.leafs.up
    assert link.secured is not None
    assert link.secured.first is bool(how)


@pytest.mark.parametrize("how", ["", "handshake_first: true"])
async def test_ours_as_a_leaf_of_a_real_hub(world: World, certificates: Certificates, how: str) -> None:
    tls = block(certificates, more=f"verify: true, {how}")
    hub = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1", {tls} }}', "HUB")
    mine = block(certificates, certificates.client, how)
    leaf = await ours(world, remotes(f"nats-leaf://127.0.0.1:{hub.port('leafnodes')}", mine), "LEAF")
    up, down = await world.client(hub), await world.client(leaf)
    await reachable(up, down)
    await reachable(down, up)
    (link,) = leaf.leafs.up
    assert link.secured is not None


async def test_a_hub_that_asks_for_tls(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block says how: the system's roots have to know the hub."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    hub = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1", {block(certificates)} }}', "HUB")
    leaf = await ours(world, remotes(f"nats-leaf://localhost:{hub.port('leafnodes')}", ""), "LEAF")
    await reachable(await world.client(hub), await world.client(leaf))


async def test_a_hub_that_we_do_not_trust(world: World, certificates: Certificates, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path / "stranger")
    hub = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1", {block(stranger)} }}', "HUB")
    mine = f'tls {{ ca_file: "{certificates.ca_file}" }}'
    await ours(world, remotes(f"tls://127.0.0.1:{hub.port('leafnodes')}", mine), "LEAF")
    await world.log.line(
        "TLS leafnode handshake error: tls: failed to verify certificate: x509: certificate signed by unknown authority"
    )


async def test_a_hub_with_another_name(world: World, certificates: Certificates) -> None:
    made = certificates.make("other-name", names=[x509.DNSName("other.example")])
    hub = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1", {block(certificates, made)} }}', "HUB")
    mine = f'tls {{ ca_file: "{certificates.ca_file}" }}'
    await ours(world, remotes(f"tls://localhost:{hub.port('leafnodes')}", mine), "LEAF")
    await world.log.line("x509: certificate is valid for other.example, not localhost")


async def test_insecure_takes_anybody(world: World, certificates: Certificates, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path / "stranger")
    hub = await world.real(f'leafnodes {{ listen: "127.0.0.1:-1", {block(stranger)} }}', "HUB")
    mine = "tls { insecure: true }"
    leaf = await ours(world, remotes(f"nats-leaf://127.0.0.1:{hub.port('leafnodes')}", mine), "LEAF")
    await reachable(await world.client(hub), await world.client(leaf))


async def test_both_ours(world: World, certificates: Certificates) -> None:
    hub = await ours(world, f'leafnodes {{ listen: "127.0.0.1:-1", {block(certificates)} }}', "HUB")
    mine = f'tls {{ ca_file: "{certificates.ca_file}" }}'
    leaf = await ours(world, remotes(f"tls://localhost:{hub.leaf_port}", mine), "LEAF")
    await reachable(await world.client(hub), await world.client(leaf))
    assert LOCAL
