"""Which hub to dial next and when (wire 2.10). Pure: the random source is handed in.

With nats-server's settings the pause does not grow: after a lost link it is ``reconnect``, after a failed attempt
``reconnect`` and up to as much again at random; how it may grow is in ``patience.py``. A refusal that will not go away
by itself adds a delay.
"""

import ipaddress
from collections.abc import Iterable
from typing import Protocol

from phloem.shared.errors import LinkError
from phloem.shared.leaf.patience import Pauses
from phloem.shared.leaf.urls import HubURL, parse_url


class Random(Protocol):
    """What of ``random.Random`` is used."""

    def shuffle(self, x: list[HubURL], /) -> None: ...  # noqa: D102
    def randrange(self, stop: int, /) -> int: ...  # noqa: D102


class Redial:
    """The URLs of one remote and the pauses between attempts."""

    def __init__(
        self,
        urls: Iterable[str],
        rng: Random,
        *,
        reconnect_ns: int,
        reconnect_max_ns: int = 0,
        no_randomize: bool,
        ignore_discovered: bool,
    ) -> None:
        """Raises LinkError for a URL that cannot be used."""
        self.pauses = Pauses(reconnect_ns, reconnect_max_ns, rng)
        self._ignore_discovered = ignore_discovered
        self._configured = [parse_url(url) for url in urls]
        if not self._configured:
            raise LinkError("a leafnode remote has no url")
        self._urls = list(self._configured)
        if not no_randomize:
            rng.shuffle(self._urls)
        self._current: HubURL | None = None
        self._penalty_ns = 0
        self.tls = any(
            url.tls for url in self._configured
        )  # a hub that has asked for TLS is not dialled without
        self.tls_name = next((url.host for url in self._configured if not _is_address(url.host)), "")
        self._been_up = False
        self.attempts = 0  # failed ones since the last connection

    def next_url(self) -> HubURL:
        """The hub to dial now: after one was tried, it goes to the end of the line."""
        if self._current is not None and len(self._urls) > 1 and self._urls[0].same_hub(self._current):
            self._urls.append(self._urls.pop(0))
        self._current = self._urls[0]
        return self._current

    def name_in_certificate(self, url: HubURL) -> str:
        """The name that the hub's certificate has to be for. A hub's INFO tells addresses: those stand for the name
        that was configured."""
        return self.tls_name if self.tls_name and _is_address(url.host) else url.host

    def discovered(self, urls: Iterable[str]) -> None:
        """The hub's cluster as its INFO has it: in front of the configured ones, which always stay.

        Their credentials are those of the first configured URL that has any: a cluster shares its users.
        """
        if self._ignore_discovered:
            return
        fresh: list[HubURL] = []
        known = list(self._configured)
        login = next((url for url in self._configured if url.user is not None), None)
        for text in urls:
            try:
                url = parse_url(text)
            except LinkError:
                continue  # the peer's mistake must not cost us the good addresses
            if any(url.same_hub(other) for other in known):
                continue
            if login is not None:
                url = url._replace(user=login.user, password=login.password)
            fresh.append(url)
            known.append(url)
        self._urls = fresh + self._configured

    @property
    def has_order(self) -> bool:
        """Whether there is another hub than the first that was configured."""
        return len(self._configured) > 1

    @property
    def first(self) -> HubURL:
        """The hub that was configured first."""
        return self._configured[0]

    @property
    def at_first(self) -> bool:
        """Whether that one was dialled last."""
        return self._current is not None and self._current.same_hub(self.first)

    def prefer_first(self) -> None:
        """The first one is dialled next, then the others in their order."""
        self._urls = self._configured + [url for url in self._urls if url not in self._configured]
        self._current = None

    def penalty(self, delay_ns: int) -> None:
        """The next attempt waits this much longer."""
        self._penalty_ns = max(self._penalty_ns, delay_ns)

    def failed(self, now_ns: int = 0) -> int:
        """An attempt to connect failed; nanoseconds until the next."""
        self.attempts += 1
        return self.pauses.failed(now_ns)

    def connected(self) -> None:
        """A connection was made; what comes of it is another matter."""
        self.attempts = 0
        self._been_up = True

    def lost(self, now_ns: int = 0) -> int:
        """A connection has ended; nanoseconds until the next attempt."""
        delay, self._penalty_ns = self.pauses.lost(now_ns) + self._penalty_ns, 0
        return delay

    def worth_reporting(self, connect_reports: int, reconnect_reports: int, attempts: int = 0) -> bool:
        """Whether the failure just counted, or the one of this number, belongs in the log as an error: the first and
        every n-th."""
        attempts = attempts or self.attempts
        every = reconnect_reports if self._been_up else connect_reports
        return attempts == 1 or (every > 0 and attempts % every == 0)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
