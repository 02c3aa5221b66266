"""Pages about one account: ``$SYS.REQ.ACCOUNT.<account>.<NAME>`` (security_ops 4.5).

The account is part of the subject, and takes precedence over what the options say.
"""

from typing import Any

from phloem.shared.server.monitor.accountz import account_statz, accountz
from phloem.shared.server.monitor.jsz import account_jsz
from phloem.shared.server.monitor.query import Query
from phloem.shared.server.system.asked import Fields
from phloem.shared.server.system.pages import (
    CONN,
    JS,
    LEAF,
    PAGES,
    SUBS,
    Asked,
    Figures,
    Page,
    jetstream_query,
)
from phloem.shared.server.system.requests import Silence

EVERY = "PING"  # what stands for the account in a request about all of them
STATZ: Fields = {"accounts": "[]string", "include_unused": "bool"}


def _of(name: str, option: str, **more: Any) -> Any:
    """A page of the whole server, restricted to the account."""

    def make(figures: Figures, asked: Asked) -> object:
        return PAGES[name].make(figures, {**asked, **more, option: asked["."]})

    return make


def _jsz(figures: Figures, asked: Asked) -> object:
    return account_jsz(figures.source, jetstream_query({**asked, "account": asked["."]}))


def _info(figures: Figures, asked: Asked) -> object:
    return accountz(figures.source, Query.of({"acc": asked["."]})).account_detail


def _statz(figures: Figures, asked: Asked) -> object:
    names = asked.get("accounts", ()) if asked["."] == EVERY else (asked["."],)
    unused = asked.get("include_unused", False)
    page = account_statz(figures.source, names, unused=unused)
    if not page.account_statz and not unused:
        raise Silence
    return page


# ``asked["."]`` is the account.
ACCOUNT_PAGES = {
    "SUBSZ": Page("SubszEventOptions", SUBS, _of("SUBSZ", "account", subscriptions=True)),
    "CONNZ": Page("ConnzEventOptions", CONN, _of("CONNZ", "acc")),
    "LEAFZ": Page("LeafzEventOptions", LEAF, _of("LEAFZ", "account")),
    "JSZ": Page("JszEventOptions", JS, _jsz),
    "INFO": Page("AccInfoEventOptions", {}, _info),
    "STATZ": Page("AccountStatzEventOptions", STATZ, _statz),
}
