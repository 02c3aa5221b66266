"""How servers are configured, found and weighed."""

from pathlib import Path

import pytest
from tests.bench import servers
from tests.bench.servers import Product, ServerFailed


def test_users_log_in_and_have_permissions() -> None:
    text = servers.configuration(Path("/ports"))
    permission = '{ allow: ["bench.>", "_INBOX.>", "svc.>", "s.>"], deny: ["bench.secret.>"] }'
    assert 'listen: "127.0.0.1:-1"' in text
    assert 'ports_file_dir: "/ports"' in text
    assert f"publish: {permission}, subscribe: {permission}" in text
    assert "leafnodes" not in text
    assert "jetstream" not in text


def test_both_ends_of_a_leaf_link_name_the_same_port_and_login() -> None:
    hub = servers.configuration(Path("/ports"), servers.hub_leafnodes(7422))
    edge = servers.configuration(Path("/ports"), servers.edge_leafnodes(7422))
    assert 'leafnodes { listen: "127.0.0.1:7422", authorization: { user: "edge",' in hub
    assert 'remotes: [ { url: "nats-leaf://edge:kept-on-loopback-too@127.0.0.1:7422" } ]' in edge


def test_a_store_brings_jetstream_and_its_permissions(tmp_path: Path) -> None:
    always = servers.Store(tmp_path / "js", "always")
    text = servers.configuration(Path("/ports"), jetstream=always.block)
    assert f'jetstream {{ store_dir: "{tmp_path}/js", sync_interval: always }}' in text
    assert '"$JS.API.>"' in text
    assert servers.Store(tmp_path).block == f'store_dir: "{tmp_path}"'


@pytest.mark.parametrize(
    ("text", "port"),
    [('{"nats":["nats://127.0.0.1:22010"]}', 22010), ('{"nats":["nats://127.0', None), ("", None)],
)
def test_a_ports_file_counts_once_it_is_whole(text: str, port: int | None) -> None:
    assert servers.client_port(text) == port


def test_a_ports_file_without_clients_is_an_error() -> None:
    with pytest.raises(ServerFailed, match="without a client port"):
        servers.client_port("{}")


def test_a_server_that_ends_says_why() -> None:
    broken = Product("broken", ("sh", "-c", "echo no such option >&2; exit 3"), ("true",))
    with pytest.raises(ServerFailed, match="broken ended with 3: no such option"), servers.running(broken):
        pass


@pytest.mark.parametrize("command", [("sh", "-c", "echo gone >&2; exit 1"), ("/nonexistent/server",)])
def test_a_program_that_does_not_run_has_no_version(command: tuple[str, ...]) -> None:
    with pytest.raises(ServerFailed, match=r"broken does not run: .*(gone|No such file)"):
        Product("broken", command, command).version()
