"""What the system account says of an account, and what accounts may import from it (security_ops 4.5)."""

from typing import Any

from tests.support.brokers import Brokers
from tests.support.operators import AccountKeys, OperatorWorld
from tests.support.system import SysClient, system_client

from phloem.shared.security.claims import Export, Import

CONFIG = """
%s
accounts {
  "$SYS" { users: [ { user: sys, password: p } ] %s }
  E { users: [ { user: e, password: p } ], exports: [
    { stream: "news.>" }, { stream: "priv.*", accounts: [I] }, { service: "pos.*", account_token_position: 2 },
    { service: "ask.>", latency: { subject: took, sampling: 50%% } },
    { service: "many", response_type: stream, accounts: [I] } ] }
  I { users: [ { user: i, password: p } ], imports: [
    { stream: { account: E, subject: "news.>" }, prefix: far }, { stream: { account: E, subject: "news.lit" } },
    { stream: { account: E, subject: "priv.*" }, to: "p.*" }, { service: { account: E, subject: "many" } },
    { service: { account: E, subject: "ask.*" }, to: "q.$1", share: true } %s ],
    mappings: { "m.a": "m.b", "lit": [ { destination: "x", weight: 50%%, cluster: C } ],
      "m.*": [ { destination: "n.$1", weight: 30%% }, { destination: "o.$1", weight: 40%% } ] } }
}
"""
FIGURES = ("update_time", "subscriptions", "sublist_stats")


async def info(sys: SysClient, account: str) -> dict[str, Any]:
    """What is said of an account, without figures; lists are in no order of their own."""
    told: dict[str, Any] = await sys.data(f"$SYS.REQ.ACCOUNT.{account}.INFO")
    for name in FIGURES:
        del told[name]
    for name in ("imports", "exports"):
        if name in told:
            told[name].sort(key=lambda one: (one["type"], one.get("local_subject", ""), one["subject"]))
    return told


def service(account: str, subject: str, to: str, *, share: bool = False, **more: Any) -> dict[str, Any]:
    """An import as it is shown."""
    names = {"subject": subject, "account": account, "to": to, "local_subject": to, "type": "service"}
    return {**names, "invalid": False, "share": share, "tracking": False, **more}


def stream(account: str, subject: str, local: str) -> dict[str, Any]:
    names = {"subject": subject, "account": account, "local_subject": local, "type": "stream"}
    return {**names, "invalid": False, "share": False, "tracking": False}


def by_itself(account: str, system: str = "$SYS") -> list[dict[str, Any]]:
    """What every account imports."""
    connz = f"$SYS.REQ.ACCOUNT.{account}.CONNZ"
    return [
        service(system, connz, "$SYS.REQ.ACCOUNT.PING.CONNZ"),
        service(system, f"$SYS.REQ.ACCOUNT.{account}.STATZ", "$SYS.REQ.ACCOUNT.PING.STATZ"),
        service(system, connz, "$SYS.REQ.SERVER.PING.CONNZ"),
        service(system, f"$SYS.REQ.USER.{account}.INFO", "$SYS.REQ.USER.INFO", share=True),
    ]


def export(subject: str, answers: str = "Singleton", **more: Any) -> dict[str, Any]:
    return {"subject": subject, "type": "service", "response_type": answers, **more}


DEFAULTS = [
    export("$SYS.DEBUG.SUBSCRIBERS"),
    export("$SYS.REQ.ACCOUNT.*.CONNZ", "Streamed"),
    export("$SYS.REQ.ACCOUNT.*.STATZ", "Streamed"),
    export("$SYS.REQ.USER.*.INFO"),
]


async def test_exports_and_imports(broker: Brokers) -> None:
    server = broker.shared(CONFIG % ("", "", ""))
    async with await system_client(server) as sys:
        latency = {"sampling": 50, "results": "took"}
        e = await info(sys, "E")
        assert list(e) == [
            *("account_name", "expired", "complete", "jetstream_enabled", "leafnode_connections"),
            *("client_connections", "exports", "imports", "name_tag"),
        ]
        assert e["exports"] == [
            export("ask.>", service_latency=latency),
            export("many", "Streamed", approved_accounts=["I"]),
            export("pos.*"),
            {"subject": "news.>", "type": "stream"},
            {"subject": "priv.*", "type": "stream", "approved_accounts": ["I"]},
        ]
        assert e["imports"] == by_itself("E")
        i = await info(sys, "I")
        assert i["imports"] == [
            *by_itself("I"),
            service("E", "many", "many"),
            service("E", "ask.*", "q.*", share=True, latency=latency),
            stream("E", "news.>", "far.news.>"),
            stream("E", "news.lit", "news.lit"),
            stream("E", "priv.*", "p.*"),
        ]
        whole = {"subject": "lit", "weight": 100}
        assert i["mappings"] == {
            "lit": [whole, {"subject": "x", "weight": 50, "cluster": "C"}, {**whole, "cluster": "C"}],
            "m.*": [
                {"subject": "n.$1", "weight": 30},
                {"subject": "m.$1", "weight": 60},
                {"subject": "o.$1", "weight": 100},
            ],
            "m.a": [{"subject": "m.b", "weight": 100}],
        }
        system = await info(sys, "$SYS")
        assert system["exports"] == DEFAULTS
        assert system["imports"] == [by_itself("$SYS")[-1]]


async def test_jetstream_and_a_domain(broker: Brokers) -> None:
    server = broker.shared(CONFIG % ('jetstream { store_dir: "@FOLDER@/js", domain: hub }', "", ""))
    async with await system_client(server) as sys:
        e, system = await info(sys, "E"), await info(sys, "$SYS")
        assert e["imports"] == [
            service("$SYS", "$JS.API.>", "$JS.API.>", share=True),
            *by_itself("E"),
        ]
        assert e["mappings"]["$JS.hub.API.STREAM.>"] == [{"subject": "$JS.API.STREAM.>", "weight": 100}]
        assert len(e["mappings"]) == 9
        assert system["exports"] == [export("$JS.API.>"), *DEFAULTS]
        assert system["mappings"] == {"$JS.hub.API.>": [{"subject": "$JS.API.>", "weight": 100}]}


async def test_own_exports_of_the_system_account_come_first(broker: Brokers) -> None:
    more = ', { service: { account: "$SYS", subject: "$SYS.DEBUG.SUBSCRIBERS" } }'
    server = broker.shared(CONFIG % ("", ', exports: [ { service: "$SYS.>" } ]', more))
    async with await system_client(server) as sys, await system_client(server, "i") as i:
        system = await info(sys, "$SYS")
        assert system["exports"] == [export("$SYS.>")]
        assert "imports" not in system
        subscribers = service("$SYS", "$SYS.DEBUG.SUBSCRIBERS", "$SYS.DEBUG.SUBSCRIBERS")
        assert subscribers in (await info(sys, "I"))["imports"]
        i.subscribe("heard.*")
        await i.ping()
        assert (await i.request("$SYS.DEBUG.SUBSCRIBERS", b"heard.x")).payload == b"1"


class World:
    """Accounts E and I of an operator; what I imports comes from the system account and from E."""

    def __init__(self, brokers: Brokers) -> None:
        self._world = OperatorWorld()
        self.e, self.i = AccountKeys(self._world, "E"), AccountKeys(self._world, "I")
        self.system = self._world.system.public
        exports = (
            Export(subject="ask.>", type="service", token_req=True, revocations={self.i.public: 1000}),
            Export(subject="no.>", type="stream", token_req=True),
        )
        named = {
            "$SYS.DEBUG.SUBSCRIBERS": "",
            f"$SYS.REQ.ACCOUNT.{self.i.public}.STATZ": "statz",
            f"$SYS.REQ.ACCOUNT.{self.e.public}.STATZ": "theirs",
            f"$SYS.REQ.ACCOUNT.{self.i.public}.CONNZ": "connz",
            "$SYS.REQ.SERVER.PING": "ping",
        }
        imports = [
            Import(subject=subject, account=self.system, type="service", local_subject=to)
            for subject, to in named.items()
        ]
        imports.append(Import(subject="no.a", account=self.e.public, type="stream"))
        self.token = self.i.token(imports=tuple(imports), revocations={"*": 5}, tags=("a", "b"))
        self.broker = brokers.own(self._world.config(self.e.token(exports=exports), self.token))

    async def client(self, account: AccountKeys | None = None) -> SysClient:
        raw = await self.broker.connect()
        await raw.expect_info()
        user = (account or self._world.system).user()
        raw.send(f"CONNECT {user.connect(raw.info, no_responders=True)}\r\nPING\r\n")
        await raw.expect("PONG\r\n")
        return SysClient(raw)


async def test_what_the_system_account_exports_can_be_imported(broker: Brokers) -> None:
    world = World(broker)
    async with await world.client(world.i) as i:
        i.subscribe("heard.*")
        await i.ping()
        assert (await i.request("$SYS.DEBUG.SUBSCRIBERS", b"heard.x")).payload == b"1"
        (stat,) = (await i.data("statz"))["account_statz"]
        assert stat["acc"] == world.i.public
        assert (await i.data("connz"))["num_connections"] == 1
        for subject in ("theirs", "ping"):
            assert b" 503" in (await i.request(subject)).head
        assert (await i.data("$SYS.REQ.USER.INFO"))["account"] == world.i.public


async def test_claims_are_shown(broker: Brokers) -> None:
    world = World(broker)
    async with await world.client(world.i), await world.client() as sys:
        i = await info(sys, world.i.public)
        assert list(i) == [
            *("account_name", "expired", "complete", "jetstream_enabled", "leafnode_connections"),
            *("client_connections", "imports", "jwt", "issuer_key", "name_tag", "tags", "decoded_jwt"),
            "revoked_user",
        ]
        assert (i["jwt"], i["name_tag"], i["tags"]) == (world.token, "I", ["a", "b"])
        assert i["complete"] is False
        assert i["revoked_user"] == {"*": "1970-01-01T00:00:05Z"}
        claims = i["decoded_jwt"]
        assert list(claims) == ["jti", "iat", "iss", "name", "sub", "nats"]
        assert (claims["iss"], claims["sub"]) == (i["issuer_key"], world.i.public)
        assert len(claims["nats"]["imports"]) == 6
        imported = {one["local_subject"] for one in i["imports"]}
        own = {one["local_subject"] for one in by_itself(world.i.public)}
        assert imported - own == {"$SYS.DEBUG.SUBSCRIBERS", "statz", "connz"}
        e = await info(sys, world.e.public)
        revoked = {world.i.public: "1970-01-01T00:16:40Z"}
        assert e["exports"] == [
            {**export("ask.>"), "token_req": True, "revoked_activations": revoked},
            {"subject": "no.>", "type": "stream", "token_req": True},
        ]
