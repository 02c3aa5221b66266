"""The pages, field by field; what is compared with a running nats-server is in test_differential.py."""

import json
import logging
from typing import Any

import msgspec
import pytest
from tests.unit.monitor.fake import SECOND_NS, SETTINGS, FakeSource, account, closed, connection, monitor

from phloem.shared.net.http import Request, Response
from phloem.shared.server.monitor.records import DenyRules, LeafOptions, RemoteOptions, Traffic
from phloem.shared.server.monitor.subsz import is_literal
from phloem.shared.wire.subjects import matches

CONN_KEYS = (
    "cid kind type ip port start last_activity rtt uptime idle pending_bytes in_msgs out_msgs in_bytes"
    " out_bytes subscriptions lang version"
)


def get(source: FakeSource, target: str) -> Response:
    path, _, query = target.partition("?")
    return monitor(source).answer(Request("GET", path, query.encode()))


def page(source: FakeSource, target: str) -> Any:
    response = get(source, target)
    assert response.status == 200, response.body
    return json.loads(response.body)


def cids(source: FakeSource, query: str) -> list[int]:
    return [conn["cid"] for conn in page(source, f"/connz?{query}")["connections"]]


def link(cid: int, **fields: Any) -> Any:
    return connection(cid, kind="Leafnode", name="edge1", **fields)


# --- answers ---------------------------------------------------------------------------------------


def test_json_is_indented_by_two_and_open_to_other_origins() -> None:
    response = get(FakeSource(), "/leafz")
    assert dict(response.headers) == {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"}
    assert response.body == (
        b'{\n  "server_id": "' + SETTINGS.server_id.encode() + b'",\n  "now": "2026-09-21T15:13:20.12Z",\n'
        b'  "leafnodes": 0,\n  "leafs": []\n}'
    )


def test_an_unknown_path_is_not_found_and_not_counted() -> None:
    server = monitor(FakeSource())
    for path in ("/nope", "/varz/", "", "/\udcff"):
        assert server.answer(Request("GET", path, b"")).status == 404
    assert server.answer(Request("GET", "/nope", b"")).body == b"404 page not found\n"
    assert json.loads(server.answer(Request("GET", "/varz", b"")).body)["http_req_stats"] == {"/varz": 1}


def test_requests_are_counted_by_page() -> None:
    server = monitor(FakeSource())
    for path in ("/subsz", "/subscriptionsz", "/healthz", "/", "/varz"):
        assert server.answer(Request("HEAD", path, b"")).status == 200
    text = server.answer(Request("GET", "/varz", b"")).body
    counts = json.loads(text)["http_req_stats"]
    assert list(counts.items()) == [("/", 1), ("/healthz", 1), ("/subsz", 2), ("/varz", 2)]


@pytest.mark.parametrize("base", ["/base/", "base", "/base"])
def test_pages_are_below_the_base_path(base: str) -> None:
    source = FakeSource(options=msgspec.structs.replace(SETTINGS, http_base_path=base))
    assert page(source, "/base/varz")["http_base_path"] == base
    assert b'href="/base/varz"' in get(source, "/base").body
    for path in ("/varz", "/", "/base/", "/base/nope", "/basevarz", "/bas"):
        assert get(source, path).status == 404


def test_the_index_links_every_page_and_escapes_the_name() -> None:
    source = FakeSource(options=msgspec.structs.replace(SETTINGS, server_name="<hub>"))
    text = get(source, "/").body.decode()
    assert "<h1>&lt;hub&gt;</h1>" in text
    targets = [part.partition('"')[0] for part in text.split('href="')[1:]]
    assert len(targets) == 12
    assert {get(source, target).status for target in targets} == {200}


# --- /varz -----------------------------------------------------------------------------------------


def test_varz_counts_clients_apart_from_leaf_links() -> None:
    source = FakeSource(
        opened=[
            connection(1, stats={"in_msgs": 5}),
            link(2, stats={"in_msgs": 3, "in_bytes": 30, "out_msgs": 1, "out_bytes": 8}),
        ],
        ring=[closed(3, 1)],
        known=[account("A", ended_leafs=Traffic(in_msgs=2, in_bytes=20, out_bytes=2)), account("B")],
        counters={
            "in_msgs": 10,
            "in_bytes": 100,
            "out_msgs": 9,
            "out_bytes": 90,
            "slow_clients": 1,
            "slow_leafs": 2,
            "stale_clients": 3,
            "stalled_clients": 4,
        },
    )
    varz = page(source, "/varz")
    expected = {
        "connections": 1,
        "leafnodes": 1,
        "total_connections": 3,
        "in_msgs": 10,
        "in_client_msgs": 5,
        "in_client_bytes": 50,
        "out_client_msgs": 8,
        "out_client_bytes": 80,
        "slow_consumers": 3,
        "slow_consumer_stats": {"clients": 1, "routes": 0, "gateways": 0, "leafs": 2},
        "stale_connections": 3,
        "stalled_clients": 4,
        "subscriptions": 8,
        "mem": 15_310_848,
        "cpu": 0,
        "uptime": "1h0m0s",
        "start": "2026-09-21T14:13:20.12Z",
        "auth_timeout": 2,
        "ping_interval": 120 * SECOND_NS,
    }
    assert {key: varz[key] for key in expected} == expected


def test_varz_shows_what_is_set_only() -> None:
    plain = page(FakeSource(), "/varz")
    assert not {"max_subscriptions", "tags", "metadata"} & plain.keys()
    assert [plain[key] for key in ("cluster", "gateway", "leaf", "mqtt", "websocket", "jetstream")] == [
        {}
    ] * 6
    remote = RemoteOptions(local_account="$G", urls=("hub:7422",), deny=DenyRules(exports=("y",)))
    source = FakeSource(
        options=msgspec.structs.replace(
            SETTINGS,
            auth_required=False,
            auth_timeout_ns=SECOND_NS // 2,
            max_subscriptions=100,
            tags=("line:7",),
            metadata={"site": "hall 2", "area": "x"},
            leaf=LeafOptions(host="0.0.0.0", port=7422, auth_timeout=2, remotes=(remote,)),
        )
    )
    varz = page(source, "/varz")
    assert "auth_required" not in varz
    assert varz["auth_timeout"] == 0.5
    assert varz["max_subscriptions"] == 100
    assert varz["tags"] == ["line:7"]
    assert list(varz["metadata"]) == ["area", "site"]
    assert varz["leaf"] == {
        "host": "0.0.0.0",
        "port": 7422,
        "auth_timeout": 2,
        "remotes": [{"local_account": "$G", "urls": ["hub:7422"], "deny": {"exports": ["y"]}}],
    }


# --- /connz ----------------------------------------------------------------------------------------


def test_a_connection_has_its_fields_in_order() -> None:
    conn = page(FakeSource(opened=[connection(7)]), "/connz")["connections"][0]
    assert " ".join(conn) == CONN_KEYS
    assert conn["start"] == "2026-09-21T14:13:27.12Z"
    assert conn["last_activity"] == "2026-09-21T14:13:37.12Z"
    assert (conn["rtt"], conn["uptime"], conn["idle"]) == ("730µs", "59m53s", "59m43s")


def test_a_leaf_link_is_a_connection_without_type() -> None:
    conn = page(FakeSource(opened=[link(7)]), "/connz")["connections"][0]
    assert conn["kind"] == "Leafnode"
    assert "type" not in conn


def test_times_do_not_jump_when_the_clock_is_set() -> None:
    source = FakeSource(opened=[connection(7)])
    source.clock.wall_now_ns += 30 * 365 * 86_400 * SECOND_NS
    conn = page(source, "/connz")["connections"][0]
    assert (conn["uptime"], conn["idle"]) == ("59m53s", "59m43s")


def test_a_closed_connection_stays_as_old_as_it_became() -> None:
    source = FakeSource(ring=[closed(7, 65, "Stale Connection")])
    conn = page(source, "/connz?state=closed")["connections"][0]
    assert (conn["stop"], conn["reason"]) == ("2026-09-21T14:14:32.12Z", "Stale Connection")
    assert (conn["uptime"], conn["idle"]) == ("1m5s", "55s")


def test_states() -> None:
    source = FakeSource(opened=[connection(3)], ring=[closed(1, 5), closed(2, 5)])
    assert cids(source, "") == cids(source, "state=OPEN") == [3]
    assert cids(source, "state=closed") == [1, 2]
    assert cids(source, "state=all") == cids(source, "state=any") == [1, 2, 3]


SORTED = {
    "cid": [1, 2, 3],
    "start": [1, 2, 3],
    "subs": [3, 1, 2],
    "pending": [2, 1, 3],
    "msgs_to": [2, 3, 1],
    "msgs_from": [3, 2, 1],
    "bytes_to": [1, 2, 3],
    "bytes_from": [3, 1, 2],
    "last": [3, 2, 1],
    "idle": [1, 2, 3],
    "uptime": [3, 2, 1],
    "rtt": [2, 3, 1],
}


@pytest.mark.parametrize(("sort", "order"), SORTED.items())
def test_sorting(sort: str, order: list[int]) -> None:
    names = ("subscriptions", "pending_bytes", "out_msgs", "in_msgs", "out_bytes", "in_bytes", "rtt_ns")
    rows = {1: (5, 1, 0, 0, 9, 2, 1), 2: (5, 7, 2, 1, 5, 1, 30), 3: (6, 0, 1, 2, 1, 3, 20)}
    opened = [connection(cid, stats=dict(zip(names, rows[cid], strict=True))) for cid in (2, 3, 1)]
    assert cids(FakeSource(opened=opened), f"sort={sort}") == order


def test_sorting_closed_connections() -> None:
    source = FakeSource(
        ring=[closed(1, 90, "Write Error"), closed(2, 1, "Kicked"), closed(3, 5, "Parse Error")]
    )
    assert cids(source, "state=closed&sort=stop") == [1, 3, 2]
    assert cids(source, "state=closed&sort=reason") == [2, 3, 1]
    assert cids(source, "state=closed&sort=uptime") == [2, 3, 1]


def test_a_part_of_the_list() -> None:
    source = FakeSource(opened=[connection(cid) for cid in range(1, 6)])
    assert cids(source, "offset=1&limit=2") == [2, 3]
    assert cids(source, "offset=9") == []
    result = page(source, "/connz?offset=-1&limit=-5")
    assert [result[key] for key in ("num_connections", "total", "offset", "limit")] == [5, 5, 0, 1024]


def test_one_connection() -> None:
    source = FakeSource(opened=[connection(1), connection(2), link(3)], ring=[closed(4, 1)])
    result = page(source, "/connz?cid=2&limit=50")
    assert [result[key] for key in ("num_connections", "total", "limit")] == [1, 3, 1]
    assert cids(source, "cid=2&state=all") == [2]
    assert cids(source, "cid=4&state=all") == [4]
    assert cids(source, "cid=4") == cids(source, "cid=3") == []


def test_filters_by_account_and_user() -> None:
    source = FakeSource(
        opened=[connection(1, account="A", user="x"), connection(2, account="B", user="x"), connection(3)],
        ring=[closed(4, 1, account="A", user="y")],
    )
    assert cids(source, "acc=A&state=all") == [1, 4]
    assert cids(source, "user=x") == [1, 2]
    assert cids(source, "user=x&acc=B") == [2]
    assert page(source, "/connz?user=x")["total"] == 3
    assert page(source, "/connz?acc=A&state=all")["total"] == 2
    assert page(source, "/connz?acc=ZZ")["connections"] == []


def test_subscriptions_are_listed_when_asked_for() -> None:
    source = FakeSource(opened=[connection(7, subs=[("foo.*", ""), ("bar", "q")])])
    plain, names, full = (page(source, f"/connz?subs={v}")["connections"][0] for v in ("0", "1", "Detail"))
    assert not {"subscriptions_list", "subscriptions_list_detail"} & plain.keys()
    assert names["subscriptions_list"] == ["foo.*", "bar"]
    assert full["subscriptions_list_detail"] == [
        {"subject": "foo.*", "sid": "1", "msgs": 0, "cid": 7},
        {"subject": "bar", "qgroup": "q", "sid": "2", "msgs": 0, "cid": 7},
    ]


def test_who_it_is_is_shown_when_asked_for() -> None:
    opened = [connection(1, user="u"), connection(2, user="v", account="A")]
    source = FakeSource(opened=opened, ring=[closed(3, 1, user="w")])
    keys = ("authorized_user", "account", "name_tag")
    shown = [
        tuple(conn.get(key, "") for key in keys)
        for conn in page(source, "/connz?auth=1&state=all")["connections"]
    ]
    assert shown == [("u", "", "$G"), ("v", "A", "A"), ("w", "", "")]
    assert not set(keys) & page(source, "/connz")["connections"][0].keys()


# --- the others ------------------------------------------------------------------------------------


def test_subsz_adds_up_accounts() -> None:
    result = page(FakeSource(known=[account("A"), account("B")]), "/subsz")
    counts = ("num_subscriptions", "num_cache", "num_inserts", "num_removes", "num_matches", "cache_hit_rate")
    assert [result[key] for key in counts] == [8, 6, 10, 2, 40, 0.75]
    assert result["total"] == 0
    assert "subscriptions_list" not in result
    assert page(FakeSource(known=[account("A"), account("B")]), "/subsz?acc=A")["num_subscriptions"] == 4
    assert page(FakeSource(known=[]), "/subsz")["cache_hit_rate"] == 0


def test_subsz_lists_clients_subscriptions() -> None:
    source = FakeSource(
        opened=[
            connection(2, subs=[("b.*", "q")], account="A"),
            connection(1, subs=[("a", ""), ("b.>", "")]),
            link(3, subs=[("c", "")]),
        ]
    )
    result = page(source, "/subsz?subs=1")
    assert [sub["subject"] for sub in result["subscriptions_list"]] == ["a", "b.>", "b.*"]
    assert result["total"] == 3
    matching = page(source, "/subsz?subs=1&test=b.c&limit=1&offset=1")
    assert (matching["total"], matching["limit"], matching["offset"]) == (2, 1, 1)
    assert matching["subscriptions_list"] == [
        {"account": "A", "account_tag": "A", "subject": "b.*", "qgroup": "q", "sid": "1", "msgs": 0, "cid": 2}
    ]
    assert page(source, "/subsz?subs=1&acc=A")["total"] == 1


@pytest.mark.parametrize(
    ("pattern", "hits"),
    [
        ("a.b.c", True),
        ("a.*.c", True),
        ("a.>", True),
        ("*.b.>", True),
        (">", True),
        ("a.b", False),
        ("a.b.c.>", False),
        ("a.b.c.d", False),
        ("*.*", False),
        ("a.b.d", False),
    ],
)
def test_matching(pattern: str, hits: bool) -> None:
    assert matches(pattern, "a.b.c") is hits


def test_literal_subjects() -> None:
    assert [is_literal(s) for s in ("a", "a.b*", "a.*", ">", "a..b", ".a", "a.")] == [True, True] + [
        False
    ] * 5


def test_leafz() -> None:
    source = FakeSource(
        opened=[
            link(9, account="A"),
            connection(1),
            link(5, is_spoke=True, is_isolated=True, subs=[("x", "")]),
        ]
    )
    result = page(source, "/leafz?subs=1")
    assert result["leafnodes"] == 2
    first, second = result["leafs"]
    assert " ".join(first) == (
        "id name is_spoke is_isolated account ip port rtt in_msgs out_msgs in_bytes out_bytes subscriptions"
        " subscriptions_list"
    )
    assert (first["id"], first["is_spoke"], first["subscriptions_list"]) == (5, True, ["x"])
    assert "is_isolated" not in second
    assert [leaf["id"] for leaf in page(source, "/leafz?acc=A")["leafs"]] == [9]
    assert "subscriptions_list" not in page(source, "/leafz")["leafs"][0]


def test_accounts() -> None:
    source = FakeSource(opened=[connection(1), link(2)])
    assert page(source, "/accountz")["accounts"] == ["$G", "$SYS"]
    detail = page(source, "/accountz?acc=$SYS")["account_detail"]
    assert detail["is_system"] is True
    detail = page(source, "/accountz?acc=$G")["account_detail"]
    assert "is_system" not in detail
    assert (detail["client_connections"], detail["leafnode_connections"], detail["subscriptions"]) == (
        1,
        1,
        4,
    )
    assert detail["sublist_stats"]["num_matches"] == 20


def test_traffic_of_accounts_includes_what_has_ended() -> None:
    ended = account("$G", ended_clients=Traffic(in_msgs=1), ended_leafs=Traffic(out_msgs=5), slow_consumers=3)
    source = FakeSource(
        opened=[
            connection(1, stats={"in_msgs": 2, "in_bytes": 7}),
            link(2, stats={"out_msgs": 4, "out_bytes": 9}),
        ],
        known=[ended, account("idle")],
    )
    (stat,) = page(source, "/accstatz")["account_statz"]
    assert (stat["acc"], stat["conns"], stat["leafnodes"], stat["total_conns"]) == ("$G", 1, 1, 2)
    assert (stat["received"]["msgs"], stat["received"]["bytes"]) == (3, 7)
    assert (stat["sent"]["msgs"], stat["sent"]["bytes"]) == (9, 9)
    assert stat["sent"]["leafs"] == {"msgs": 9, "bytes": 9}
    assert stat["slow_consumers"] == 3
    assert len(page(source, "/accstatz?unused=1")["account_statz"]) == 2


def test_a_healthy_server() -> None:
    assert get(FakeSource(), "/healthz?details=1&account=A&stream=S").body == b'{"status":"ok"}'


def test_a_server_that_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource(trouble='no "listener"')
    with caplog.at_level(logging.WARNING, "phloem.monitor"):
        plain, detailed = get(source, "/healthz"), get(source, "/healthz?details=1")
    assert (plain.status, detailed.status) == (500, 500)
    assert json.loads(plain.body) == {"status": "error", "error": 'no "listener"'}
    assert json.loads(detailed.body)["errors"] == [{"type": "CONNECTION", "error": 'no "listener"'}]
    assert caplog.messages == ['Healthcheck failed: "no \\"listener\\""'] * 2
