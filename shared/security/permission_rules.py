"""Permissions in claims: whether they make sense."""

from phloem.shared import limits
from phloem.shared.security.claims import Permission, Permissions
from phloem.shared.security.issues import Issues
from phloem.shared.security.subjects import check_subject


def check_permissions(permissions: Permissions, issues: Issues) -> None:
    """Subjects to subscribe to may have a queue group, those to publish to may not."""
    _check(permissions.sub, issues, queues=True)
    _check(permissions.pub, issues, queues=False)


def _check(permission: Permission, issues: Issues, *, queues: bool) -> None:
    for entry in (*(permission.allow or ()), *(permission.deny or ())):
        parts = entry.split(" ")
        shown = f'Permission Subject "{entry[: limits.JWT_QUOTED]}"'
        if len(parts) > 2:
            issues.error(f"{shown} contains too many spaces")
            continue
        for part in parts:
            check_subject(part, issues)
        if len(parts) == 2 and not queues:
            issues.error(f"{shown} is not allowed to contain queue")
