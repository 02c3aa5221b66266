"""What may cross a link, as the kernel's keyword arguments (wire 2.6, 2.7)."""

from phloem.shared.leaf.permits import (
    ALL,
    JETSTREAM,
    JETSTREAM_SYSTEM,
    Crossing,
    accepted,
    apart,
    solicited,
    told_to_leaf,
)
from phloem.shared.wire.leaf import SubjectRules

USER = Crossing(
    pub_allow=("up.>",),
    pub_deny=("up.no",),
    sub_allow=("down.>",),
    sub_deny=(),
    response_max=0,
    response_ttl_ns=0,
)


def test_accepted_without_permissions_keeps_jetstream_apart() -> None:
    assert accepted(None, deny_pub=()) == ALL
    crossing = apart(ALL, system=False, domain="", remote="hub")
    assert crossing == {**ALL, "pub_deny": JETSTREAM, "sub_deny": JETSTREAM}


def test_requests_to_the_own_domain_stay() -> None:
    crossing = apart(accepted(USER, deny_pub=("x",)), system=False, domain="edge", remote="hub")
    assert crossing["pub_deny"] == ("up.no", *JETSTREAM), "the other side asks for it"
    assert crossing["sub_deny"] == ("x", *JETSTREAM, "$JS.edge.API.>")


def test_two_sides_of_one_domain() -> None:
    """nats-server tells of ``INFO`` by itself: denied, that would end the link."""
    denied = apart(ALL, system=False, domain="same", remote="same")["sub_deny"]
    assert "$JS.same.API.STREAM.>" in denied
    assert not {"$JS.same.API.>", "$JS.same.API.INFO"} & set(denied)


def test_accepted_user_publishes_towards_us() -> None:
    crossing = accepted(USER, deny_pub=("secret",))
    assert crossing["pub_allow"] == ("up.>",)
    assert crossing["pub_deny"] == ("up.no",)
    assert crossing["sub_allow"] == ("down.>",)
    assert crossing["sub_deny"] == ("secret",)
    assert USER["pub_deny"] == ("up.no",), "what belongs to the user is not changed"


def test_system_account_keeps_more_apart() -> None:
    crossing = apart(ALL, system=True, domain="", remote="hub")
    assert crossing["pub_deny"] == crossing["sub_deny"] == JETSTREAM_SYSTEM


def test_solicited_import_is_what_the_hub_may_send() -> None:
    crossing = solicited(
        SubjectRules(allow=("down.>",), deny=("down.no",)),
        SubjectRules(allow=("up.>",)),
        deny_imports=("noise.>",),
        deny_exports=("secret.>",),
    )
    assert crossing["pub_allow"] == ("down.>",)
    assert crossing["pub_deny"] == ("down.no", "noise.>")
    assert crossing["sub_allow"] == ("up.>",)
    assert crossing["sub_deny"] == ("secret.>",)


def test_queue_permissions_of_an_import() -> None:
    crossing = solicited(
        SubjectRules(allow=("jobs workers",), deny=("other q",)),
        None,
        deny_imports=(),
        deny_exports=(),
    )
    assert crossing["pub_allow"] == ("jobs",)
    assert crossing["pub_deny"] == ()


def test_a_peers_nonsense_is_left_out() -> None:
    nonsense = ("", ".", "a..b", "a.", ">.a", "a\tb", "x" * 5000)
    assert accepted(None, deny_pub=nonsense)["sub_deny"] == ()
    crossing = solicited(SubjectRules(allow=nonsense), None, deny_imports=(), deny_exports=())
    assert crossing["pub_allow"] == ()


def test_what_the_leaf_is_told() -> None:
    assert told_to_leaf(None) == (None, None)
    assert told_to_leaf(ALL) == (None, None)
    assert told_to_leaf(USER) == (
        SubjectRules(allow=("down.>",)),
        SubjectRules(allow=("up.>",), deny=("up.no",)),
    )


def test_allowing_nothing_is_told_as_denying_everything() -> None:
    nothing = Crossing({**ALL, "pub_allow": (), "sub_allow": ()})
    assert told_to_leaf(nothing) == (SubjectRules(deny=(">",)), SubjectRules(deny=(">",)))
    answers = Crossing({**ALL, "pub_allow": (), "response_max": 1})
    assert told_to_leaf(answers) == (None, None)
