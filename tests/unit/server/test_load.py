"""From text to Options: every kind of option, all mistakes at once, precedence, rules at start."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.server.declare import declared, walk
from phloem.shared.server.load import (
    ConfigErrors,
    Loaded,
    load,
    load_mapping,
    merge,
)
from phloem.shared.server.options import Options
from phloem.shared.server.options_auth import (
    Account,
    Authorization,
    Permissions,
    ResponsePermission,
    SubjectPermission,
    User,
)
from phloem.shared.server.options_jetstream import JetStream
from phloem.shared.server.options_leafnodes import LeafAuthorization, LeafNodes, LeafUser, Remote
from phloem.shared.server.options_phloem import PhloemOptions, Serial
from phloem.shared.server.validation import start_warnings, validate


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def writing(text: str) -> Loaded:
        path = tmp_path / "x.conf"
        path.write_text(text)
        return load(path)

    return writing


@pytest.fixture
def options(write: Any) -> Any:
    return lambda text: merge(write(text), {})


def test_nothing_set_is_all_defaults() -> None:
    assert merge(None, {}) == Options()


def test_defaults_can_be_built_for_every_struct() -> None:
    for struct in {Options, *(option.struct for _, option in walk(Options) if option.struct)}:
        assert struct() == struct()


def test_no_key_means_two_options() -> None:
    for struct in (Options, *(option.struct for _, option in walk(Options) if option.struct)):
        keys = [key for option in declared(struct) for key in option.keys] + list(
            getattr(struct, "ADDRESSES", {})
        )
        assert len(keys) == len(set(keys)), struct


def test_no_flag_means_two_options() -> None:
    flags = [flag for _, option in walk(Options) for flag in option.opt.flags.split()]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("listen: 5000", {"port": 5000}),
        ('listen: "[::1]:5000"', {"host": "::1", "port": 5000}),
        ('listen: ":5000"', {"port": 5000}),
        ("port: 0", {}),
        ("PORT: 5000", {"port": 5000}),
        ('http: "127.0.0.1:8222"', {"http_host": "127.0.0.1", "http_port": 8222}),
        ("max_connections: 0", {"max_connections": -1}),
        ("max_payload: 2MB", {"max_payload": 2 << 20}),
        ("max_payload: 0", {}),
        ('ping_interval: "1m30s"', {"ping_interval_ns": 90_000_000_000}),
        ("trace_verbose: true", {"trace": True, "trace_verbose": True}),
        ("server_tags: a", {"server_tags": ("a",)}),
        ("server_metadata { a: b }", {"server_metadata": {"a": "b"}}),
        ("x: 7000\nport: $x", {"port": 7000}),
        ("authorization { user: a, pass: b, timeout: 1.5 }",
         {"authorization": Authorization(user="a", password="b", timeout_ns=1_500_000_000)}),
        ("leaf { port: 7422, advertise: h }", {"leafnodes": LeafNodes(port=7422, advertise="h")}),
        ('leafnodes { remotes: [{url: "nats://h:1", isolate: yes, dont_randomize: on}] }',
         {"leafnodes": LeafNodes(remotes=(Remote(urls=("nats://h:1",), isolate=True, no_randomize=True),))}),
        ('phloem { unix_socket: "/x", unix_socket_mode: "0600", log_format: json }',
         {"phloem": PhloemOptions(unix_socket="/x", unix_socket_mode=0o600, log_format="json")}),
        ('serial { bench { device: "/dev/x", baud: 9600, subject: s.b, retry_min: 1s } }',
         {"serial": (Serial(name="bench", device="/dev/x", baud=9600, subject="s.b", retry_min_ns=10**9),)}),
    ],
)  # fmt: skip
def test_fields(options: Any, text: str, fields: dict[str, Any]) -> None:
    got = options(text)
    assert got == msgspec.structs.replace(
        Options(),
        **fields,
        config_file=got.config_file,
        config_digest=got.config_digest,
        explicit=got.explicit,
    )


@pytest.mark.parametrize(
    ("text", "flags", "folder"),
    [
        ('store_dir: "/x"\njetstream: true', {}, "/x"),
        ('jetstream { domain: d }\nStoreDir: "/x"', {}, "/x"),
        ('store_dir: "/x"\njetstream: true', {("jetstream", "store_dir"): "/y"}, "/y"),
        ('store_dir: "/x"', {("jetstream",): JetStream()}, "/x"),
        ('store_dir: ""\njetstream { store_dir: "/y" }', {}, "/y"),
    ],
)
def test_the_store_at_the_top(write: Any, text: str, flags: dict[tuple[str, ...], Any], folder: str) -> None:
    assert merge(write(text), flags).jetstream.store_dir == folder


def test_the_store_at_the_top_alone_starts_no_jetstream(options: Any) -> None:
    assert options('store_dir: "/x"').jetstream is None


@pytest.mark.parametrize(
    "text",
    ['store_dir: "/x"\njetstream { store_dir: "/x" }', 'storedir: "/x"\nstore_dir: "/y"'],
)
def test_the_store_in_two_places(write: Any, text: str) -> None:
    with pytest.raises(ConfigError, match="Duplicate 'store_dir' configuration"):
        write(text)


def test_explicit_names_what_was_set(write: Any) -> None:
    assert merge(write("port: 1\nmax_payload: 0"), {("debug",): False}).explicit == {"port", "debug"}


def test_permissions(options: Any) -> None:
    got = options("""
        authorization {
          default_permissions { publish: { deny: [x] } }
          users: [
            { user: a }
            { user: b, permissions { publish: [a.b, "c.>"], subscribe { allow: "q grp", deny: [d] } } }
            { user: c, permissions { allow_responses { max: -1, ttl: "1s" } } }
            { user: d, permissions { publish: p, allow_responses: true } }
            { user: e, permissions { publish {}, allow_responses: false } }
          ]
        }""")
    assert [user.permissions for user in got.authorization.users] == [
        Permissions(publish=SubjectPermission(deny=("x",))),
        Permissions(
            publish=SubjectPermission(allow=("a.b", "c.>")),
            subscribe=SubjectPermission(allow=("q grp",), deny=("d",)),
        ),
        Permissions(
            publish=SubjectPermission(allow=()), allow_responses=ResponsePermission(max_msgs=-1, ttl_ns=10**9)
        ),
        Permissions(publish=SubjectPermission(allow=("p",)), allow_responses=ResponsePermission()),
        Permissions(),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("serial { a { subject: s } }", 'serial "a" needs a device'),
        ("serial { a { device: d } }", 'serial "a" needs a subject, a command_subject or a request_subject'),
        ("serial { a { device: d, subject: s.* } }", 'cannot publish to "s.*"'),
        ("serial { a { device: d, subject: s, parity: p } }", '"parity" expects one of none, even, odd'),
        ("serial { a { device: d, subject: s, baud: 0 } }", "baud value must be 1 or more"),
        ("serial { a { device: d, subject: s, retry_min: 1m30s } }", "retry_min must be above 0"),
        ("serial { a: 5 }", "takes blocks, as serial { a { ... } }"),
        ("phloem { unix_socket_mode: 0660 }", 'expects string, got the number 660; quote it'),
        ('phloem { unix_socket_mode: "0888" }', 'expects an octal mode such as "0660", got "0888"'),
        ('server_name: "\\xff"', '"server_name" is not UTF-8'),
        ("authorization { user: 5 }", '"user" expects string, got the number 5; quote it'),
        ('leafnodes { remotes: [{url: "wss://a:b@h:1"}] }', '"wss://[REDACTED]@h:1"]: phloem cannot link'),
        ('leafnodes { remotes: [{url: "http://h:1"}] }', "the scheme must be one of nats, nats-leaf, leaf"),
        ("jetstream: maybe", '1:0: "jetstream" expects true or false, or block'),
        ("jetstream { tpm { pcr: 1 } }", '1:12: "tpm" is not supported by phloem'),
        ("jetstream { unique_tag: 5 }", '1:12: "unique_tag" expects string, got the number 5; quote it'),
        ("jetstream { extension_hint: true }", '1:12: "extension_hint" expects string, got the bool true; quote it'),
        ("jetstream { meta_compact_sync: 1 }", '1:12: "meta_compact_sync" expects true or false, got the number 1'),
        ("jetstream { cipher: des }", '1:12: Unknown cipher type: "des"'),
        ("accounts { A { nope: 1 } }", 'unknown field "nope"'),
        ("accounts { A { imports: [{stream: {account: B}}] } }", "1:26: Expect an account name and a subject"),
        ("accounts { A { limits { max_con: 1 } } }", 'Unknown field "max_con" parsing account limits'),
        ("accounts { A { users: [{nkey: U}] } }", "Not a valid public nkey for a user"),
        ("max_control_line: 65001", "1:0: max_control_line value is too big"),
        ("max_control_line: -1", "1:0: max_control_line value must be 0 or more"),
        ("accounts: x", '"accounts" expects block of named blocks, or array of names, got the string "x"'),
        ("tls { ocsp_peer: true }", '"ocsp_peer" is not supported by phloem: it does not ask OCSP responders'),
        ("leafnodes { tls { cert_fil: x } }", 'unknown field "cert_fil"'),
    ],
)  # fmt: skip
def test_mistake(write: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(text)
    assert message in str(caught.value)


def test_without_effect(write: Any) -> None:
    loaded = write("jetstream {\n unique_tag: az\n MAX_BUFFERED_MSGS: 5\n meta_compact: 0\n domain: d }")
    assert loaded.warnings == ()
    assert [text.partition("x.conf:")[2] for text in loaded.notices] == [
        '2:2: "unique_tag" has no effect: this server is not part of a cluster',
        '3:2: "MAX_BUFFERED_MSGS" has no effect: a stream takes each message when it is read, and keeps none waiting',
        '4:2: "meta_compact" has no effect: this server is not part of a cluster',
    ]
    options = merge(loaded, {})
    assert options.notices == loaded.notices
    assert options.jetstream is not None
    assert options.jetstream.domain == "d"


def test_accounts(options: Any) -> None:
    got = options("""
        P: secret
        authorization { users: [ { user: g, password: x } ] }
        accounts {
          P: $P
          A { users: [ { user: a, password: $P }, { user: b, permissions { publish: p } } ]
              default_permissions { subscribe { deny: s } } }
          SYS { users: [ { user: s } ] }
          a {}
        }
        system: SYS""")
    validate(got)
    assert [(user.account, user.user, user.password) for user in got.users] == [
        ("$G", "g", "x"), ("A", "a", "secret"), ("A", "b", ""), ("SYS", "s", "")
    ]  # fmt: skip
    assert [user.permissions for user in got.users] == [
        None,
        Permissions(subscribe=SubjectPermission(deny=("s",))),
        Permissions(publish=SubjectPermission(allow=("p",))),
        None,
    ]
    assert got.account_names == ("$G", "SYS", "A", "a")
    assert options("accounts: [A, B]").account_names == ("$G", "$SYS", "A", "B")


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("A { users: [{user: x}] }\n B { users: [{user: x}] }", ['3:6: Duplicate user "x" detected']),
        ("a { users: [] }\n A { users: [{user: x}, {user: x}] }", ['3:6: Duplicate user "x" detected']),
        ("A { users: [{user: g}] }", ['2:5: Duplicate user "g" detected']),
        ('"$G" {}\n A: 5', ['2:2: "$G" is a Reserved Account', "3:2: Expected map entries for accounts"]),
    ],
)
def test_mistakes_between_accounts(write: Any, text: str, errors: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        write("accounts {\n" + text + "\n}\nauthorization { users: [{user: g}] }")
    assert [line.partition("x.conf:")[2] for line in str(caught.value).splitlines()] == errors


@pytest.mark.parametrize(
    ("login", "text"),
    [("user: u, password: p", "Can not have a single user/pass and accounts"),
     ("token: t", "Can not have a token and accounts")],
)  # fmt: skip
def test_a_single_login_goes_without_users_of_accounts(write: Any, login: str, text: str) -> None:
    write(f"authorization {{ {login} }}\naccounts {{ A {{}} }}")
    with pytest.raises(ConfigError, match=rf"2:16: {text}$"):
        write(f"authorization {{ {login} }}\naccounts {{ A {{ users: [{{user: a}}] }} }}")
    options = merge(
        write("accounts { A { users: [{user: a}] } }"), {("authorization", login[:5].rstrip(":")): "x"}
    )
    with pytest.raises(ConfigError, match=f"^{text}$"):
        validate(options)


def test_all_mistakes_at_once_in_order(write: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        write("port: x\nfoo: 1\nleafnodes {\n  bar: 2\n}\n")
    path = tmp_path / "x.conf"
    assert str(caught.value).splitlines() == [
        f'{path}:1:0: "port" expects integer, got the string "x"',
        f'{path}:2:1: unknown field "foo"',
        f'{path}:4:3: unknown field "bar"',
    ]


def test_warnings_do_not_stop_loading(write: Any) -> None:
    loaded = write("ping_interval: 5\nauthorization { timeout: 90 }")
    assert loaded.fields["ping_interval_ns"] == 5 * 10**9
    assert [line.partition(": invalid")[0][-4:] for line in loaded.warnings] == [":1:0", "2:17"]
    assert write("").warnings[0].endswith("x.conf: config has no values or is empty")


def test_flags_win_over_the_file(write: Any) -> None:
    loaded = write("port: 1\nserver_name: a\nauthorization { user: a, password: b }")
    got = merge(loaded, {("port",): 2, ("authorization", "password"): "c", ("phloem", "log_format"): "json"})
    assert (got.port, got.server_name, got.phloem.log_format) == (2, "a", "json")
    assert got.authorization == Authorization(user="a", password="c")
    assert merge(loaded, {("port",): 0}).port == 4222


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_payload": 10, "max_pending": 9}, "max_payload (10) cannot be higher than max_pending (9)"),
        (
            {"lame_duck_duration_ns": 31 * 10**9, "lame_duck_grace_period_ns": 40 * 10**9},
            "lame duck grace period (40s) should be strictly lower than lame duck duration (31s)",
        ),
        ({"server_name": "a b"}, "server name cannot contain spaces"),
        ({"port": 70000}, "port 70000 is not between -1 and 65535"),
        ({"http_port": -2}, "http port -2 is not between -1 and 65535"),
        (
            {"no_auth_user": "zz"},
            'no_auth_user: "zz" present, but users/nkeys are not defined',
        ),
        ({"authorization": Authorization(user="a", token="b")}, "Cannot have a user/pass and token"),
        (
            {"authorization": Authorization(users=(User(user="a"),), token="b")},
            "Can not have a token and a users array",
        ),
        (
            {"leafnodes": LeafNodes(remotes=(Remote(account="A"),)), "accounts": (Account(name="B"),)},
            'cannot find local account "A" specified in leafnode remote',
        ),
        (
            {"leafnodes": LeafNodes(authorization=LeafAuthorization(account="A"))},
            'cannot find local account "A" specified in leafnode authorization',
        ),
        (
            {
                "leafnodes": LeafNodes(
                    authorization=LeafAuthorization(users=(LeafUser(user="u", account="A"),))
                )
            },
            'cannot find local account "A" specified in leafnode authorization',
        ),
        (
            {
                "leafnodes": LeafNodes(remotes=(Remote(account="$SYS"),)),
                "accounts": (Account(name="S"),),
                "system_account": "S",
            },
            'cannot find local account "$SYS" specified in leafnode remote',
        ),
        ({"system_account": "A"}, "error resolving system account: account missing"),
    ],
)
def test_validate(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(msgspec.structs.replace(Options(), **changes))
    assert str(caught.value) == message


def test_valid() -> None:
    validate(Options())
    validate(Options(no_auth_user="a", authorization=Authorization(users=(User(user="a"),))))
    accounts = (Account(name="A", users=(User(user="a", account="A"),)),)
    links = LeafNodes(remotes=(Remote(account="A"), Remote(account="$SYS")))
    validate(Options(no_auth_user="a", accounts=accounts, system_account="$SYS", leafnodes=links))


def test_start_warnings() -> None:
    assert start_warnings(Options()) == ()
    assert start_warnings(Options(max_payload=9 << 20))[0].startswith("Maximum payloads over 8.00 MB")
    secret = Options(authorization=Authorization(users=(User(user="a", password="b"),)))
    assert start_warnings(secret) == ("Plaintext passwords detected, use nkeys or bcrypt",)
    hashed = Options(authorization=Authorization(token="$2a$11$" + "x" * 53))
    assert start_warnings(hashed) == ()


def test_mapping_is_read_as_a_file_would_be() -> None:
    config = {"port": -1, "server_tags": ("a", "b"), "leafnodes": {"remotes": [{"url": "nats://h:1"}]}}
    got = merge(load_mapping(config), {})
    assert (got.port, got.server_tags, got.config_file) == (-1, ("a", "b"), "")
    assert got.leafnodes.remotes == (Remote(urls=("nats://h:1",)),)
    assert load_mapping({}).warnings == ()
    assert merge(load_mapping({"server_name": "\x01é"}), {}).server_name == "\x01é"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"port": None}, '"port" cannot be configured with a NoneType'),
        ({"nope": 1}, 'unknown field "nope"'),
        ({"leafnodes": {"port": "x"}}, '"port" expects integer, got the string "x"'),
    ],
)
def test_mapping_with_a_mistake(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_mapping(config)
    assert str(caught.value) == message


def test_the_flag_of_jetstream_switches_on_what_the_file_says(write: Any) -> None:
    flags = {("jetstream",): JetStream(), ("jetstream", "store_dir"): "/there"}
    got = merge(write('jetstream { enabled: false, domain: "d", store_dir: "/here" }'), flags).jetstream
    assert got == JetStream(domain="d", store_dir="/there")
    assert merge(write('jetstream { domain: "d" }'), {("jetstream",): None}).jetstream is None
