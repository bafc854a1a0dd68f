"""The parts of the page, each as the HTML of one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from zkservice.properties import decode
from zkservice.service.state.history import Period
from zkservice.service.state.process_report import ProcessReport
from zkservice.service.views.status_page.charts import Line, chart
from zkservice.service.views.status_page.markup import (
    Content,
    Markup,
    element,
    join,
)
from zkservice.service.views.status_page.recent import Happening
from zkservice.service.views.status_page.service_graph import draw_graph
from zkservice.service.views.status_page.snapshot import Neighbourhood, Snapshot
from zkservice.service.views.status_page.words import (
    ago,
    clock_time,
    duration,
    seconds,
    size,
)
from zkservice.znodes import split

__all__ = ["SECTIONS", "render_sections"]

#: Rows of a table that are shown.
_MAX_ROWS: Final = 60
#: Calls of a thread's stack; the innermost ones are shown.
_MAX_STACK: Final = 40
#: Lines of the stacks of a process that is stuck; its reactor's come last.
_MAX_LINES: Final = 200
_MAX_EVENTS: Final = 8
#: Threads of each process whose stacks are shown: to render a stack takes most of the time.
_MAX_STACKS: Final = 8
_MAX_PROPERTIES: Final = 8
_MAX_VALUE: Final = 80
#: Seconds after which a request has a row: quick ones would only flicker.
_WORTH_SHOWING: Final = 0.1
#: Seconds after which a request is called slow, and after which it is called stuck.
_SLOW: Final = 1.0
_STUCK: Final = 10.0


def render_sections(snapshot: Snapshot) -> dict[str, str]:
    """The contents of all sections, by their ids."""
    return {name: render(snapshot) for name, (_, render) in SECTIONS.items()}


# -- pieces --------------------------------------------------------------------------


def _pill(text: str, kind: str) -> Markup:
    return element("span", text, class_=f"pill {kind}")


def _nothing(text: str) -> Markup:
    return element("p", text, class_="nothing")


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Content]]) -> Markup:
    return element(
        "div",
        element(
            "table",
            element("caption", caption, class_="hidden"),
            element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
            element(
                "tbody",
                *(
                    element(
                        "tr",
                        *(
                            element("td", element("div", cell), data_label=head)
                            for head, cell in zip(heads, row, strict=True)
                        ),
                    )
                    for row in rows
                ),
            ),
        ),
        class_="wide",
    )


def _facts(pairs: Iterable[tuple[str, Content]]) -> Markup:
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in pairs),
    )


def _events(title: str, happenings: Sequence[Happening], now: float) -> Markup:
    if not happenings:
        return _nothing(f"{title}: nothing yet.")
    kinds = {True: "good", False: "bad", None: "calm"}
    return join(
        element("h3", title),
        element(
            "ol",
            *(
                element(
                    "li",
                    element("span", class_=f"dot {kinds[each.good]}"),
                    element("span", each.text),
                    element("time", f"{clock_time(each.at)} ({ago(each.at, now)})"),
                )
                for each in happenings[:_MAX_EVENTS]
            ),
            class_="events",
        ),
    )


# -- the head of the page --------------------------------------------------------------


def _summary(snapshot: Snapshot) -> Markup:
    status = snapshot.status
    state = (
        _pill(f"not ready: {snapshot.not_ready}", "bad")
        if snapshot.not_ready
        else _pill("ready", "good")
    )
    return join(
        element(
            "div",
            element("h1", str(status.get("path", "starting"))),
            state,
            class_="title",
        ),
        element(
            "p",
            *(element("code", address) for address in status.get("addresses", ())),
            element("span", f"process {status.get('pid')}"),
            element("span", f"up {duration(float(status.get('uptime', 0)))}"),
            element("span", f"zkservice {status.get('version')}"),
            class_="where",
        ),
        element("ul", *(each.render() for each in _key_figures(snapshot)), class_="figures"),
    )


class _KeyFigure(NamedTuple):
    """A number in the head of the page.

    Attributes:
        kind: the class of its colour; "" for none.
    """

    name: str
    value: str
    note: str
    kind: str = ""

    def render(self) -> Markup:
        return element(
            "li",
            element("span", self.name, class_="name"),
            element("b", self.value, class_=self.kind or None),
            element("span", self.note, class_="note"),
        )


def _key_figures(snapshot: Snapshot) -> Iterator[_KeyFigure]:
    minute, figures = snapshot.last_minute, snapshot.figures
    failing = minute is not None and minute.errors > 0
    median, slowest = (None, None) if minute is None else (minute.p50, minute.p99)
    yield _KeyFigure("Requests", _rate(minute, "requests"), "per second")
    yield _KeyFigure("Errors", _rate(minute, "errors"), "5xx per second", "bad" if failing else "")
    yield _KeyFigure("Latency", seconds(median), "median")
    yield _KeyFigure("Latency", seconds(slowest), "99th percentile")
    if figures is None:
        return
    workers, http = figures.workers, figures.http
    full = "bad" if workers.busy >= workers.threads > 0 else ""
    stuck = f"busy, {workers.stuck} replaced" if workers.stuck else "busy"
    yield _KeyFigure("Threads", f"{workers.busy} / {workers.threads}", stuck, full)
    queue = "bad" if workers.queued else ""
    yield _KeyFigure("Queue", f"{workers.queued:,}", "wait for a thread", queue)
    if http is not None:
        yield _KeyFigure("Connections", f"{http.connections:,}", "open")
    yield _KeyFigure("Memory", size(_memory(snapshot)), "resident")


def _rate(period: Period | None, name: str) -> str:
    if period is None:
        return "\N{EM DASH}"
    value = float(getattr(period, name))
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _memory(snapshot: Snapshot) -> float:
    processes = snapshot.status.get("processes", ())
    return float(snapshot.status.get("rss", 0)) + sum(float(each["rss"]) for each in processes)


def _traffic(snapshot: Snapshot) -> Markup:
    def points(name: str, scale: float = 1.0) -> list[tuple[float, float | None]]:
        values = [(each.end, getattr(each, name)) for each in snapshot.periods]
        return [(end, None if value is None else value * scale) for end, value in values]

    rate = [
        Line("requests", "one", points("requests"), filled=True),
        Line("errors", "bad", points("errors")),
    ]
    times = [
        Line("99th percentile", "two", points("p99", 1000)),
        Line("median", "one", points("p50", 1000)),
    ]
    return element(
        "div",
        chart("Requests per second", "", rate, snapshot.now),
        chart("Latency in milliseconds", "ms", times, snapshot.now),
        class_="charts",
    )


# -- threads and requests ----------------------------------------------------------------


def _workers(snapshot: Snapshot) -> Markup:
    parts: list[Content] = [_process_table(snapshot)] if "processes" in snapshot.status else []
    requests = {report.name: report.value or {} for report in snapshot.requests}
    for report in snapshot.stacks:
        parts.append(_process(report, requests.get(report.name, {})))
    return join(parts or _nothing("No process serves."), _queue(snapshot))


def _process_table(snapshot: Snapshot) -> Markup:
    rows = [
        (
            each["name"],
            _pill(each["state"], "good" if each["state"] == "serving" else "calm"),
            each["pid"],
            duration(each["age"]),
            f"{each['connections']:,}",
            f"{each['requests']:,}",
            size(each["rss"]),
        )
        for each in snapshot.status["processes"][:_MAX_ROWS]
    ]
    heads = ("Process", "State", "Pid", "Age", "Connections", "Requests", "Memory")
    return _table("Worker processes", heads, rows)


def _process(report: ProcessReport, requests: Mapping[str, Any]) -> Markup:
    title = element("h3", f"{report.name} (process {report.pid})") if report.name else None
    if report.value is None:
        problem = element(
            "p", _pill("stuck" if report.stuck else "no reply", "bad"), f" {report.error}"
        )
        return join(title, problem, _process_stack(report) if report.stack else None)
    running = {each["thread"]: each for each in requests.get("requests", ()) if each["thread"]}
    threads = [each for each in report.value["threads"] if each["name"].startswith("application-")]
    busy = [each for each in threads if each["seconds"] is not None]
    shown = sorted(
        (each for each in busy if each["seconds"] >= _WORTH_SHOWING),
        key=lambda each: -each["seconds"],
    )
    rows = [
        element(
            "li",
            *_thread(thread, running.get(thread["name"])),
            _stack(report.name, thread) if number < _MAX_STACKS else None,
        )
        for number, thread in enumerate(shown[:_MAX_ROWS])
    ]
    rest = _rest(len(shown) - len(rows), len(busy) - len(shown), len(threads) - len(busy))
    return join(
        title,
        element("ul", *rows, class_="threads") if rows else None,
        _nothing(f"Threads: {rest}.") if rest else None,
    )


def _process_stack(report: ProcessReport) -> Markup:
    lines = [element("li", line) for line in report.stack.splitlines()[-_MAX_LINES:]]
    return element(
        "details",
        element("summary", "Stacks"),
        element("ol", *lines, class_="stack"),
        id=f"stack-{report.name}".replace(" ", "-"),
    )


def _rest(hidden: int, quick: int, idle: int) -> str:
    """How many threads have no row of their own."""
    counts = ((hidden, "more busy"), (quick, "busy with a quick request"), (idle, "idle"))
    return ", ".join(f"{count} {kind}" for count, kind in counts if count)


def _thread(thread: Mapping[str, Any], request: Mapping[str, Any] | None) -> Iterator[Markup]:
    took = thread["seconds"]
    yield element("span", thread["name"], class_="name")
    stuck = thread["stuck"] or took >= _STUCK
    kind = ("stuck", "bad") if stuck else ("slow", "warn") if took >= _SLOW else ("busy", "good")
    yield _pill(*kind)
    yield element("span", thread["job"], class_="job")
    yield element("span", f"for {seconds(took)}", class_="took")
    if request is not None and request["waits_for"]:
        yield element("code", request["waits_for"], class_="line")


def _stack(process: str, thread: Mapping[str, Any]) -> Markup | None:
    if thread["seconds"] < _SLOW:
        return None
    return element(
        "details",
        element("summary", "Stack"),
        element("ol", *map(_frame, thread["stack"][-_MAX_STACK:]), class_="stack"),
        id=f"stack-{process}-{thread['name']}".replace(" ", "-"),
    )


def _frame(place: Mapping[str, Any]) -> Markup:
    return element(
        "li",
        element("span", f"{place['file']}:{place['line']} in {place['function']}"),
        element("code", place["code"]) if place["code"] else None,
    )


def _queue(snapshot: Snapshot) -> Markup:
    waiting = [
        (each["method"], each["path"], each["client"], seconds(each["age"]))
        for report in snapshot.requests
        for each in (report.value or {}).get("requests", ())
        if each["phase"] == "queued" and each["age"] >= _WORTH_SHOWING
    ]
    queued = 0 if snapshot.figures is None else snapshot.figures.workers.queued
    if not waiting:
        return join(element("h3", "Queue"), _nothing("No request waits long for a thread."))
    return join(
        element("h3", f"Queue: {max(queued, len(waiting)):,}"),
        _table("The oldest requests", ("Method", "Path", "Client", "Waits"), waiting[:10]),
    )


# -- ZooKeeper --------------------------------------------------------------------------


def _with_zookeeper(render: Callable[[Snapshot, Neighbourhood], Markup]) -> Callable[..., Markup]:
    def rendered(snapshot: Snapshot) -> Markup:
        if snapshot.around is None:
            return _nothing("There is no session yet.")
        return render(snapshot, snapshot.around)

    return rendered


def _session(snapshot: Snapshot, around: Neighbourhood) -> Markup:
    session = around.session
    good = session["state"] == "connected"
    latency = session["latency"]
    return join(
        _facts(
            [
                ("State", _pill(session["state"], "good" if good else "bad")),
                ("Server", session["server"] or "\N{EM DASH}"),
                ("Session", element("code", session["session"] or "\N{EM DASH}")),
                ("Time-out", seconds(session["timeout"])),
                ("Last heard", _heard(session["silence"])),
                ("Last zxid", element("code", session["last_zxid"])),
                ("Watches", session["watches"]),
                ("Outstanding", session["outstanding"] + session["waiting"]),
                ("Reconnects", session["reconnects"]),
                ("Expiries", session["expiries"]),
                ("Requests", f"{session['requests']:,}"),
                ("Errors", f"{sum(session['errors'].values()):,}"),
                ("Median reply", seconds(latency["p50"])),
                ("99 % within", seconds(latency["p99"])),
            ]
        ),
        _events("History", around.session_events, snapshot.now),
    )


def _heard(silence: float | None) -> str:
    return "\N{EM DASH}" if silence is None else f"{seconds(silence)} ago"


def _registration(snapshot: Snapshot, around: Neighbourhood) -> Markup:
    own = {path for each in around.registrations for path in each["znodes"]}
    parts: list[Content] = [_registered(each) for each in around.registrations]
    if around.problem:
        parts.append(element("p", _pill("not current", "warn"), f" {around.problem}"))
    rows = [
        (
            element(
                "div",
                element("span", split(each["path"])[1], class_="address"),
                _pill("this one", "own") if each["path"] in own else None,
                class_="named",
            ),
            ago(each["created"], snapshot.now),
            _properties(each.get("data", "")),
        )
        for each in around.siblings
    ]
    heads = ("Name", "Registered", "Properties")
    parts.append(element("h3", f"All at this path: {len(rows) + around.more_siblings}"))
    parts.append(_table("Siblings", heads, rows) if rows else _nothing("Nothing is registered."))
    if around.more_siblings:
        parts.append(_nothing(f"and {around.more_siblings:,} more"))
    parts.append(_events("Coming and going", around.sibling_events, snapshot.now))
    return join(parts)


def _registered(one: Mapping[str, Any]) -> Markup:
    good = one["state"] == "registered"
    is_link = one["real_path"] != one["path"]
    target = f" \N{RIGHTWARDS ARROW} {one['real_path']}" if is_link else ""
    return _facts(
        [
            ("State", _pill(one["state"], "good" if good else "bad")),
            ("Path", element("code", f"{one['path']}{target}")),
            ("Addresses", element("code", ", ".join(one["addresses"]))),
            *([("Reason", one["reason"])] if one["reason"] else []),
        ]
    )


def _properties(data: str) -> Markup:
    found = list(decode(data.encode("utf-8", "replace")).items())
    shown = [
        element("span", element("i", name), f" {_short(str(value))}", class_="property")
        for name, value in found[:_MAX_PROPERTIES]
    ]
    return join(shown, f" and {len(found) - len(shown)} more" if len(found) > len(shown) else None)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}\N{HORIZONTAL ELLIPSIS}"


def _tree(snapshot: Snapshot, around: Neighbourhood) -> Markup:
    if not around.tree:
        return _nothing("Nothing was read yet.")
    items = [
        element(
            "li",
            element("span", each["path"] if not number else split(each["path"])[1], class_="znode"),
            _pill("ephemeral", "own") if each.get("session") else None,
            element("span", each.get("error") or f"{each['size']:,} B", class_="note"),
            class_=f"depth-{min(each['depth'], 8)}",
        )
        for number, each in enumerate(around.tree)
    ]
    cut = (
        _nothing("There is more; the page shows no more of it.") if around.tree_truncated else None
    )
    return join(element("ul", *items, class_="tree"), cut)


def _services(snapshot: Snapshot, around: Neighbourhood) -> Markup:
    if not around.edges:
        return _nothing("No service has a symbolic link to another one.")
    own = str(snapshot.status.get("path", ""))
    above, last = split(own)
    service = above if last == "providers" else own
    return element(
        "div",
        draw_graph(around.edges, service),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Graph of services",
    )


# -- errors -----------------------------------------------------------------------------


def _errors(snapshot: Snapshot) -> Markup:
    if not snapshot.errors:
        return _nothing("No warning and no error since the start.")
    kinds = {"warn": "warn", "error": "bad", "critical": "bad"}
    rows = [
        (
            element("b", f"{each.count:,}"),
            _pill(each.level, kinds.get(each.level, "calm")),
            join(
                element("span", each.text, class_="message"),
                element("span", " ".join(filter(None, [each.source, each.place])), class_="line"),
            ),
            ago(each.at, snapshot.now),
        )
        for each in snapshot.errors[:25]
    ]
    return _table("Warnings and errors", ("Count", "Level", "What", "Last"), rows)


#: The titles of the sections, and what makes their contents, by their ids.
SECTIONS: Final[Mapping[str, tuple[str, Callable[[Snapshot], Markup]]]] = {
    "summary": ("", _summary),
    "traffic": ("Last ten minutes", _traffic),
    "workers": ("Requests in service", _workers),
    "registration": ("Registration", _with_zookeeper(_registration)),
    "session": ("ZooKeeper session", _with_zookeeper(_session)),
    "errors": ("Warnings and errors", _errors),
    "services": ("Services", _with_zookeeper(_services)),
    "tree": ("Tree", _with_zookeeper(_tree)),
}
