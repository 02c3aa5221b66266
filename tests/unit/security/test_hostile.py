"""What somebody sends who means harm: one declared error, its text short and without secrets, bounded in memory."""

import copy
import json
import random
import tracemalloc
from collections.abc import Callable

import pytest

from phloem.shared.errors import CredentialsRefused, InvalidJWT
from phloem.shared.security import account_rules, creds, tokens
from phloem.shared.security.admission import Peer, present
from phloem.shared.security.claims import (
    Account,
    AccountClaims,
    Permission,
    User,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.subjects import is_contained
from phloem.shared.security.templates import expand
from phloem.shared.security.validation import validate
from tests.unit.security.keyring import (
    ACCOUNT,
    BY_PUBLIC,
    HEADER,
    OPERATOR,
    USER,
    golden,
    signed,
)

TEXT_MAX = 600


def refused(token: str) -> str:
    """The text of the one error there may be; nothing if the token is good."""
    try:
        validate(tokens.decode(token), 1)
    except InvalidJWT as error:
        text = str(error)
        assert text
        assert len(text) < TEXT_MAX
        return text
    return ""


def _bytes(chance: random.Random, token: str) -> str:
    """Characters changed, left out, put in."""
    text = list(token)
    for _ in range(chance.randint(1, 20)):
        at = chance.randrange(len(text))
        match chance.randrange(3):
            case 0:
                text[at] = chance.choice('AZaz09-_.=\n é\0"{')
            case 1:
                del text[at : at + chance.randint(1, 50)]
            case 2:
                text[at:at] = chance.choices("eyJ.AZ_-", k=chance.randint(1, 50))
        text = text or ["x"]
    return "".join(text)


WRONG = (
    None,
    True,
    -1,
    1.5,
    1 << 70,
    "",
    "x",
    "\ud7ff",
    [],
    [[]],
    {},
    {"": None},
    [None],
    ["x", 5],
    {"a": {"b": []}},
)


def _values(chance: random.Random, token: str) -> str:
    """A value somewhere is another one, and the signature is right."""
    document = json.loads(tokens.decode_base64url(token.split(".")[1]))
    pair = BY_PUBLIC[document["iss"]]
    for _ in range(chance.randint(1, 4)):
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = chance.choice(keys) if keys else None
            if key is None:
                break
            if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.7:
                place = place[key]
                continue
            if not (place is document and key == "iss"):
                place[key] = copy.deepcopy(chance.choice(WRONG))
            break
    return signed(json.dumps(document), pair)


def _json(chance: random.Random, token: str) -> str:
    """The JSON is broken somewhere, and the signature is right."""
    payload = tokens.decode_base64url(token.split(".")[1]).decode()
    pair = BY_PUBLIC[json.loads(payload)["iss"]]
    at = chance.randrange(len(payload))
    junk = chance.choice(("", "\0", "[", "{", '"', "\\", "\\u12", "\\ud800", "1e", "-", "nul", "é" * 20))
    return signed(payload[:at] + junk + payload[at + chance.randint(0, 5) :], pair)


@pytest.mark.parametrize("change", [_bytes, _values, _json], ids=lambda change: change.__name__)
def test_a_thousand_malformed_tokens(change: Callable[[random.Random, str], str]) -> None:
    chance = random.Random(7)
    good = golden("tokens")["tokens"] + [case["token"] for case in golden("tokens")["v1"]]
    count = sum(bool(refused(change(chance, chance.choice(good)))) for _ in range(1000))
    assert count > 300  # another value may be as good


@pytest.mark.parametrize(
    "payload",
    [
        "[" * 500_000,
        '{"a":' * 100_000,
        '{"nats":{"type":' + "[" * 50_000 + "]" * 50_000 + "}}",
        "[" * 9000 + "]" * 9000,
    ],
    ids=["lists", "objects", "inside", "closed"],
)
def test_nesting_ends_in_an_error(payload: str) -> None:
    assert refused(signed(payload, USER))
    assert refused(signed("{}", USER, payload))


def test_the_size_is_looked_at_first() -> None:
    token = "." * (64 << 20)
    tracemalloc.start()
    text = r"^token size 67108864 exceeds maximum of 1048576 bytes: token too large$"
    for read in (tokens.decode, tokens.decode_generic):
        with pytest.raises(InvalidJWT, match=text):
            read(token)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_nothing_grows() -> None:
    chance = random.Random(9)
    good = golden("tokens")["tokens"]
    for _ in range(100):
        refused(_values(chance, chance.choice(good)))
    tracemalloc.start()
    for _ in range(300):
        refused(_values(chance, chance.choice(good)))
    assert tracemalloc.get_traced_memory()[0] < 200_000
    tracemalloc.stop()


def test_many_dots_and_long_names() -> None:
    assert refused("." * 1_000_000) == "expected 3 chunks"
    assert refused(signed("{}", USER, json.dumps({"typ": "x" * 500_000}))).startswith(
        'not supported type "xxx'
    )
    long = json.dumps({"iss": ACCOUNT.public_key, "nats": {"type": "y" * 100_000, "version": 2}})
    assert refused(signed(long, ACCOUNT)) == "claim failed V1 signature verification"
    kind = {"type": "account", "version": 2, "exports": [{"type": "z" * 100_000}]}
    assert refused(signed(json.dumps({"iss": ACCOUNT.public_key, "nats": kind}), ACCOUNT)).startswith(
        "unknown export"
    )


def test_very_many_exports_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(subject: str, other: str) -> bool:
        nonlocal compared
        compared += 1
        return is_contained(subject, other)

    monkeypatch.setattr(account_rules, "is_contained", counted)
    exports = [{"subject": f"a.{n}", "type": "stream"} for n in range(2000)] + [
        {"subject": "b.>", "type": "stream"}
    ]
    imports = [{"subject": f"a.{n}", "type": "service", "account": "A"} for n in range(500)]
    limited = {"imports": -1, "exports": -1, "wildcards": True}
    body = {"type": "account", "version": 2, "exports": exports, "imports": imports, "limits": limited}
    document = {"iss": OPERATOR.public_key, "sub": ACCOUNT.public_key, "nats": body}
    claims = tokens.decode(signed(json.dumps(document), OPERATOR))
    assert not list(validate(claims, 1))
    assert compared == 2000


@pytest.mark.parametrize(
    ("entry", "name", "tags"),
    [
        ("{{name()}}" * 40, "{{name()}}" * 400, ()),
        ("{{tag(a)}}.{{tag(a)}}.{{tag(a)}}", "x", tuple(f"a:{n}" for n in range(1000))),
        ("{{tag(a)}}" * 2, "x", tuple(f"a:{n:050000d}" for n in range(20))),
        ("{{tag(a)}}" * 1000, "x", ("a:b", "a:c")),
    ],
    ids=["a name that grows", "too many", "too long", "too many at once"],
)
def test_templates_have_a_limit(entry: str, name: str, tags: tuple[str, ...]) -> None:
    template = UserPermissionLimits(pub=Permission(allow=(entry,)))
    user = UserClaims(sub=USER.public_key, name=name, nats=User(tags=tags))
    tracemalloc.start()
    with pytest.raises(CredentialsRefused) as caught:
        expand(template, user, AccountClaims(sub=ACCOUNT.public_key, nats=Account()))
    assert caught.value.reason == "template expansion exceeds limit: 4096"
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_the_peer_hears_nothing_of_the_reason() -> None:
    peer = Peer("STANDARD", "127.0.0.1", b"nonce")
    with pytest.raises(CredentialsRefused) as caught:
        present("eyJ.not.one", peer, 1)
    assert str(caught.value) == "Authorization Violation"
    assert caught.value.reason == "Authentication requires a user JWT"


def test_a_bearer_token_is_not_in_an_error() -> None:
    claims = UserClaims(sub=USER.public_key, nats=User(bearer_token=True, src=("nonsense",)))
    token = tokens.encode(claims, ACCOUNT, 5)
    peer = Peer("STANDARD", "127.0.0.1", b"nonce")
    with pytest.raises(CredentialsRefused) as caught:
        present(token, peer, 1)
    for part in token.split(".")[1:]:
        assert part not in caught.value.reason
        assert part not in repr(caught.value)


def test_malformed_creds_do_not_show_the_seed() -> None:
    seed = USER.seed().decode()
    broken = f"---a---\nx.y.z\n---b---\n---c---\n{seed[:-3]}\n---d---\n".encode()
    for read in (creds.key_in, creds.credentials_in):
        with pytest.raises(Exception, match="nkeys: ") as caught:
            read(broken)
        assert seed[3:20] not in repr(caught.value)
        assert HEADER not in repr(caught.value)
