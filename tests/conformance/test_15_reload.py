"""What a server takes when it reads its file again (security_ops 1.6): options that may change and that may not."""

import re

from tests.support.brokers import Brokers
from tests.support.rows import each
from tests.unit.server.corpus_security import ACC, OP_WITH_SYSTEM, SYS, U2, A, S, U

JS = 'store_dir: "@FOLDER@/js"'
SIZES = "max_mem: 10MB, max_file: 10MB"
OPERATOR = f"operator: {OP_WITH_SYSTEM}\nresolver: MEMORY\nresolver_preload {{ {S}: {SYS} }}\n"
LEAF = 'leafnodes {{ listen: "127.0.0.1:-1"{} }}'
REMOTE = 'leafnodes {{ remotes: [ {{ url: "nats://127.0.0.1:1"{} }} ] }}'
ONE_USER = "authorization { users: [ { user: a, password: p } ] }"


def users(*entries: str) -> str:
    return f"authorization {{ users: [ {', '.join(entries)} ] }}"


# what the server runs with, what it is given, and how it begins to say why it does not take it
TAKEN = [
    *(
        ("", line)
        for line in (
            *(
                "debug: true",
                "trace: true",
                "trace_verbose: true",
                "trace_headers: true",
                "logtime_utc: true",
            ),
            *(
                "max_connections: 100",
                "max_payload: 1000",
                "max_control_line: 2048",
                "max_traced_msg_len: 10",
            ),
            *("ping_interval: 10s", "ping_max: 5", "write_deadline: 5s", 'client_advertise: "h:1"'),
            *(
                "server_tags: x",
                "server_metadata: {a: b}",
                "connect_error_reports: 5",
                "no_fast_producer_stall: on",
            ),
            *(
                "reconnect_error_reports: 5",
                'pid_file: "@FOLDER@/pid"',
                "mappings { a: b }",
                "accounts { A {} }",
            ),
            *("authorization { user: a, password: b }", "authorization { token: t }", ONE_USER),
            *(
                users(f"{{ nkey: {U} }}"),
                "authorization { timeout: 5 }",
                "authorization { user: a, timeout: 5 }",
            ),
            *("authorization { default_permissions: { publish: x } }", f"resolver_pinned_accounts: [{A}]"),
            *(REMOTE.format(""), f"resolver_preload {{ {A}: {ACC} }}", f"jetstream {{ {JS} }}"),
        )
    ),
    (LEAF.format(""), LEAF.format(", compression: off")),
    (LEAF.format(""), LEAF.format(', remotes: [ { url: "nats://127.0.0.1:1" } ]')),
    (REMOTE.format(""), REMOTE.format(", disabled: true")),
    (REMOTE.format(""), REMOTE.format(", compression: off")),
    (REMOTE.format(""), REMOTE.format("").replace(":1", ":2")),
    (REMOTE.format(""), REMOTE.format(', creds: "x"')),
    (REMOTE.format(""), ""),
    (f"proxies {{ trusted: [ {{ key: {U} }} ] }}", f"proxies {{ trusted: [ {{ key: {U2} }} ] }}"),
    (f"proxies {{ trusted: [ {{ key: {U} }} ] }}", "proxies {}"),
    (f"no_auth_user: a\n{ONE_USER}", users("{ user: b, password: p }")),
    (f"no_auth_user: a\n{ONE_USER}", f"no_auth_user: a\n{users('{ user: a, password: q }')}"),
    *(
        ("accounts { A {} }", config)
        for config in (
            *(
                "accounts { A {}, B {} }",
                "accounts { B {} }",
                "",
                "accounts { A { limits { max_conn: 1 } } }",
            ),
            *("accounts { A { mappings { a: b } } }", "accounts { A { jetstream: enabled } }"),
            "accounts { A { exports: [ { stream: a } ] }, B { imports: [ { stream: { account: A, subject: a } } ] } }",
        )
    ),
    (OPERATOR, OPERATOR.replace("MEMORY", "MEM")),
    (OPERATOR, OPERATOR.replace(f"{S}: {SYS}", f"{S}: {SYS}, {A}: {ACC}")),
    (OPERATOR, OPERATOR + f"resolver_pinned_accounts: [{A}]"),
    (f"jetstream {{ {JS}, {SIZES} }}", f"jetstream {{ {JS}, max_mem: 20MB, max_file: 20MB }}"),
    (f"jetstream {{ {JS}, {SIZES} }}", f"jetstream {{ {JS}, {SIZES}, limits {{ max_ack_pending: 5 }} }}"),
    (
        f"jetstream {{ {JS}, {SIZES} }}",
        f"jetstream {{ {JS}, {SIZES}, limits {{ batch {{ max_msgs: 5 }} }} }}",
    ),
    (f"jetstream {{ {JS}, {SIZES} }}", ""),
    (f"jetstream {{ {JS} }}", "jetstream: false"),
]
NOT = "config reload not supported for "
REFUSED = [
    *(
        ("", line, NOT + text)
        for line, text in (
            ("server_name: x", "ServerName: old=, new=x"),
            ("http_base_path: /x", "HTTPBasePath: old=, new=/x"),
            ("http_port: -1", "HTTPPort: old=0, new=-1"),
            ("max_pending: 100MB", "MaxPending: old=67108864, new=104857600"),
            ("max_subscriptions: 5", "MaxSubs: old=0, new=5"),
            ("max_sub_tokens: 5", "MaxSubTokens: old=0, new=5"),
            ("max_closed_clients: 5", "MaxClosedClients: old=10000, new=5"),
            ("lame_duck_duration: 60s", "LameDuckDuration: old=2m0s, new=1m0s"),
            ("lame_duck_grace_period: 5s", "LameDuckGracePeriod: old=10s, new=5s"),
            ("log_size_limit: 1MB", "LogSizeLimit: old=0, new=1048576"),
            ("logfile_max_num: 5", "LogMaxFiles: old=0, new=5"),
            ("no_header_support: true", "NoHeaderSupport: old=false, new=true"),
            (f"no_auth_user: a\n{ONE_USER}", "NoAuthUser: old=, new=a"),
            ("no_system_account: true", "NoSystemAccount: old=false, new=true"),
            ("system_account: A\naccounts { A {} }", "SystemAccount: old="),
            (OPERATOR, "SystemAccount: old="),
            ('default_js_domain { "$G": x }', "JsAccDefaultDomain: old=map[], new=map[$G:x]"),
            ("leafnodes { port: -1 }", 'LeafNode: field "'),
            (
                f"authorization {{ auth_callout {{ issuer: {A}, auth_users: [x] }} }}",
                "AuthCallout: old=<nil>, new=",
            ),
        )
    ),
    ("", "resolver: MEMORY", "config reload does not support moving to or from an account resolver"),
    ("", "max_payload: 100MB", "max_payload (104857600) cannot be higher than max_pending (67108864)"),
    *(
        (LEAF.format(""), LEAF.format(f", {line}"), f'{NOT}LeafNode: field "{text}')
        for line, text in (
            ("no_advertise: true", 'NoAdvertise": old=false, new=true'),
            ('advertise: "h:1"', 'Advertise": old=, new=h:1'),
            ("min_version: 2.9.0", 'MinVersion": old=, new=2.9.0'),
            ("write_deadline: 3s", 'WriteDeadline": old=0s, new=3s'),
            ("authorization { user: a, password: b }", 'Username": old=, new=a'),
            ("authorization { users: [ { user: a, password: b } ] }", 'Users"'),
            ("authorization { timeout: 5 }", 'AuthTimeout": old=2, new=5'),
            ("isolate: true", 'IsolateLeafnodeInterest": old=false, new=true'),
            ("reconnect: 5s", 'ReconnectInterval": old=1s, new=5s'),
            ("dial_timeout: 5s", 'DialTimeout": old='),
        )
    ),
    (f"no_auth_user: a\n{ONE_USER}", ONE_USER, NOT + "NoAuthUser: old=a, new="),
    (OPERATOR, "", NOT + "SystemAccount: old="),
    (OPERATOR, OPERATOR + "default_sentinel: x", "default sentinel JWT not valid"),
    *(
        (f"jetstream {{ {JS}, {SIZES} }}", f"jetstream {{ {config} }}", NOT + text)
        for config, text in (
            (f"{JS}, max_mem: 5MB, max_file: 10MB", "decreasing jetstream max memory and store"),
            (JS, "jetstream max memory and max store"),
            (f'store_dir: "@FOLDER@/other", {SIZES}', "jetstream storage directory"),
            (f"{JS}, {SIZES}, domain: x", "JetStreamDomain: old=, new=x"),
            (f"{JS}, {SIZES}, strict: false", "NoJetStreamStrict: old=false, new=true"),
            (f"{JS}, {SIZES}, sync_interval: 5s", "SyncInterval: old="),
        )
    ),
    (f"jetstream {{ {JS} }}", f"jetstream {{ {JS}, max_mem: 10MB }}", NOT + "jetstream dynamic max memory and store"),
    ("", "foo: 1", 'unknown field "foo"'),
    ("", "accounts { B { imports: [ { stream: { account: Z, subject: a } } ] } }", '"Z" account not defined'),
]  # fmt: skip


def _name(value: str) -> str:
    return re.sub(r"eyJ[\w.-]+", "JWT", value)[:60] or "nothing"


GOES_ONE_WAY = ("20MB", "no_auth_user")  # what cannot be taken back


@each(("before", "after"), TAKEN, ids=_name)
def test_taken(broker: Brokers, before: str, after: str) -> None:
    if any(word in before + after for word in GOES_ONE_WAY):
        assert broker.own(before).process.reload(after) == ""
        return
    process = broker.shared(f"# reload\n{before}").process
    assert process.reload(after) == ""
    assert process.reload(before) == ""


@each(("before", "after", "why"), REFUSED, ids=_name)
def test_refused(broker: Brokers, before: str, after: str, why: str) -> None:
    process = broker.shared(f"# reload\n{before}").process
    said = process.reload(after)
    assert re.sub(r"^\S+server.conf:\d+:\d+: ", "", said).startswith(why), said
    assert process.reload(before) == ""
