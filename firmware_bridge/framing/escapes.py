r"""Bytes as they are written in a configuration: text with ``\r``, ``\x03`` and the like, as in Python and C."""

import codecs


def unescape(field: str, text: str, least: int, most: int) -> bytes:
    r"""The bytes that ``text`` means: each character up to U+00FF is its byte, after ``\r``, ``\xNN`` and so on.

    Raises:
        ValueError: It is none, or has fewer than ``least`` or more than ``most`` bytes.
    """
    try:
        data = codecs.decode(text.encode("latin-1", "backslashreplace"), "unicode_escape").encode("latin-1")
    except (UnicodeError, ValueError):
        raise ValueError(f"{field} {text!r} has an escape that is none; \\xNN is one byte") from None
    if not least <= len(data) <= most:
        raise ValueError(f"{field} {text!r} has {len(data)} bytes, not {least} to {most}")
    return data
