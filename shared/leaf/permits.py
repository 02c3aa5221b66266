"""What may cross a leaf link, as keyword arguments of the kernel's Permissions (wire 2.6, 2.7).

``pub_*`` is what the peer may send to us, and with it the interest it is told of; ``sub_*`` is what may go to
the peer. Three sources meet here: the user that the dialling side logged in as, the ``deny_*`` lists of its
configuration, and the JetStream subjects that never cross a link as they are, because the same subject names
another server's JetStream over there (clients use ``$JS.<domain>.API.`` instead). Both ends keep to those, so
they are not mentioned in INFO. Nor does a request to this side's own domain leave: it has been answered here.

Lists from a peer may hold what is no subject. Such an entry matches nothing, so it is left out.
"""

from collections.abc import Iterable, Sequence
from typing import TypedDict

from phloem.shared.wire.leaf import SubjectRules

JETSTREAM = ("$JS.API.>", "$KV.>", "$OBJ.>")
JETSTREAM_SYSTEM = ("$JSC.>", "$NRG.>", *JETSTREAM)  # in the system account, as long as no domain is extended
EVERYTHING = ">"
# What stays here where both sides have one domain. The other side tells of its interest in INFO and in single streams'
# DIRECT.GET, which breaks the link where it is denied.
SAME_DOMAIN = ("STREAM.>", "CONSUMER.>", "META.>", "SERVER.>", "ACCOUNT.>", "$KV.>", "$OBJ.>")
SUBJECT_BYTES = 4096  # longer entries of a peer's list are no subject that anybody could publish to


class Crossing(TypedDict):
    """Keyword arguments of the kernel's Permissions."""

    pub_allow: Sequence[str] | None
    pub_deny: Sequence[str]
    sub_allow: Sequence[str] | None
    sub_deny: Sequence[str]
    response_max: int
    response_ttl_ns: int


ALL = Crossing(pub_allow=None, pub_deny=(), sub_allow=None, sub_deny=(), response_max=0, response_ttl_ns=0)


def accepted(user: Crossing | None, *, deny_pub: Sequence[str]) -> Crossing:
    """For a link that was accepted.

    Args:
        user: What the leaf's user may publish (``pub_*``) and subscribe to (``sub_*``); ``None``: everything.
        deny_pub: The leaf's own ``deny_imports``, from its CONNECT.
    """
    crossing = (user or ALL).copy()
    crossing["sub_deny"] = (*crossing["sub_deny"], *subjects(deny_pub))
    return crossing


def apart(crossing: Crossing, *, system: bool, domain: str, remote: str) -> Crossing:
    """``crossing`` without what belongs to the JetStream of one side alone.

    Args:
        crossing: What else may cross, of a link that was accepted or dialled.
        system: Whether the link is bound to the system account.
        domain: Of this side's JetStream; empty if it has none.
        remote: Of the other side's.
    """
    kept = JETSTREAM_SYSTEM if system else JETSTREAM
    own = tuple(f"$JS.{domain}.API.{rest}" for rest in (SAME_DOMAIN if domain == remote else (EVERYTHING,)))
    own = own if domain else ()
    both = crossing.copy()
    both["pub_deny"] = (*crossing["pub_deny"], *kept)
    both["sub_deny"] = (*crossing["sub_deny"], *kept, *own)
    return both


def solicited(
    import_: SubjectRules | None,
    export: SubjectRules | None,
    *,
    deny_imports: Sequence[str],
    deny_exports: Sequence[str],
) -> Crossing:
    """For a link that this side dialled.

    Args:
        import_: What INFO says we may receive.
        export: What INFO says we may send.
        deny_imports: The remote's list of what must not come in.
        deny_exports: The remote's list of what must not go out.
    """
    import_, export = import_ or SubjectRules(), export or SubjectRules()
    return Crossing(
        # an entry of ``import`` may be "subject queue": a message has no queue, so permission for a queue
        # lets the subject in, and denial for a queue keeps nothing out
        pub_allow=None if import_.allow is None else subjects(e.partition(" ")[0] for e in import_.allow),
        pub_deny=(*subjects(import_.deny or ()), *subjects(deny_imports)),
        sub_allow=None if export.allow is None else subjects(export.allow),
        sub_deny=(*subjects(export.deny or ()), *subjects(deny_exports)),
        response_max=0,
        response_ttl_ns=0,
    )


def told_to_leaf(user: Crossing | None) -> tuple[SubjectRules | None, SubjectRules | None]:
    """``import`` and ``export`` of the INFO that answers CONNECT, for the leaf to keep to by itself."""
    if user is None:
        return None, None
    return (
        _rules(user["sub_allow"], user["sub_deny"]),
        # Whoever may only answer (allow_responses) has to be able to send; what is no answer is refused here.
        _rules(user["pub_allow"] or (None if user["response_max"] else user["pub_allow"]), user["pub_deny"]),
    )


def subjects(entries: Iterable[str]) -> tuple[str, ...]:
    """Those of ``entries`` that are subjects, wildcards allowed."""
    return tuple(entry for entry in entries if _is_subject(entry))


def _is_subject(text: str) -> bool:
    if len(text.encode()) > SUBJECT_BYTES or any(c.isspace() for c in text):
        return False
    *front, last = text.split(".")
    return bool(last) and all(token and token != ">" for token in front)


def _rules(allow: Sequence[str] | None, deny: Sequence[str]) -> SubjectRules | None:
    """An empty ``allow`` means nothing here and everything to nats-server, so it becomes ``deny``."""
    if allow is None:
        return SubjectRules(deny=tuple(deny)) if deny else None
    if not allow:
        return SubjectRules(deny=(EVERYTHING,))
    return SubjectRules(allow=tuple(allow), deny=tuple(deny) or None)
