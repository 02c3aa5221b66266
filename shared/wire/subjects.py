"""Questions about subjects and patterns."""


def is_valid(subject: str) -> bool:
    """A subject to subscribe to: no empty token, no white space, ``>`` last."""
    tokens = subject.split(".")
    if any(not token or any(c in token for c in " \t\r\n\f") for token in tokens):
        return False
    return ">" not in tokens[:-1]


def is_literal(subject: str) -> bool:
    """Without wildcards."""
    return not any(token in ("*", ">") for token in subject.split("."))


def collide(one: str, other: str) -> bool:
    """Whether some subject matches both patterns."""
    a, b = one.split("."), other.split(".")
    for x, y in zip(a, b, strict=False):
        if x == ">" or y == ">":
            return True
        if x != y and x != "*" and y != "*":
            return False
    return len(a) == len(b)


def matches(pattern: str, subject: str) -> bool:
    """Whether ``pattern`` covers ``subject``, which may have wildcards of its own."""
    p, s = pattern.split("."), subject.split(".")
    for i, token in enumerate(p):
        if token == ">":
            return len(s) > i
        if i >= len(s) or s[i] == ">" or (token != "*" and token != s[i]):
            return False
    return len(p) == len(s)
