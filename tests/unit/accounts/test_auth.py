"""Who a connection is: users of accounts, and what becomes of an identity when the users change."""

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
