"""Users of ``leafnodes.authorization``: who may link, if leafs do not log in as the users of the whole server."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from phloem.shared.accounts.auth import GLOBAL_ACCOUNT, Authenticator

if TYPE_CHECKING:
    from phloem.shared.server.options_leafnodes import LeafAuthorization


class _Login(NamedTuple):
    """A user of ``leafnodes.authorization`` as the authenticator takes it."""

    user: str
    password: str
    account: str
    nkey: str = ""
    proxy_required: bool = False
    permissions: None = None
    allowed_connection_types: Sequence[str] = ()


class LeafLogins:
    """``leafnodes.authorization``: who may link, and the account each user is bound to."""

    def __init__(self, authorization: "LeafAuthorization") -> None:
        a = authorization
        always = a.proxy_required
        logins = [
            _Login(u.user, u.password, u.account or GLOBAL_ACCOUNT, "", u.proxy_required or always)
            for u in a.users
        ]
        if a.user:
            logins.append(_Login(a.user, a.password, a.account or GLOBAL_ACCOUNT, "", always))
        elif a.nkey:
            logins.append(_Login("", "", a.account or GLOBAL_ACCOUNT, a.nkey, always))
        self.authenticator = Authenticator(users=logins)

    @property
    def configured(self) -> bool:
        """Whether leafs have users of their own; otherwise they log in as those of the whole server."""
        return self.authenticator.configured
