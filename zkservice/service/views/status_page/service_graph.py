"""The graph of services as SVG: users on the left of what they use.

A line that passes a column of boxes gets a place of its own there, so that it crosses none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from zkservice.service.views.status_page.markup import Markup, element

__all__ = ["draw_graph", "layers"]

#: What is drawn at most.
MAX_NODES: Final = 40
_MAX_LABEL: Final = 28
#: Units of the drawing, which are pixels.
_CHARACTER: Final = 7.3
_BOX: Final = 30
_ROW: Final = 46
_GAP: Final = 38
_MARGIN: Final = 8
_HEAD: Final = 8  # the length of an arrow's head

Edge = tuple[str, str]


class _Stop(NamedTuple):
    """What a line passes: a box, or a place of its own in a column.

    Attributes:
        name: the node in a box; the two nodes of a line, separated by a blank.
        column: the number of the column of a line's place; "" for a box.
    """

    name: str
    column: str = ""


class _Place(NamedTuple):
    """Where a stop is drawn."""

    left: float
    middle: float
    width: float

    @property
    def right(self) -> float:
        return self.left + self.width


def layers(edges: Iterable[Edge]) -> dict[str, int]:
    """The column of each node: to the right of those that use it, unless they use each other."""
    pairs = sorted(set(edges))
    depth: dict[str, int] = {node: 0 for pair in pairs for node in pair}
    for _ in depth:  # a chain is no longer; nodes that use each other would never settle
        changed = False
        for user, used in pairs:
            if depth[used] <= depth[user] < len(depth) - 1:
                depth[used] = depth[user] + 1
                changed = True
        if not changed:
            break
    columns = {level: number for number, level in enumerate(sorted(set(depth.values())))}
    return {node: columns[level] for node, level in depth.items()}


def draw_graph(edges: Sequence[Edge], own: str) -> Markup:
    """The services and their links.

    Args:
        edges: pairs of a user and what it uses.
        own: the path of this service, which is marked.
    """
    drawn = _bounded(edges)
    depth = layers(drawn)
    routes = {edge: list(_route(edge, depth)) for edge in drawn}
    places = _places(_columns(depth, routes))
    width = max((place.right for place in places.values()), default=0.0) + _MARGIN
    height = max((place.middle for place in places.values()), default=0.0) + _ROW / 2
    return element(
        "svg",
        *(_arrow([places[stop] for stop in route]) for route in routes.values()),
        *(_box(node, places[_Stop(node)], node == own) for node in depth),
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label="; ".join(f"{user} uses {used}" for user, used in drawn),
        class_="graph",
    )


def _bounded(edges: Sequence[Edge]) -> list[Edge]:
    nodes: dict[str, None] = {}
    found = []
    for edge in edges:
        nodes.update(dict.fromkeys(edge))
        if len(nodes) > MAX_NODES:
            break
        found.append(edge)
    return found


def _route(edge: Edge, depth: Mapping[str, int]) -> Iterator[_Stop]:
    """What the line of an edge passes, from box to box."""
    user, used = edge
    yield _Stop(user)
    for level in range(depth[user] + 1, depth[used]):
        yield _Stop(f"{user} {used}", str(level))
    yield _Stop(used)


def _columns(depth: Mapping[str, int], routes: Mapping[Edge, Sequence[_Stop]]) -> list[list[_Stop]]:
    """The stops of each column, from the top; each near to the stops that lead to it."""
    columns: list[list[_Stop]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in sorted(depth):
        columns[depth[node]].append(_Stop(node))
    leading_to: dict[_Stop, list[_Stop]] = {}
    for route in routes.values():
        for stop, following in pairwise(route):
            leading_to.setdefault(following, []).append(stop)
            if following.column:
                columns[int(following.column)].append(following)
    heights: dict[_Stop, float] = {}  # of the columns to the left, from 0 to 1

    def wanted_height(stop: _Stop) -> float:
        known = [heights[each] for each in leading_to.get(stop, ()) if each in heights]
        return sum(known) / len(known) if known else 0.0

    for column in columns:
        column[:] = sorted(dict.fromkeys(column), key=lambda stop: (wanted_height(stop), stop))
        heights.update((stop, number / len(column)) for number, stop in enumerate(column))
    return columns


def _places(columns: Sequence[Sequence[_Stop]]) -> dict[_Stop, _Place]:
    places = {}
    left = float(_MARGIN)
    tallest = max(map(len, columns), default=0)
    for column in columns:
        width = max(len(_label(stop.name)) for stop in column if not stop.column) * _CHARACTER + 22
        top = _ROW * (tallest - len(column)) / 2
        for row, stop in enumerate(column):
            places[stop] = _Place(left, top + _ROW * (row + 0.5), width)
        left += width + _GAP
    return places


def _label(path: str) -> str:
    return path if len(path) <= _MAX_LABEL else f"\N{HORIZONTAL ELLIPSIS}{path[1 - _MAX_LABEL :]}"


def _box(node: str, place: _Place, own: bool) -> Markup:
    middle = place.left + place.width / 2
    return element(
        "g",
        element("title", node),
        element(
            "rect",
            x=f"{place.left:.1f}",
            y=f"{place.middle - _BOX / 2:.1f}",
            width=f"{place.width:.1f}",
            height=_BOX,
            rx=8,
        ),
        element("text", _label(node), x=f"{middle:.1f}", y=f"{place.middle + 4.5:.1f}"),
        class_="node own" if own else "node",
    )


def _arrow(stops: Sequence[_Place]) -> Markup:
    """A line from the first of some places to the last."""
    x, y = stops[0].right, stops[0].middle
    path = f"M{x:.1f},{y:.1f}"
    for number, stop in enumerate(stops[1:], 2):
        last = number == len(stops)
        end = stop.left - _HEAD if last else stop.left
        bend = max(16.0, abs(end - x) / 2)
        to = stop.middle
        path += f" C{x + bend:.1f},{y:.1f} {end - bend:.1f},{to:.1f} {end:.1f},{to:.1f}"
        x, y = stop.right, to
        if not last:
            path += f" H{x:.1f}"
    tip = stops[-1].left
    head = f"{tip:.1f},{y:.1f} {tip - _HEAD:.1f},{y - 4:.1f} {tip - _HEAD:.1f},{y + 4:.1f}"
    return element("g", element("path", d=path), element("polygon", points=head), class_="edge")
