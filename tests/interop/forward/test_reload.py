"""``forward`` blocks that change while the server runs: all of them or none, nothing lost, nothing twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nats.js.client import JetStreamContext

from phloem.edge.app import Edge
from phloem.edge.profile import for_device
from phloem.shared.errors import ConfigError
from phloem.shared.server.load import as_options
from phloem.shared.server.reload import use
from tests.interop.forward.test_forward import hub, stored
from tests.interop.forward.test_real_hub import edge_config, everything, real_hub, sequences
from tests.interop.links import World

Configured = Callable[..., dict[str, Any]]


def configured(folder: Path, port: int) -> Configured:
    """A configuration with these blocks."""

    def made(forward: dict[str, Any], **more: Any) -> dict[str, Any]:
        remote = {"urls": [f"nats-leaf://127.0.0.1:{port}"], "ignore_discovered_servers": True}
        return {
            "server_name": "dev1",
            "listen": "127.0.0.1:-1",
            "leafnodes": {"reconnect": "20ms", "remotes": [remote]},
            "jetstream": {"store_dir": str(folder / "edge"), "domain": "dev1"},
            "forward": forward,
            **more,
        }

    return made


def reload(edge: Edge, config: dict[str, Any]) -> None:
    use(edge, lambda: for_device(as_options(config)))


async def publish(js: JetStreamContext, subject: str, *numbers: int) -> None:
    for number in numbers:
        await js.publish(subject, b"%d" % number)


def numbers(found: list[tuple[str, bytes]]) -> list[int]:
    return [int(data) for _, data in found]


TELE = {"subjects": ["tele.>"]}
LOG = {"subjects": ["log.>"], "class": "debug"}


async def test_blocks_come_change_and_go_beside_one_that_stays(tmp_path: Path) -> None:
    async with hub(tmp_path) as top:
        made = configured(tmp_path, top.leaf_port)
        async with Edge(made({"tele": TELE})) as edge:
            at_edge, at_hub = await edge.connect(), await top.connect()
            below, above = at_edge.jetstream(), at_hub.jetstream()
            await publish(below, "tele.a", *range(10))
            (forwarder,) = edge.forwarders
            stream = forwarder.streams["tele"]
            epochs = [epoch.ident for epoch in stream.epochs]

            reload(edge, made({"tele": TELE, "log": LOG}))
            await publish(below, "tele.a", *range(10, 20))
            await publish(below, "log.x", *range(5))
            assert numbers(await stored(above, "FLEET_log", 5)) == list(range(5))

            await above.delete_stream("FLEET_log")
            reload(edge, made({"tele": {**TELE, "keep": -1}, "log": {**LOG, "to": "FLEET_log2"}}))
            await publish(below, "tele.a", *range(20, 30))
            await publish(below, "log.x", *range(5, 9))
            assert numbers(await stored(above, "FLEET_log2", 4)) == list(range(5, 9))

            reload(edge, made({"tele": {**TELE, "keep": -1, "class": "alarm"}}))
            await publish(below, "tele.a", *range(30, 40))
            assert numbers(await stored(above, "FLEET_tele", 40)) == list(range(40))
            assert edge.forwarders == [forwarder]
            assert forwarder.streams == {"tele": stream}
            assert [epoch.ident for epoch in stream.epochs] == epochs
            assert stream.entry.cls.name == "ALARM"
            await at_edge.close()
            await at_hub.close()


async def test_a_block_that_changes_makes_no_new_session(tmp_path: Path) -> None:
    """Nor a new link; a new entry makes a session, and new subjects a link, since the hub has to hear of both."""
    async with hub(tmp_path) as top:
        made = configured(tmp_path, top.leaf_port)
        async with Edge(made({"tele": TELE, "log": LOG})) as edge:
            at_edge, at_hub = await edge.connect(), await top.connect()
            below, above = at_edge.jetstream(), at_hub.jetstream()
            await publish(below, "tele.a", 1)
            await stored(above, "FLEET_tele", 1)
            sender, links = edge.forwarders[0].sender, edge.leafs.up
            session = sender.session
            reload(
                edge,
                made({"tele": {**TELE, "linger": "1ms", "rate": 100_000}, "log": {**LOG, "class": "alarm"}}),
            )
            assert sender.session == session
            await publish(below, "tele.a", 2)
            await stored(above, "FLEET_tele", 2)
            assert (sender.session, edge.leafs.up) == (session, links)
            reload(edge, made({"tele": TELE, "log": LOG, "more": {"stream": "FORWARD_log", "to": "FLEET_x"}}))
            await publish(below, "log.a", 3)
            await stored(above, "FLEET_x", 1)
            assert sender.session != session
            assert (edge.forwarders[0].sender, edge.leafs.up) == (sender, links)
            await at_edge.close()
            await at_hub.close()


async def test_what_is_taken_away_and_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    async with hub(tmp_path) as top:
        made = configured(tmp_path, top.leaf_port)
        async with Edge(made({"tele": {**TELE, "keep": -1}})) as edge:
            at_edge, at_hub = await edge.connect(), await top.connect()
            below, above = at_edge.jetstream(), at_hub.jetstream()
            await publish(below, "tele.a", *range(10))
            await stored(above, "FLEET_tele", 10)
            store = edge.forwarders[0].streams["tele"].store
            reload(edge, made({}))
            assert (edge.forwarders, edge.publishers) == ([], [])
            await publish(below, "tele.a", *range(10, 20))
            reload(edge, made({"tele": {**TELE, "keep": -1}}))
            assert numbers(await stored(above, "FLEET_tele", 20)) == list(range(20))
            assert edge.forwarders[0].streams["tele"].store == store
            await at_edge.close()
            await at_hub.close()


@pytest.mark.parametrize(
    ("forward", "text"),
    [
        ({"tele": TELE, "a": {"subjects": ["a.>"]}, "b": {"rate": 5}}, 'forward "b": needs subjects'),
        (
            {"tele": TELE, "a": {"subjects": ["a.>"]}, "b": {"subjects": ["tele.x"]}},
            'forward "b": stream "FORWARD_b" cannot be made: subjects overlap with an existing stream',
        ),
        (
            {"a": {"subjects": ["a.>"]}, "b": TELE},
            '"FORWARD_tele" has them: forward it (stream: "FORWARD_tele"), or remove it',
        ),
        (
            {"a": {"subjects": ["a.>"]}, "tele": {"stream": "OTHER"}},
            'forward "tele": what its stream still has would not be sent if it had another stream or account; '
            "give the new one another name, or restart",
        ),
        ({"a": {"subjects": ["a.>"]}, "b": {"stream": "NONE"}}, 'there is no stream "NONE", and no subjects'),
        ({"a": {"subjects": ["a.>"]}, "b": {**LOG, "account": "X"}}, 'account "X" has no JetStream'),
    ],
)
async def test_a_bad_file_changes_nothing_and_says_why(
    tmp_path: Path, forward: dict[str, Any], text: str
) -> None:
    made = configured(tmp_path, 1)
    async with Edge(made({"tele": TELE})) as edge:
        before, (forwarder,) = edge.options, edge.forwarders
        streams = dict(forwarder.streams)
        with pytest.raises(ConfigError) as refused:
            reload(edge, made(forward))
        assert text in str(refused.value)
        assert "\n" not in str(refused.value)
        assert edge.options is before
        assert edge.forwarders == [forwarder]
        assert forwarder.streams == streams
        assert edge.jetstream is not None
        assert set(edge.jetstream.accounts["$G"].streams) == {"FORWARD_tele"}


async def test_jetstream_stays_while_something_is_forwarded(tmp_path: Path) -> None:
    made = configured(tmp_path, 1)
    async with Edge(made({"tele": TELE})) as edge:
        with pytest.raises(ConfigError, match="forward keeps messages in streams"):
            reload(edge, {**made({"tele": TELE}), "jetstream": {"enabled": False}})
        assert edge.jetstream is not None


async def test_other_subjects_and_bounds_of_a_stream_that_was_made(tmp_path: Path) -> None:
    """What it has of subjects that are gone is sent as well; after a restart the file holds as after a reload."""
    made = configured(tmp_path, 1)
    wanted = {"tele": {"subjects": ["tele.>", "more.x"], "max_bytes": 1 << 20, "max_age": "48h"}}
    async with Edge(made({"tele": {"subjects": ["old.>"], "max_bytes": 1 << 21}})) as edge:
        client = await edge.connect()
        below = client.jetstream()
        await publish(below, "old.x", 1)
        reload(edge, made(wanted))
        await publish(below, "more.x", 2)
        config = (await below.stream_info("FORWARD_tele")).config
        assert (config.subjects, config.max_bytes) == (["tele.>", "more.x"], 1 << 20)
        assert config.max_age == 48 * 3600
        await client.close()
    async with hub(tmp_path) as top:
        made = configured(tmp_path, top.leaf_port)
        async with Edge(made({"tele": {"subjects": ["tele.>"], "max_bytes": 1 << 21}})) as edge:
            at_edge, at_hub = await edge.connect(), await top.connect()
            await publish(at_edge.jetstream(), "tele.x", 3)
            config = (await at_edge.jetstream().stream_info("FORWARD_tele")).config
            assert (config.subjects, config.max_bytes) == (["tele.>"], 1 << 21)
            assert numbers(await stored(at_hub.jetstream(), "FLEET_tele", 3)) == [1, 2, 3]
            await at_edge.close()
            await at_hub.close()


@pytest.mark.parametrize("atomic", [True, False])
async def test_blocks_come_and_go_with_a_real_hub(world: World, atomic: bool) -> None:
    top = await real_hub(world)
    above = (await world.client(top)).jetstream()
    if not atomic:
        for name in ("tele", "log"):
            await above.add_stream(name=f"FLEET_{name}", subjects=[f"fleet.{name}.>"])
    port = top.port("leafnodes")
    edge = await world.run(Edge(edge_config(world, port, {"tele": TELE})))
    below = (await world.client(edge)).jetstream()
    await publish(below, "tele.a", *range(20))
    reload(edge, edge_config(world, port, {"tele": TELE, "log": LOG}))
    await publish(below, "tele.a", *range(20, 40))
    await publish(below, "log.a", *range(10))
    assert sequences(await everything(above, "FLEET_log", 10)) == list(range(1, 11))
    reload(edge, edge_config(world, port, {"log": LOG}))
    await publish(below, "tele.a", *range(40, 50))
    await publish(below, "log.a", *range(10, 20))
    assert sequences(await everything(above, "FLEET_log", 20)) == list(range(1, 21))
    reload(edge, edge_config(world, port, {"log": LOG, "tele": {**TELE, "class": "alarm"}}))
    assert sequences(await everything(above, "FLEET_tele", 50)) == list(range(1, 51))


async def test_the_budget_of_the_disk_changes(tmp_path: Path) -> None:
    made = configured(tmp_path, 1)
    async with Edge(made({"tele": TELE}, disk={"budget": 1 << 30, "reserve": 1 << 20})) as edge:
        storage = edge.storage
        assert storage is not None
        reload(
            edge,
            made({"tele": TELE}, disk={"budget": 1 << 29, "reserve": 1 << 20, "card": {"size": 1 << 35}}),
        )
        assert edge.storage is storage
        assert storage.keeper.budget.limits.budget == 1 << 29
        assert storage.figures()["wear"]["endurance"] == 500 << 35
        with pytest.raises(ConfigError, match="a budget of 5 bytes is too small"):
            reload(edge, made({"tele": TELE}, disk={"budget": 5}))
        assert storage.keeper.budget.limits.budget == 1 << 29
        reload(edge, made({"tele": TELE}, disk={"budget": 0}))
        assert edge.storage is None
        assert not (tmp_path / "edge" / "phloem-reserve").exists()
        reload(edge, made({"tele": TELE}, disk={"budget": 1 << 30}))
        assert edge.storage is not None


async def test_what_the_link_may_cost_changes(tmp_path: Path) -> None:
    async with hub(tmp_path) as top:
        made = configured(tmp_path, top.leaf_port)
        async with Edge(made({"tele": TELE})) as edge:
            at_edge, at_hub = await edge.connect(), await top.connect()
            below, above = at_edge.jetstream(), at_hub.jetstream()
            await publish(below, "tele.a", 1)
            await stored(above, "FLEET_tele", 1)
            (link,), before = edge.leafs.up, edge.leafs.meter.shown().total["telemetry"]
            reload(edge, made({"tele": TELE}, phloem={"link": {"per_day": 1 << 20, "dead_after": "20s"}}))
            shown = edge.leafs.meter.shown()
            assert (shown.per_day, shown.survives_restart) == (1 << 20, True)
            assert shown.total["telemetry"] >= before > 0
            assert edge.leafs.up == [link]
            reload(edge, made({"tele": TELE}, phloem={"link": {"per_day": 1 << 20, "metered": True}}))
            await publish(below, "tele.a", 2)
            await stored(above, "FLEET_tele", 2)
            (another,) = edge.leafs.up
            assert another is not link
            assert another.quiet
            with pytest.raises(ConfigError, match=r"phloem \{ forward_to \}: .*; restart to change it"):
                reload(edge, made({"tele": TELE}, phloem={"forward_to": "jetstream"}))
            await at_edge.close()
            await at_hub.close()
