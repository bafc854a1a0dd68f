"""Charts of the last ten minutes: lines in SVG, and their scale as text beside them.

The lines stretch with the page; the texts do not, so that they can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Final

from zkservice.service.state.history import STEP
from zkservice.service.views.status_page.markup import Markup, element, join

__all__ = ["Line", "chart", "nice_ceiling"]

#: Seconds that are shown, and units of the drawing.
_SECONDS: Final = 600
_WIDTH: Final = 600
_HEIGHT: Final = 100
#: Steps of the history without a sample after which a line is interrupted.
_GAP: Final = 2.5


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        kind: the class of its colour.
        points: seconds of a clock, and the value then; None where there is none.
        filled: whether the area below it is filled.
    """

    name: str
    kind: str
    points: Sequence[tuple[float, float | None]]
    filled: bool = False


def chart(title: str, unit: str, lines: Sequence[Line], now: float) -> Markup:
    """A chart with its title, legend and axes.

    Args:
        unit: of the values.
        now: the moment at the right end.
    """
    values = [value for line in lines for _, value in line.points if value is not None]
    top = nice_ceiling(max(values, default=0.0))
    latest = [(line, _latest(line)) for line in lines]
    description = ", ".join(f"{line.name} {_with_unit(value, unit)}" for line, value in latest)
    return element(
        "figure",
        element(
            "figcaption",
            element("span", title, class_="chart-title"),
            element("span", *(_legend(line, value, unit) for line, value in latest), class_="key"),
        ),
        element(
            "div",
            element(
                "div",
                *(element("span", _number(each)) for each in (top, top / 2, 0.0)),
                class_="y",
                aria_hidden="true",
            ),
            element(
                "svg",
                *_grid(),
                *(_draw(line, top, now) for line in lines),
                viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
                preserveAspectRatio="none",
                role="img",
                aria_label=f"{title} in the last ten minutes; now {description}",
            ),
            element(
                "div",
                *(
                    element("span", each)
                    for each in ("\N{MINUS SIGN}10 min", "\N{MINUS SIGN}5 min", "now")
                ),
                class_="x",
                aria_hidden="true",
            ),
            class_="plot",
        ),
        class_="chart",
    )


def nice_ceiling(value: float) -> float:
    """The least of 1, 2, 5, 10, ... times a power of ten that is not below a value."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * 0.999_999)


def _latest(line: Line) -> float | None:
    return line.points[-1][1] if line.points else None


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return "none"
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    text = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{value:.0f}" if "e" in text else text


def _legend(line: Line, value: float | None, unit: str) -> Markup:
    return element(
        "span",
        element("i", class_=f"swatch {line.kind}"),
        f"{line.name} ",
        element("b", _with_unit(value, unit)),
    )


def _grid() -> Iterator[Markup]:
    for y in (0.5, _HEIGHT / 2, _HEIGHT - 0.5):
        yield element("line", x1=0, x2=_WIDTH, y1=y, y2=y, class_="grid")


def _draw(line: Line, top: float, now: float) -> Markup:
    drawn = []
    for run in _runs(line.points, now):
        spots = [(x, _HEIGHT * (1 - min(1.0, value / top))) for x, value in run]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        if len(spots) == 1:  # a line needs two ends
            x, y = spots[0]
            way = f"{x - 2:.1f},{y:.1f} {x:.1f},{y:.1f}"
        if line.filled:
            area = f"{spots[0][0]:.1f},{_HEIGHT} {way} {spots[-1][0]:.1f},{_HEIGHT}"
            drawn.append(element("polygon", points=area, class_=f"area {line.kind}"))
        drawn.append(element("polyline", points=way, class_=f"line {line.kind}"))
    return join(drawn)


def _runs(
    points: Iterable[tuple[float, float | None]], now: float
) -> Iterator[list[tuple[float, float]]]:
    """The parts of a line without a gap, in units of the drawing."""
    run: list[tuple[float, float]] = []
    before = 0.0
    for at, value in points:
        x = _WIDTH * (1 - (now - at) / _SECONDS)
        if run and (value is None or at - before > _GAP * STEP):
            yield run
            run = []
        if value is not None and x >= 0:
            run.append((x, value))
        before = at
    if run:
        yield run
