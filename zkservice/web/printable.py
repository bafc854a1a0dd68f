"""Text from any source, made safe for logs and terminals."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""The text with each character that is not printable as an escape of Python's.

    Line ends (``\x0a``, ``\u2028``) would forge records, and ESC (``\x1b``) would command the
    terminal that shows them.  Printable text is returned as it is; backslashes are not doubled.
    """
    if text.isprintable():  # nearly always, and forty times as fast
        return text
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in text)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x1_0000 else f"\\U{code:08x}"
