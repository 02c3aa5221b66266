"""Permissions of a scoped signing key for one of its users: ``{{name()}}`` and the like (security_ops 2.10.3).

As nats-server expands them, with its texts. What a template gives is checked as a subject: a wrong one is left out
of ``allow``, and refuses the user in ``deny``. If nothing is left of an ``allow`` list that was not empty, everything
is denied. A name, tag or subject that contains wildcards gives a subject with wildcards, as it does there.
"""

import itertools
import math
import re
from collections.abc import Sequence

import msgspec

from phloem.shared import limits
from phloem.shared.errors import CredentialsRefused
from phloem.shared.security.claims import (
    AccountClaims,
    Permission,
    SomeStrings,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.issues import quoted
from phloem.shared.wire.subjects import is_valid

_TEMPLATE = re.compile(r"\{\{([^}]+)\}\}")
TOO_MANY = f"template expansion exceeds limit: {limits.TEMPLATE_SUBJECTS}"
_UNDEFINED = (" ",)  # no subject has a space


def expand(template: UserPermissionLimits, user: UserClaims, account: AccountClaims) -> UserPermissionLimits:
    """What ``user`` may do by ``template``, a scope of ``account``.

    Raises:
        CredentialsRefused: An unknown function, a ``deny`` that makes no subject, or too many subjects.
    """
    return msgspec.structs.replace(
        template,
        sub=_permission(template.sub, user, account),
        pub=_permission(template.pub, user, account),
    )


def _permission(rules: Permission, user: UserClaims, account: AccountClaims) -> Permission:
    allow = _list(rules.allow, user, account, strict=False)
    deny = _list(rules.deny, user, account, strict=True)
    if rules.allow and not allow and ">" not in (deny or ()):
        deny = (*(deny or ()), ">")
    return Permission(allow=allow, deny=deny)


def _list(entries: SomeStrings, user: UserClaims, account: AccountClaims, *, strict: bool) -> SomeStrings:
    """One list; ``strict``: every entry has to make a subject. A list without templates stays as it is."""
    if not any(_TEMPLATE.search(entry) for entry in entries or ()):
        return entries
    emitted: list[str] = []
    left = limits.JWT_BYTES  # characters of all subjects that are made
    for entry in entries or ():
        templates, values, has_tags = _alternatives(entry, user, account, strict=strict)
        # a list without tags may be as long as it is written
        if has_tags and math.prod(map(len, values)) > limits.TEMPLATE_SUBJECTS - len(emitted):
            raise CredentialsRefused(TOO_MANY)
        for combination in itertools.product(*values):
            subject = _replaced(entry, templates, combination, left)
            left -= len(subject)
            if is_valid(subject):
                emitted.append(subject)
            elif strict:
                raise CredentialsRefused("generated invalid subject")
    return tuple(emitted)


def _alternatives(
    entry: str, user: UserClaims, account: AccountClaims, *, strict: bool
) -> tuple[list[str], list[Sequence[str]], bool]:
    """The templates in ``entry``, the values of each, and whether tags are among them."""
    templates: list[str] = []
    values: list[Sequence[str]] = []
    has_tags = False
    for found in _TEMPLATE.finditer(entry):
        operation = found[1].strip()
        alternatives = _plain_value(operation, user, account)
        if alternatives is None:
            alternatives = _tag_values(entry, operation, user, account, strict=strict)
            has_tags = True
        templates.append(found[0])
        values.append(alternatives)
    return templates, values, has_tags


def _replaced(entry: str, templates: Sequence[str], values: Sequence[str], longest: int) -> str:
    """``entry`` with values for templates, one after the other, at most ``longest`` characters.

    A value that contains a template grows with each one that follows, so its length is known before it is made.
    """
    subject = entry
    for template, value in zip(templates, values, strict=True):
        if len(subject) + subject.count(template) * len(value) > longest:
            raise CredentialsRefused(TOO_MANY)
        subject = subject.replace(template, value)
    return subject


def _plain_value(operation: str, user: UserClaims, account: AccountClaims) -> Sequence[str] | None:
    """The value of a function without argument; ``None``: it is none of these."""
    match operation.lower():
        case "name()":
            return (user.name,)
        case "subject()":
            return (user.sub,)
        case "account-name()":
            return (account.name,)
        case "account-subject()":
            return (user.nats.issuer_account,)
    return None


def _tag_values(
    entry: str, operation: str, user: UserClaims, account: AccountClaims, *, strict: bool
) -> Sequence[str]:
    """What is behind the colon of all tags ``key:value``."""
    for function, tags in (("tag(", user.nats.tags), ("account-tag(", account.nats.tags)):
        if operation[: len(function)].lower() == function and operation.endswith(")"):
            key = operation.removeprefix(function).removesuffix(")")
            prefix = f"{key.lower()}:"
            values = [tag[len(prefix) :] for tag in tags if tag.startswith(prefix)]
            if values:
                return values
            if strict:
                raise CredentialsRefused(
                    f"generated invalid subject {quoted(entry)}: {quoted(key)} is not defined"
                )
            return _UNDEFINED
    raise CredentialsRefused(f"template operation in {quoted(entry)}: {quoted(operation)} is not defined")
