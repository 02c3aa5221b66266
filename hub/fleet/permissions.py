"""What a device may do at the hub: its own subjects, its own mailbox, the JetStream of its own domain; nothing else.

The template of the scoped signing key that signs devices. The same rules serve a leaf link and a client, since both
log in with a device's credentials. ``NAME`` below is the device's name, a token of a subject.

What a device may send to the hub:

* ``NAME``, ``NAME.>``: its readings and whatever it has to say.
* ``_INBOX_NAME.>``: answers to whoever asks with this inbox prefix. Not ``_INBOX.>``: a client uses one inbox for all
  its requests, so a device that is asked once learns where answers of the others go, and could give them.
* ``$PHL.UP.NAME``: what it forwards. The hub takes the device's name from this subject and from nowhere else, so that
  no device can add to another's streams or ledger, or end its session.
* ``$JS.hub.API.CONSUMER.CREATE.KV_twin_desired.*.$KV.twin_desired.NAME.>``: following its own keys of the twin. The
  last tokens are the filter of the consumer, and a server refuses one that has another: what others are to do cannot be
  read. That the answers go where the device says is so with every request; what it can have sent there is what the hub
  wants of it, and nothing of its own choice.
* ``$JS.hub.API.$KV.twin_reported.NAME.>``: writing its own keys of the twin. The bucket takes no rollups, so that one
  write cannot empty it. A device cannot read them: else it could have the hub send what it likes to whom it likes.
* ``$JS.R.*``, ``$JSC.R.*``: the answer to a hub's stream that wants to take from the device's (phloem's and
  nats-server's subject for it); the token is random, used once, and waited for some milliseconds.

What it may send besides if the hub is a nats-server, for each stream that was named (``--stream``):

* ``fleet.*.NAME.>``: its messages, with its name in their subjects.
* ``$JS.hub.API.STREAM.INFO.STREAM``, ``$JS.hub.API.STREAM.MSG.GET.STREAM``: how the stream is, and what it has of the
  device. Whoever may ask the second one can read the whole stream: ``{name}`` in its name gives each device its own.

What may come to it from the hub:

* ``NAME``, ``NAME.>``: commands.
* ``_INBOX_NAME.>``: answers to what programs on the device ask, with this inbox prefix. With ``_INBOX.>`` a device
  could read what others are answered.
* ``$PHL.DOWN.NAME``: what the hub says to what it forwards. Interest in it also tells that the device is there.
* ``$JS.NAME.API.>``: requests to the JetStream on the device, whose domain is NAME.
* ``$JS.ACK.NAME.>``, ``$JS.FC.NAME.>``: acknowledgements and flow control for the stream on the device that is called
  NAME. In the newer form of these subjects the second token is the domain, which is NAME as well.
"""

import re
from collections.abc import Sequence

import msgspec

from phloem.shared.forward.messages import down_subject, up_subject
from phloem.shared.limits import ALLOW_RESPONSES_MAX, ALLOW_RESPONSES_TTL_NS
from phloem.shared.security.claims import (
    AccountClaims,
    Permission,
    Permissions,
    ResponsePermission,
    UserPermissionLimits,
)
from phloem.shared.twin.names import HUB_DESIRED, HUB_REPORTED, prefix_of, stream_of

ROLE = "device"
LINK, CLIENT = "LEAFNODE", "STANDARD"  # how a device may connect

_TEMPLATE = "{{name()}}"
_HUB_API = "$JS.hub.API"  # of the domain that phloem init gives the hub
_DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_STREAM = re.compile(r"([A-Za-z0-9_-]|\{name\}){1,128}")
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
RESERVED = frozenset({"api", "ack", "fc", "hub", "r"})  # they have a meaning behind ``$JS.``


def mailbox(name: str) -> str:
    """The inbox prefix for requests to and from a device."""
    return f"_INBOX_{name}"


def why_not_a_name(name: str) -> str:
    """What is wrong with the name of a device; empty: nothing.

    It is a token of subjects, a JetStream domain, the name of a stream and of a file.
    """
    if not _DEVICE_NAME.fullmatch(name):
        return "a name has 1 to 64 letters, digits, - and _ of ASCII, and begins with a letter or digit"
    return "the name means something else in subjects" if name.lower() in RESERVED else ""


def is_plain_subject(text: str) -> bool:
    """Whether it is a subject without wildcards, made of letters, digits, - and _."""
    return _SUBJECT.fullmatch(text) is not None


def is_stream(text: str) -> bool:
    """Whether it can be a stream's name; ``{name}`` in it is that of the device."""
    return _STREAM.fullmatch(text) is not None


def _publishing(streams: Sequence[str]) -> tuple[str, ...]:
    """What forwarding into these streams of a nats-server needs. They are to be there: who may make streams may make
    one of any subjects."""
    if not streams:
        return ()
    names = [stream.replace("{name}", _TEMPLATE) for stream in streams]
    asks = [f"{_HUB_API}.STREAM.{what}.{name}" for name in names for what in ("INFO", "MSG.GET")]
    return f"fleet.*.{_TEMPLATE}.>", *asks


def device_permissions(reply_inbox: str = "", streams: Sequence[str] = ()) -> Permissions:
    """The template. With ``reply_inbox``, devices may also answer to subjects below it; with ``streams`` forward into
    these, at a hub that is a nats-server."""
    own = (_TEMPLATE, f"{_TEMPLATE}.>", f"{mailbox(_TEMPLATE)}.>")
    up, down = up_subject(_TEMPLATE).decode(), down_subject(_TEMPLATE).decode()
    twin = (
        f"{_HUB_API}.CONSUMER.CREATE.{stream_of(HUB_DESIRED)}.*.{prefix_of(HUB_DESIRED)}{_TEMPLATE}.>",
        f"{_HUB_API}.{prefix_of(HUB_REPORTED)}{_TEMPLATE}.>",
    )
    answers = ("$JS.R.*", "$JSC.R.*", *([f"{reply_inbox}.>"] if reply_inbox else []))
    asked = (f"$JS.{_TEMPLATE}.API.>", f"$JS.ACK.{_TEMPLATE}.>", f"$JS.FC.{_TEMPLATE}.>")
    return Permissions(
        pub=Permission(allow=(*own, up, *twin, *answers, *_publishing(streams))),
        sub=Permission(allow=(*own, down, *asked)),
        resp=ResponsePermission(max=ALLOW_RESPONSES_MAX, ttl=ALLOW_RESPONSES_TTL_NS),
    )


def brought_up_to_date(account: AccountClaims, streams: Sequence[str] = ()) -> AccountClaims:
    """The account with what devices may do by now, and with ``streams``: a deployment that an older phloem has made
    lacks some of it. What its template allows beside, or denies, stays."""
    wanted = device_permissions(streams=streams)
    keys = dict(account.nats.signing_keys)
    for key, scope in keys.items():
        if scope is not None and scope.role == ROLE:
            template = _with(_with(scope.template, "pub", wanted.pub), "sub", wanted.sub)
            keys[key] = msgspec.structs.replace(scope, template=template)
    if keys == account.nats.signing_keys:
        return account
    return msgspec.structs.replace(account, nats=msgspec.structs.replace(account.nats, signing_keys=keys))


def _with(template: UserPermissionLimits, side: str, wanted: Permission) -> UserPermissionLimits:
    has: Permission = getattr(template, side)
    lacks = [subject for subject in wanted.allow or () if subject not in (has.allow or ())]
    if has.allow is None or not lacks:  # None allows everything
        return template
    allowed = msgspec.structs.replace(has, allow=(*has.allow, *lacks))
    return msgspec.structs.replace(template, **{side: allowed})
