"""Subjects in claims: the JWT library's simple questions; the server's are in ``wire.subjects``."""

from phloem.shared.security.issues import Issues, quoted


def check_subject(subject: str, issues: Issues) -> None:
    """The library's check, which is less strict."""
    if not subject:
        issues.error("subject cannot be empty")
        return
    if " " in subject:
        issues.error(f"subject {quoted(subject)} cannot have spaces")
    if subject.startswith(".") or subject.endswith("."):
        issues.error(f"subject {quoted(subject)} cannot start or end with a `.`")
    if ".." in subject:
        issues.error(f"subject {quoted(subject)} cannot contain consecutive `.`")


def has_wildcards(subject: str) -> bool:
    """Whether a token is ``*``, or the last one ``>``."""
    tokens = subject.split(".")
    return "*" in tokens or tokens[-1] == ">"


def is_contained(subject: str, other: str) -> bool:
    """Whether ``other`` covers ``subject``, token by token."""
    mine, others = subject.split("."), other.split(".")
    if len(mine) > len(others) and others[-1] != ">":
        return False
    if len(mine) < len(others):
        return False
    for at, token in enumerate(others):
        if at == len(others) - 1 and token == ">":
            return True
        if token not in (mine[at], "*"):
            return False
    return True


def check_renaming(renamed: str, subject: str, issues: Issues) -> None:
    """Whether ``local_subject`` fits the subject it stands for: all its wildcards, by ``*`` or ``$1``."""
    check_subject(renamed, issues)
    if not subject:
        issues.error("subject cannot be empty")
    if " " in renamed:
        issues.error(f"subject {quoted(renamed)} cannot have spaces")
    if _ends_open(renamed) != _ends_open(subject):
        issues.error("both, renaming subject and subject, need to end or not end in >")
    wildcards, used = subject.split(".").count("*"), 0
    for token in renamed.split("."):
        if token == "*":
            used += 1
        elif (index := _reference(token)) is not None:
            if index > wildcards:
                issues.error(
                    f"Reference ${index} in {quoted(renamed)} reference * in {quoted(subject)} that do not exist"
                )
            else:
                used += 1
    if used != wildcards:
        issues.error("subject does not contain enough * or reference wildcards $[0-9]")


def without_references(renamed: str) -> str:
    """With ``*`` in place of ``$1``."""
    if "$" not in renamed:
        return renamed
    return ".".join("*" if _reference(token) is not None else token for token in renamed.split("."))


def _ends_open(subject: str) -> bool:
    return subject == ">" or subject.endswith(".>")


def _reference(token: str) -> int | None:
    """The number in ``$1``, with a sign if Go would read it."""
    digits = token[1:].removeprefix("-") if token[1:2] == "-" else token[1:].removeprefix("+")
    if token[:1] != "$" or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        return None
    return int(token[1:])
