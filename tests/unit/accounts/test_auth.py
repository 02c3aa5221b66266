"""Who a connection is: users of accounts, and what becomes of an identity when the users change."""

import bcrypt
import pytest

from phloem.shared.accounts.auth import STANDARD, Authenticator, Candidate, Credentials, Identity
from phloem.shared.server.options_auth import Permissions, User

ALICE = User(user="alice", password="a", account="A", permissions=Permissions())
BOB = User(user="bob", password="b")


def who(auth: Authenticator, user: str, password: str) -> Identity | None:
    found = auth.find(Credentials(user, password), STANDARD)
    assert isinstance(found, Candidate)
    return found.identity if found.matches() else None


def test_a_user_is_in_an_account() -> None:
    auth = Authenticator(users=[ALICE, BOB])
    assert who(auth, "alice", "a") == Identity("alice", "A", ALICE.permissions, "a")
    assert who(auth, "bob", "b") == Identity("bob", "$G", None, "b")
    assert who(auth, "alice", "b") is None


def _hash(cost: int) -> str:
    return bcrypt.hashpw(b"right", bcrypt.gensalt(cost)).decode()


@pytest.mark.parametrize("costs", [(4,), (5, 4, 6), ()])
def test_every_refusal_costs_the_same(costs: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, wrong in plain, wrong by a hash of any cost, half a hash, right and not allowed."""
    users = [User(user=f"cost {cost}", password=_hash(cost)) for cost in costs]
    kinds = ("LEAFNODE",)
    users += [User(user="plain", password="right"), User(user="half", password="$2a$31$abc")]
    users += [User(user="leaf", password="right", allowed_connection_types=kinds)]
    auth = Authenticator(users=users)
    spent = list[int]()
    real = bcrypt.checkpw

    def checkpw(given: bytes, secret: bytes) -> bool:
        right = real(given, secret)  # raises at once for what is no hash
        spent.append(2 ** int(secret[4:6]))
        return right

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    for user, password in [*((user.user, "wrong") for user in users), ("nobody", "right"), ("leaf", "right")]:
        spent.clear()
        found = auth.find(Credentials(user, password), STANDARD)
        assert isinstance(found, Candidate)
        assert found.slow == bool(costs) or user == "half"
        assert not found.matches()
        assert sum(spent) == (2 ** max(costs) if costs else 0), user


def test_a_right_password_costs_what_it_is_hashed_with() -> None:
    auth = Authenticator(users=[ALICE, User(user="hashed", password=_hash(4))])
    found = auth.find(Credentials("alice", "a"), STANDARD)
    assert isinstance(found, Candidate)
    assert not found.slow
    assert who(auth, "alice", "a") is not None
    assert who(auth, "hashed", "right") is not None


def test_no_auth_user_is_in_its_account() -> None:
    auth = Authenticator(users=[ALICE, BOB], no_auth_user="alice")
    assert auth.find(Credentials(), STANDARD) == Identity("alice", "A", ALICE.permissions)
    assert not auth.required


@pytest.mark.parametrize(
    ("now", "stays"),
    [
        (ALICE, True),
        (User(user="alice", password="a", account="A"), True),
        (User(user="alice", password="a", account="B"), False),
        (User(user="alice", password="new", account="A"), False),
        (BOB, False),
    ],
)
def test_who_stays_when_users_change(now: User, stays: bool) -> None:
    before = Identity("alice", "A", ALICE.permissions, "a")
    after = Authenticator(users=[now]).renew(before)
    assert after == (before._replace(permissions=now.permissions) if stays else None)
