"""Configuration texts about who may connect, for the comparison with the real nats-server. Keys and JWTs are made
from fixed seeds, so that every run has the same.

``CHECKED`` are for ``-t``: accepted alike, with the same digest.
``SAME_TEXT`` are refused by ``-t``, with the same words. ``REFUSED_AT_START`` pass ``-t`` and are refused by a server
that starts.
"""

import hashlib

from phloem.shared.security.claims import Operator, OperatorClaims, User, UserClaims
from phloem.shared.security.issue import new_account
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import encode
from tests.unit.server.corpus_sharing import accounts

ISSUED_S = 1_700_000_000


def pair(prefix: Prefix, name: str) -> KeyPair:
    return KeyPair(prefix, hashlib.sha256(f"corpus {prefix} {name}".encode()).digest())


OPERATOR, OTHER_OPERATOR = pair(Prefix.OPERATOR, "one"), pair(Prefix.OPERATOR, "two")
SYSTEM, FIRST = pair(Prefix.ACCOUNT, "system"), pair(Prefix.ACCOUNT, "first")
OK, A, S = OPERATOR.public_key, FIRST.public_key, SYSTEM.public_key
U, U2 = pair(Prefix.USER, "one").public_key, pair(Prefix.USER, "two").public_key
X, N = pair(Prefix.CURVE, "one").public_key, pair(Prefix.SERVER, "one").public_key
SEED = bytes(pair(Prefix.USER, "one").seed()).decode()
ACCOUNT_SEED = bytes(FIRST.seed()).decode()


def operator(key: KeyPair = OPERATOR, **body: object) -> str:
    claims = OperatorClaims(sub=key.public_key, name="op", nats=Operator(**body))  # type: ignore[arg-type]
    return encode(claims, key, ISSUED_S)


def account(key: KeyPair) -> str:
    return encode(new_account(key.public_key, "acc"), OPERATOR, ISSUED_S)


def user(**body: object) -> str:
    claims = UserClaims(sub=U, name="user", nats=User(**body))  # type: ignore[arg-type]
    return encode(claims, FIRST, ISSUED_S)


OP, OP_WITH_SYSTEM, OP2 = operator(), operator(system_account=S), operator(OTHER_OPERATOR)
OP_NEWER = operator(assert_server_version="99.0.0")
OP_URL = operator(account_server_url="http://127.0.0.1:1/jwt/v1")
ACC, SYS = account(FIRST), account(SYSTEM)
BEARER, PLAIN, SCOPED = (
    user(bearer_token=True, subs=-1, data=-1, payload=-1),
    user(subs=-1),
    user(issuer_account=A),
)
FILES = {
    "op.jwt": OP + "\n",
    "op.decorated.jwt": f"-----BEGIN NATS OPERATOR JWT-----\n{OP}\n------END NATS OPERATOR JWT------\n",
    "bad.jwt": "eyJhbGciOi.x.y",
    "empty.jwt": "",
    "user.jwt": PLAIN,
    "a.file": "x",
    "folder.jwt/x": "",
}


def users(*entries: str) -> str:
    return f"authorization {{ users: [ {', '.join(entries)} ] }}"


def callout(text: str) -> str:
    return f"authorization {{ users: [{{user: auth, password: p}}], auth_callout {{ {text} }} }}"


def resolver(text: str) -> str:
    return f"resolver {{ {text} }}"


def limits(text: str) -> str:
    return accounts(f"A {{ limits {{ {text} }} }}")


NKEYS = [
    users(f"{{nkey: {U}}}"),
    users(f"{{nkey: {U}}}", f"{{nkey: {U2}}}", "{user: a, password: b}"),
    users(f"{{nkey: {U}, permissions: {{publish: x}}}}"),
    users(f"{{nkey: {U}, allowed_connection_types: [STANDARD]}}"),
    users(f"{{nkey: {U}, connection_types: [FOO]}}"),
    users(f"{{nkey: {U}, proxy_required: true}}"),
    users("{user: a, proxy_required: false}"),
    users('{user: a, proxy_required: "x"}'),
    users(f"{{nkey: {A}}}"),
    users(f"{{nkey: {U.lower()}}}"),
    users(f"{{nkey: {U[:-1]}}}"),
    users(f"{{nkey: {U}, user: a}}"),
    users(f"{{nkey: {U}, password: a}}"),
    users(f"{{nkey: {U}}}", f"{{nkey: {U}}}"),
    users("{nkey: 5}"),
    users('{nkey: "", user: a}'),
    users('{nkey: ""}'),
    f"authorization {{ default_permissions: {{publish: x}}, {users(f'{{nkey: {U}}}')[16:]}",
    accounts(f"A {{ users: [ {{nkey: {U}}} ] }}", f"B {{ users: [ {{nkey: {U2}}} ] }}"),
    accounts(f"A {{ users: [ {{nkey: {U}}} ] }}", f"B {{ users: [ {{nkey: {U}}} ] }}"),
    accounts(f"A {{ users: [ {{nkey: {U}}} ] }}") + users(f"{{nkey: {U}}}"),
    accounts(f"A {{ users: [ {{nkey: {U}}} ] }}") + "authorization { user: a, password: b }",
    accounts(f"A {{ nkey: {A} }}"),
    accounts(f"A {{ nkey: {U} }}"),
    accounts("A { nkey: 5 }"),
    f"leafnodes {{ authorization {{ nkey: {U} }} }}",
    f"leafnodes {{ authorization {{ nkey: {A} }} }}",
    f"leafnodes {{ authorization {{ nkey: {U}, account: A, proxy_required: true }} }}",
    f"leafnodes {{ authorization {{ nkey: {U}, users: [ {{user: a, password: b}} ] }} }}",
    "leafnodes { authorization { users: [ {user: a, password: b, proxy_required: true} ] } }",
    "leafnodes { authorization { users: [ {nkey: x} ] } }",
    f'leafnodes {{ remotes: [ {{url: "nats://h:1", nkey: {SEED}}} ] }}',
    f'leafnodes {{ remotes: [ {{url: "nats://h:1", seed: {SEED}}} ] }}',
    f'leafnodes {{ remotes: [ {{url: "nats://h:1", seed: {ACCOUNT_SEED}}} ] }}',
    f'leafnodes {{ remotes: [ {{url: "nats://h:1", nkey: {U}}} ] }}',
    'leafnodes { remotes: [ {url: "nats://h:1", credentials: "/x/y.creds"} ] }',
    'leafnodes { remotes: [ {url: "nats://h:1", creds: "./y.creds"} ] }',
    'leafnodes { remotes: [ {url: "nats://h:1", creds: 5} ] }',
    f'leafnodes {{ remotes: [ {{url: "nats://h:1", creds: "x", nkey: {SEED}}} ] }}',
]
PROXIES = [
    "proxies {}",
    "proxies: x",
    "proxies { trusted: [] }",
    "proxies { trusted: x }",
    "proxies { trusted: [ x ] }",
    "proxies { foo: x }",
    f"proxies {{ trusted: [ {{key: {U}}} ] }}",
    f"proxies {{ trusted: [ {{public_key: {N}}}, {{key: {A}}}, {{key: {OK}}}, {{key: {X}}} ] }}",
    f"proxies {{ trusted: [ {{key: {SEED}}} ] }}",
    "proxies { trusted: [ {key: foo} ] }",
    "proxies { trusted: [ {key: 5} ] }",
    f"proxies {{ trusted: [ {{key: {U}, foo: 1}} ] }}",
    "authorization { user: a, password: b, proxy_required: true }",
    "authorization { token: a, proxy_required: 1 }",
]
CALLOUT = [
    callout(f"issuer: {A}, auth_users: [auth]"),
    callout(f"issuer: {A}, users: [auth], acc: A, key: {X}"),
    callout(f"issuer: {A}, auth_users: [auth], account: A, xkey: {X}, allowed_accounts: []"),
    callout(f"issuer: {A}, auth_users: [auth], allowed_accounts: [Z]"),
    callout(f"issuer: {A}, auth_users: [auth], allowed_accounts: [A, B]") + accounts("A {}", "B {}"),
    callout(f"issuer: {A}, auth_users: [auth], allowed_accounts: [A, C]") + accounts("A {}", "B {}"),
    callout(f"issuer: {A}, auth_users: [auth], allowed_accounts: A"),
    callout(f"issuer: {A}, auth_users: auth"),
    callout(f"issuer: {A}, auth_users: []"),
    callout(f"issuer: {A}"),
    callout("auth_users: [auth]"),
    callout(f"issuer: {U}, auth_users: [auth]"),
    callout("issuer: 5, auth_users: [auth]"),
    callout(f"issuer: {A}, auth_users: [auth], xkey: {A}"),
    callout(f"issuer: {A}, auth_users: [auth], foo: 1"),
    callout(f"issuer: {A}, auth_users: [5]"),
    callout(""),
    "authorization { auth_callout: x }",
    f"authorization {{ auth_hook {{ issuer: {A}, users: [x] }} }}",
    f"authorization {{ token: t, auth_callout {{ issuer: {A}, auth_users: [x] }} }}",
    f"I: {A}\n" + callout("issuer: $I, auth_users: [auth]"),
]
OPERATORS = [
    *(
        f"{key}: {OP}"
        for key in ("operator", "operators", "root", "roots", "root_operator", "root_operators")
    ),
    *('operator: "op.jwt"', 'operator: ["op.jwt"]', 'operator: "op.decorated.jwt"'),
    f"operator: [{OP}, {OP2}]",
    f'operator: "op.jwt"\nresolver: MEMORY\nsystem_account: {S}\nresolver_preload {{ {S}: {SYS} }}',
    *('operator: "nope.jwt"', 'operator: "bad.jwt"', 'operator: "empty.jwt"', 'operator: "user.jwt"'),
    *(
        f"operator: {ACC}",
        "operator: 5",
        "operator: []",
        "operator: [5]",
        'operator: "folder.jwt"',
        "operator {}",
    ),
    *(f"operator: {OP_URL}", f"operator: {OP_NEWER}", f"operator: {OP[:-4]}AAAA"),
    *(f"trusted: {OK}", f"trusted_keys: [{OK}]", f"trusted: [{OK}, {OTHER_OPERATOR.public_key}]"),
    *(f"trusted: {A}", f"trusted: [{OK}, x]", "trusted: 5", "trusted: [5 ]", "trusted: []", "trusted {}"),
    *(f"default_sentinel: {BEARER}", "default_sentinel: x", "default_sentinel: 5"),
    *("no_system_account: true", "no_system: true", "no_sys_acc: 1", "no_system_account: true\nsystem: A"),
    *(f"resolver_pinned_accounts: [{A}]", f"resolver_pinned_accounts: {A}", "resolver_pinned_accounts: x"),
    *("resolver_pinned_accounts: 5", "resolver_pinned_accounts: [5 ]", "resolver_pinned_accounts {}"),
    *(f"resolver_preload {{ {A}: {ACC} }}", f"resolver_preload {{ x: {ACC} }}", "resolver_preload {}"),
    *(
        f"resolver_preload {{ {A}: 5 }}",
        f"resolver_preload {{ {A}: x }}",
        f"resolver_preload {{ {A}: {PLAIN} }}",
    ),
    *("resolver_preload: x", f"resolver_preload {{ {A}: {ACC}x }}"),
]
RESOLVERS = [
    *("resolver: MEMORY", "resolver: MEM", "resolver: mem", "resolver: memory", 'resolver: "MEM "'),
    *("resolver: xMEMx", "resolver: foo", "resolver: 5", "resolver: []", "resolver: true", 'resolver: ""'),
    *(
        'resolver: URL("http://h/x/")',
        "resolver: URL(http://h/x)",
        "resolver: url(http://h)",
        "resolver: URL()",
    ),
    *("resolver: URL", "resolver: URL(::)", 'resolver: URL("http://h:x/")', "resolver: xURL(http://h)"),
    *('account_resolver: "URL(http://h/)"', "accounts_resolver: MEM"),
    *("resolver_tls: 5", "resolver_tls {}", "resolver_tls { insecure: true }", "resolver_tls { foo: 1 }"),
    *("resolver_tls { ca_file: nope.pem }", "resolver_tls { cert_file: nope.pem }"),
    *(resolver("type: full, dir: ./jwt"), resolver("type: cache, dir: ./jwt"), resolver("type: mem")),
    *(resolver("type: MEMORY, dir: ./jwt"), resolver("TYPE: full, dir: ./jwt"), resolver("dir: ./jwt")),
    *(resolver("type: full"), resolver('type: full, dir: ""'), resolver('type: full, dir: "a.file"')),
    *(
        resolver("type: cache"),
        resolver("type: x, dir: ./jwt"),
        resolver("type: 5, dir: ./jwt"),
        resolver(""),
    ),
    resolver('type: full, dir: ./jwt, allow_delete: true, hard_delete: true, interval: "2m", limit: 10'),
    resolver('type: full, dir: ./jwt, timeout: "1.9s"'),
    resolver("type: full, dir: ./jwt, timeout: 5s"),
    resolver("type: full, dir: ./jwt, timeout: 5"),
    resolver("type: full, dir: ./jwt, timeout: x"),
    resolver("type: full, dir: ./jwt, interval: 5"),
    resolver("type: full, dir: ./jwt, interval: 5d"),
    resolver("type: full, dir: ./jwt, interval: 0s"),
    resolver("type: full, dir: ./jwt, hard_delete: true"),
    resolver("type: full, dir: ./jwt, hard_delete: false"),
    resolver("type: full, dir: ./jwt, hard_delete: false, allow_delete: true"),
    resolver("type: full, dir: ./jwt, allow_delete: 1"),
    resolver("type: full, dir: ./jwt, ttl: 1h"),
    resolver("type: full, dir: ./jwt, ttl: 0s"),
    resolver('type: full, dir: ./jwt, limit: "x"'),
    resolver("type: full, dir: 5"),
    resolver("type: cache, dir: ./jwt, ttl: 1h, limit: 10, timeout: 1s"),
    resolver("type: cache, dir: ./jwt, interval: 1s"),
    resolver("type: cache, dir: ./jwt, interval: 0s"),
    resolver("type: cache, dir: ./jwt, allow_delete: true"),
    resolver("type: cache, dir: ./jwt, allow_delete: false"),
    resolver("type: cache, dir: ./jwt, hard_delete: false"),
    resolver("type: cache, dir: ./jwt, ttl: x"),
    resolver("type: mem, ttl: 1h, hard_delete: true"),
]
LIMITS = [
    *(limits("max_connections: 5"), limits("max_conn: 5"), limits("max_subs: 5, max_pay: 1k, max_leafs: 0")),
    *(
        limits("max_subscriptions: -1, max_payload: 1MB, max_leafnodes: 2"),
        limits("max_conn: x"),
        limits("foo: 1"),
    ),
    *(limits("max_conn: 1.5"), limits(""), accounts("A { limits: x }"), accounts("A { limits: [] }")),
    *(limits("max_conn: true"), "M: 5\n" + limits("max_conn: $M"), limits("M: 5\n max_conn: $M")),
]
OTHERS = [
    *(
        "default_js_domain { A: d }",
        "default_js_domain: x",
        "default_js_domain { A: 5 }",
        "default_js_domain {}",
    ),
    *("default_js_domain { A: d }\n" + accounts("A {}"), 'default_js_domain { "$G": d }'),
    "accounts { A { default_permissions {} } }",
]
CHECKED = [*NKEYS, *PROXIES, *CALLOUT, *OPERATORS, *RESOLVERS, *LIMITS, *OTHERS]
# Not in SAME_TEXT: what nats-server words with Go's types, and where its order is that of a Go map.
SAME_TEXT = [
    users(f"{{nkey: {A}}}"),
    users(f"{{nkey: {U}}}", f"{{nkey: {U}}}"),
    accounts(f"A {{ nkey: {U} }}"),
    accounts(f"A {{ users: [ {{nkey: {U}}}, {{nkey: {U}}} ] }}"),
    f"leafnodes {{ authorization {{ nkey: {A} }} }}",
    f"leafnodes {{ authorization {{ nkey: {U}, users: [ {{user: a, password: b}} ] }} }}",
    *(
        "proxies: x",
        "proxies { trusted: x }",
        "proxies { trusted: [ x ] }",
        "proxies { trusted: [ {key: foo} ] }",
    ),
    *(callout(f"issuer: {A}"), callout("auth_users: [auth]")),
    *(callout(f"issuer: {U}, auth_users: [auth]"), callout(f"issuer: {A}, auth_users: [auth], xkey: {A}")),
    callout(f"issuer: {A}, auth_users: [auth], foo: 1"),
    callout(f"issuer: {A}, auth_users: [auth], allowed_accounts: [A, C]") + accounts("A {}", "B {}"),
    *(
        'operator: "nope.jwt"',
        'operator: "bad.jwt"',
        'operator: "user.jwt"',
        f"operator: {ACC}",
        "operator: 5",
    ),
    *(f"trusted: {A}", f"trusted: [{OK}, x]", "trusted: 5", "trusted: [5 ]"),
    *("resolver_pinned_accounts: 5", "resolver_pinned_accounts: [5 ]"),
    *(f"resolver_preload {{ {A}: 5 }}", f"resolver_preload {{ {A}: x }}", "resolver_preload: x"),
    *("resolver: foo", "resolver: 5", 'resolver: URL("http://h:x/")', resolver("type: x, dir: ./jwt")),
    *(
        resolver(f"type: {text}")
        for text in (
            "full, dir: ./jwt, timeout: x",
            "full, dir: ./jwt, interval: 5d",
            "full, dir: ./jwt, hard_delete: true",
            "full, dir: ./jwt, ttl: 1h",
            "cache, dir: ./jwt, interval: 1s",
            "cache, dir: ./jwt, allow_delete: true",
            "cache, dir: ./jwt, hard_delete: false",
        )
    ),
    limits("foo: 1"),
]
# Where the position is that of any key, as a Go map has them.
SAME_WORDS = [
    users(f"{{nkey: {U}, user: a}}"),
    f'leafnodes {{ remotes: [ {{url: "nats://h:1", creds: "x", nkey: {SEED}}} ] }}',
    callout(f"issuer: {A}, auth_users: []"),
]
_WITH_OPERATOR = f"operator: {OP_WITH_SYSTEM}\nresolver: MEMORY\nresolver_preload {{ {S}: {SYS} }}\n"
REFUSED_AT_START = [
    *(f"operator: [{OP}, {OP2}]", f"default_sentinel: {BEARER}", _WITH_OPERATOR + "default_sentinel: x"),
    *(_WITH_OPERATOR + f"default_sentinel: {PLAIN}", _WITH_OPERATOR + accounts("A {}")),
    *(_WITH_OPERATOR + "mappings { a: b }", _WITH_OPERATOR + users("{user: a, password: b}")),
    *(_WITH_OPERATOR + users(f"{{nkey: {U}}}"), _WITH_OPERATOR + f"trusted: {OK}"),
    *(_WITH_OPERATOR + f"system_account: {A}", f"operator: {OP_NEWER}\nresolver: MEMORY"),
    f"operator: {OP}\nresolver {{ type: full, dir: ./jwt }}",
    _WITH_OPERATOR + "resolver_pinned_accounts: [x]",
    _WITH_OPERATOR + f"authorization {{ auth_callout {{ issuer: {A}, auth_users: [x] }} }}",
    _WITH_OPERATOR + "no_auth_user: x",
    _WITH_OPERATOR + "leafnodes { port: -1, authorization { users: [ {user: a, password: b} ] } }",
    _WITH_OPERATOR + 'leafnodes { remotes: [ {url: "nats://h:1"} ] }',
    _WITH_OPERATOR + 'leafnodes { remotes: [ {url: "nats://h:1", account: A} ] }',
    _WITH_OPERATOR + "leafnodes { port: -1, authorization { account: A } }",
    _WITH_OPERATOR + "default_js_domain { A: d }",
    f"operator: {OP}\nresolver: URL(http://127.0.0.1:1/)\nresolver_preload {{ {A}: {ACC} }}",
    *("no_auth_user: x", "no_auth_user: x\n" + users("{user: a, password: b}")),
    "no_auth_user: x\n" + users(f"{{nkey: {U}}}"),
    *("default_js_domain { A: d }", "accounts { A { jetstream: enabled } }\ndefault_js_domain { A: d }"),
    'default_js_domain { "$G": "a..b" }',
    *('jetstream { domain: "a b" }', "jetstream { domain: a.b }", 'jetstream { domain: "*" }'),
    'accounts { "$SYS" {} }\ndefault_js_domain { "$SYS": d }',
    "proxies { trusted: [ {} ] }",
    *("leafnodes { port: -1, authorization { account: A } }", "system_account: A"),
    "leafnodes { port: -1, authorization { users: [ {user: a, account: A} ] } }",
    'leafnodes { remotes: [ {url: "nats://h:1", account: A} ] }',
    'no_system_account: true\nleafnodes { remotes: [ {url: "nats://h:1", account: "$SYS"} ] }',
]
STARTS = [
    *(_WITH_OPERATOR + f"default_sentinel: {BEARER}", _WITH_OPERATOR + f"default_sentinel: {SCOPED}"),
    *(
        "no_auth_user: a\n" + users("{user: a, password: b}"),
        f"no_auth_user: {U}\n" + users(f"{{nkey: {U}}}"),
    ),
    *(
        "no_system_account: true",
        'default_js_domain { "$G": d }',
        _WITH_OPERATOR + f"default_js_domain {{ {A}: d }}",
    ),
]
