"""HTML and SVG as text, in which nothing that came from outside can be markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias, Union

from zkservice.web import printable

__all__ = ["Content", "Markup", "element", "join"]

#: Elements without an end tag.
_VOID: Final = frozenset({"circle", "line", "path", "polygon", "polyline", "rect"})


class Markup(str):
    """Text that is markup already; any other text is escaped."""

    __slots__ = ()


#: What may stand in an element.
Content: TypeAlias = Union["str", "int", "float", "Iterable[Content]", None]


def element(name: str, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """An element with its content.

    Args:
        name: of the element.
        content: texts, which are escaped, markup, which is not, and lists of them; None is nothing.
        attributes: ``class_`` is ``class``, ``data_x`` is ``data-x``; None and False are left out.
    """
    start = name + "".join(map(_attribute, attributes.items()))
    inside = "".join(map(_text, content))
    if name in _VOID and not inside:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{inside}</{name}>")


def join(*content: Content) -> Markup:
    """Contents, one after the other."""
    return Markup("".join(map(_text, content)))


def _text(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return escape(printable(content))
    if isinstance(content, (int, float)):
        return str(content)
    return "".join(map(_text, content))


def _attribute(attribute: tuple[str, str | float | bool | None]) -> str:
    name, value = attribute
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(printable(str(value)))}"'
