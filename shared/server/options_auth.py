"""Options of who may connect and what they may do: users, permissions, accounts. Declared as in ``options.py``."""

from typing import Annotated, ClassVar

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.accounts.definition import SubjectMapping
from phloem.shared.server.declare import Kind, Opt, Seconds
from phloem.shared.server.options_accounts import AccountLimits, Export, Import
from phloem.shared.server.options_jetstream import AccountJetStream
from phloem.shared.server.options_trust import AuthCallout


class ResponsePermission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a responder may publish to the reply subjects of messages it received. Negative: no bound."""

    max_msgs: int = limits.ALLOW_RESPONSES_MAX
    ttl_ns: int = limits.ALLOW_RESPONSES_TTL_NS


class SubjectPermission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``allow`` of ``None`` is "everything"; an empty tuple is "nothing". ``deny`` wins over ``allow``.

    An entry for subscriptions may be ``"subject queue"``.
    """

    allow: Annotated[
        tuple[str, ...] | None, Kind.SUBJECTS, Opt("What is allowed; without it everything.", reload=True)
    ] = None
    deny: Annotated[tuple[str, ...], Kind.SUBJECTS, Opt("What is denied even if allowed.", reload=True)] = ()


class Permissions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one user may do. ``None`` for a direction: everything."""

    EXPECTED: ClassVar[str] = "Expected permissions to be a map/struct"
    UNKNOWN: ClassVar[str] = "parsing permissions"

    publish: Annotated[
        SubjectPermission | None,
        Kind.SUBJECT_PERMISSION,
        Opt("Subjects to publish to.", example='"sensors.>"', aliases="pub import", reload=True),
    ] = None
    subscribe: Annotated[
        SubjectPermission | None,
        Kind.SUBJECT_PERMISSION,
        Opt(
            'Subjects to subscribe to; "subject queue" names a queue group.',
            example='["commands.>", "jobs workers"]',
            aliases="sub export",
            reload=True,
        ),
    ] = None
    allow_responses: Annotated[
        ResponsePermission | None,
        Kind.RESPONSES,
        Opt(
            "Publishing to reply subjects of received messages.",
            example='{ max: 5, expires: "1m" }',
            aliases="publish_allow_responses",
            reload=True,
        ),
    ] = None


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who logs in by name or by nkey; ``permissions`` already has the default permissions applied."""

    user: Annotated[str, Opt("Name.", example='"sensor"', aliases="username", reload=True)] = ""
    password: Annotated[
        str, Opt("Password, plain or bcrypt.", example='"secret"', aliases="pass", reload=True)
    ] = ""
    nkey: Annotated[str, Opt("Public user key, instead of name and password.", reload=True)] = ""
    permissions: Annotated[
        Permissions | None, Opt("What this user may do.", aliases="permission authorization", reload=True)
    ] = None
    allowed_connection_types: Annotated[
        tuple[str, ...],
        Kind.CONNECTION_TYPES,
        Opt(
            "How this user may connect; empty for any way.",
            example='["STANDARD", "LEAFNODE"]',
            aliases="connection_types clients",
            reload=True,
        ),
    ] = ()
    proxy_required: Annotated[bool, Opt("Only through a proxy that is trusted.", reload=True)] = False
    account: str = GLOBAL_ACCOUNT  # the account in whose block the user is


class Authorization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may connect: one user and password, or one token, or users."""

    user: Annotated[
        str, Opt("The only user.", aliases="username", flags="user", reload=True, value="user")
    ] = ""
    password: Annotated[
        str,
        Opt("Its password, plain or bcrypt.", aliases="pass", flags="pass", reload=True, value="password"),
    ] = ""
    token: Annotated[
        str, Opt("Token instead of user and password.", flags="auth", reload=True, value="token")
    ] = ""
    timeout_ns: Annotated[
        Seconds,
        Opt(
            "Time for a client to send CONNECT; 0 for 2 s, with TLS 1 s more than its timeout.",
            example="2",
            reload=True,
        ),
    ] = 0
    users: Annotated[tuple[User, ...], Opt("Users with their permissions.", reload=True)] = ()
    default_permissions: Annotated[
        Permissions | None,
        Opt(
            "For users without permissions of their own.",
            aliases="default_permission permissions",
            reload=True,
        ),
    ] = None
    auth_callout: Annotated[
        AuthCallout | None,
        Opt(
            "A service decides who may connect.",
            aliases="auth_hook",
            example='{ issuer: "A...", auth_users: [auth] }',
        ),
    ] = None
    proxy_required: Annotated[
        bool, Opt("The only user comes through a proxy that is trusted.", reload=True)
    ] = False


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A world of subjects of its own, and who may enter it."""

    name: Annotated[str, Opt("The block's name.", key="")] = ""
    users: Annotated[
        tuple[User, ...],
        Opt("Users of this account.", example='[ { user: "operator", password: "secret" } ]', reload=True),
    ] = ()
    default_permissions: Annotated[
        Permissions | None, Opt("For its users without permissions of their own.", reload=True)
    ] = None
    jetstream: Annotated[
        AccountJetStream | None, Kind.SWITCHED, Opt("Streams of this account, and their limits.", reload=True)
    ] = None
    nkey: Annotated[str, Opt("Public account key.", reload=True)] = ""
    exports: Annotated[tuple[Export, ...], Opt("Subjects that other accounts may import.", reload=True)] = ()
    imports: Annotated[
        tuple[Import, ...],
        Opt(
            "Subjects of other accounts.",
            example='[ { stream: { account: HALL, subject: "sensors.>" }, prefix: hall } ]',
            reload=True,
        ),
    ] = ()
    limits: Annotated[AccountLimits, Opt("What it may have.", reload=True)] = AccountLimits()
    mappings: Annotated[
        tuple[SubjectMapping, ...],
        Kind.MAPPINGS,
        Opt(
            "Messages on a subject go to another one; in shares of 100 to several.",
            example='{ "in.*": "out.$1" }',
            aliases="maps",
            reload=True,
        ),
    ] = ()
