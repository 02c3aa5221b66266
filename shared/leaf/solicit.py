"""The dialling side of a leaf link's handshake: what the hub says in, what to do out. Pure (wire 2.1, 2.2).

    hub  INFO                 -> TLS, if the hub or the configuration asks for it
                              -> if both want compression, INFO with our mode, and both ends speak S2;
    hub  INFO                    this one counts as the first then
                              -> we CONNECT, and give the hub 2 s
    hub  INFO connect_info    -> the link is up, with the permissions it names
    hub  INFO                 -> the hub's cluster has changed: other addresses to dial next time

A hub that does not announce ``info_on_connect`` gets its link right after CONNECT. A leaf that sends CONNECT at once
has declined compression (wire 2.8).
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.errors import LinkError, MalformedJSON
from phloem.shared.kernel.reasons import Reason
from phloem.shared.leaf.accept import MIN_VERSION, SAME_CLUSTER_NAME
from phloem.shared.leaf.compression import Agreed, Compression, agree
from phloem.shared.leaf.permits import Crossing, solicited
from phloem.shared.leaf.urls import HubURL
from phloem.shared.wire.leaf import (
    LEAF_PROTOCOL,
    Extras,
    LeafConnect,
    LeafInfo,
    SubjectRules,
    decode_leaf_info,
    encode_leaf_connect,
    encode_leaf_info,
)

LOOP_DETECTED = "Loop detected"
STALE = "Stale Leaf Node Connection - Closing"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the dialling side brings along."""

    server_id: str
    name: str
    cluster: str  # the origin of what comes from here; empty without a configured name
    version: str
    account: str  # the local account that is linked
    headers: bool
    hub: bool = False  # this side is the hub although it dials
    jetstream: bool = False  # ``account`` may keep streams
    domain: str = ""  # of this server's JetStream
    deny_imports: tuple[str, ...] = ()
    deny_exports: tuple[str, ...] = ()
    request_isolation: bool = False
    extras: Extras | None = None  # what only a phloem understands
    tls: bool = False  # whatever the hub says: who dials knows that it should be there
    compression: Compression = Compression()


class ShakeHands(NamedTuple):
    """TLS has to begin now; ``Solicitor.on_secured`` says what follows."""


class Close(NamedTuple):
    """End the link: with ``-ERR 'text'`` if ``wire`` is set, else without a word; ``text`` is for the log."""

    reason: Reason
    text: str
    wire: bool = False


class Compress(NamedTuple):
    """Send these bytes, and speak S2 from there on; INFO has to come within the time that the first one had."""

    data: bytes
    agreed: Agreed


class SendConnect(NamedTuple):
    """Send these bytes; INFO has to answer them within ``timeout_ns`` (0: nothing more is needed)."""

    data: bytes
    timeout_ns: int


class LinkUp(NamedTuple):
    """The handshake is over."""

    crossing: Crossing
    spoke: bool
    headers: bool
    peer_max_payload: int  # bytes; 0: the hub did not say
    origin: str  # the hub's cluster name
    domain: str  # of the hub's JetStream


class Discovered(NamedTuple):
    """Addresses (``host:port``) of the hub's cluster, all there are now."""

    urls: tuple[str, ...]


Step = ShakeHands | Close | Compress | SendConnect | LinkUp | Discovered


class Hub(NamedTuple):
    """Who is at the other end. ``version`` is that of phloem for a phloem."""

    server_id: str
    name: str
    version: str
    is_phloem: bool


class ErrVerdict(NamedTuple):
    """What an ``-ERR`` means: a longer pause before dialling again, and perhaps the end of the link."""

    delay_ns: int
    ends_link: bool


def on_err(text: str) -> ErrVerdict:
    """Judges the text of an ``-ERR``, whoever dialled; most say nothing that the peer does not also do."""
    if SAME_CLUSTER_NAME in text:
        return ErrVerdict(limits.LEAF_LOOP_DELAY_NS, False)
    if MIN_VERSION in text:
        return ErrVerdict(limits.LEAF_MIN_VERSION_DELAY_NS, False)
    if LOOP_DETECTED in text:
        return ErrVerdict(limits.LEAF_LOOP_DELAY_NS, True)
    return ErrVerdict(0, False)


class Proof(NamedTuple):
    """What shows who the dialling side is, beside what its URL says: a JWT or a public key, and the nonce signed."""

    jwt: str = ""
    nkey: str = ""
    sig: str = ""


NO_PROOF = Proof()


class Solicitor:
    """One link's handshake, from the first INFO on."""

    def __init__(
        self,
        terms: Terms,
        url: HubURL,
        prove: Callable[[str], Proof] = lambda _: NO_PROOF,
        rtt_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        """``prove`` answers the nonce of the hub's INFO; raises LinkError if there is nothing to do it with.
        ``rtt_ns``: the round trip as far as it is known when compression is agreed on."""
        self._terms = terms
        self._url = url
        self._prove = prove
        self._first: LeafInfo | None = None
        self._last: LeafInfo | None = None
        self._held: LeafInfo | None = None  # what the hub said in plain, before TLS
        self._secured = False
        self._rtt_ns = rtt_ns
        self.agreed: Agreed | None = None  # on compression
        self.up = False

    @property
    def remote_name(self) -> str:
        """The hub's server name; its id if it has none; empty before its INFO."""
        return "" if self._first is None else self._first.server_name or self._first.server_id

    @property
    def hub(self) -> Hub:
        """Who answers; nobody before its INFO."""
        first = self._first or LeafInfo()
        theirs = first.phloem
        version = first.version if theirs is None else theirs.version
        return Hub(first.server_id, first.server_name, version, theirs is not None)

    def on_info(self, body: bytes) -> list[Step]:
        """What to do about an INFO, in this order."""
        try:
            info = decode_leaf_info(body)
        except MalformedJSON:
            return [Close(Reason.PARSE_ERROR, "INFO is no JSON object that nats-server would send")]
        if self._first is None:
            if not self._secured and (info.tls_required or self._terms.tls):
                self._held = info
                return [ShakeHands()]
            return self._begin(info)
        return self._follow(info)

    def on_secured(self) -> list[Step]:
        """The link speaks TLS. If the hub has said INFO before, what to do about it."""
        self._secured = True
        held, self._held = self._held, None
        return [] if held is None else self._begin(held)

    def _begin(self, info: LeafInfo) -> list[Step]:
        """The first INFO, or, when that led to compression, the one after it."""
        refusal = _unusable(info)
        if refusal is not None:
            return [refusal]
        if self.agreed is None:
            try:
                self.agreed = agree(self._terms.compression, info.compression, self._rtt_ns())
            except LinkError as error:
                return [Close(Reason.PROTOCOL_VIOLATION, str(error), wire=True)]
            if self.agreed.level is not None:
                answer = LeafInfo(client_id=info.client_id, compression=self.agreed.told)
                return [Compress(encode_leaf_info(answer), self.agreed)]
        self._first = info
        return self._follow(info)

    def _follow(self, info: LeafInfo) -> list[Step]:
        steps: list[Step] = []
        if info.leafnode_urls:
            steps.append(Discovered(info.leafnode_urls))
        if self.up:
            return steps + self._changes(info)
        if info is self._first:
            waits = info.info_on_connect
            try:
                proof = self._prove(info.nonce)
            except LinkError as error:
                return [Close(Reason.WRITE_ERROR, str(error))]
            steps.append(
                SendConnect(self._connect(proof), limits.LEAF_CONNECT_INFO_TIMEOUT_NS if waits else 0)
            )
            if not waits:
                steps.append(self._link_up(info))
        elif info.connect_info:
            steps.append(self._link_up(info))
        return steps

    def on_timeout(self) -> Close:
        """The INFO that had to be there is not."""
        if self._first is None:
            return Close(Reason.STALE, "no INFO from the hub in time")
        return Close(Reason.STALE, STALE, wire=True)

    def _connect(self, proof: Proof) -> bytes:
        t, url = self._terms, self._url
        return encode_leaf_connect(
            LeafConnect(
                version=t.version,
                nkey=proof.nkey,
                jwt=proof.jwt,
                sig=proof.sig,
                server_id=t.server_id,
                domain=t.domain,
                name=t.name,
                cluster=t.cluster,
                headers=t.headers,
                jetstream=t.jetstream,
                is_hub=t.hub,
                deny_pub=t.deny_imports,
                isolate=t.request_isolation,
                compress_mode=self.agreed.mode if self.agreed else "",
                remote_account=t.account,
                protocol=LEAF_PROTOCOL,
                user=url.user or "",
                password=url.password or "",
                # a hub that knows tokens only does not look at ``user``
                auth_token=url.user or "" if url.password is None else "",
                phloem=t.extras,
            )
        )

    def _link_up(self, info: LeafInfo) -> LinkUp:
        assert self._first is not None
        t = self._terms
        self.up = True
        self._last = info
        return LinkUp(
            crossing=solicited(
                info.import_,
                info.export,
                deny_imports=t.deny_imports,
                deny_exports=t.deny_exports,
            ),
            spoke=not t.hub,
            headers=t.headers and self._first.headers,
            peer_max_payload=max(info.max_payload, 0),
            origin=self._first.cluster,
            domain=self._first.domain,
        )

    def _changes(self, info: LeafInfo) -> list[Step]:
        """An INFO on a link that is up; what it was built on cannot be changed in place."""
        assert self._last is not None
        for ours, theirs in ((self._last.import_, info.import_), (self._last.export, info.export)):
            if theirs is not None and not _same(ours, theirs):
                return [Close(Reason.CLIENT_CLOSED, "the hub has changed this link's permissions")]
        if info.max_payload and info.max_payload != self._last.max_payload:
            return [Close(Reason.CLIENT_CLOSED, "the hub has changed max_payload")]
        return []


def _same(ours: SubjectRules | None, theirs: SubjectRules) -> bool:
    ours = ours or SubjectRules()
    return (ours.allow, ours.deny or ()) == (theirs.allow, theirs.deny or ())


def _unusable(info: LeafInfo) -> Close | None:
    """Whether a first INFO cannot lead to a link. No other port than one for leafnodes says ``leafnode_urls``, or,
    where a hub advertises nothing, ``info_on_connect``."""
    if not info.client_id or (info.leafnode_urls is None and not info.info_on_connect):
        return Close(Reason.WRONG_PORT, "attempted to connect to wrong port")
    if " " in info.cluster:
        return Close(Reason.PROTOCOL_VIOLATION, "cluster name cannot contain spaces", wire=True)
    return None
