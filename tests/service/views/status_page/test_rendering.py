"""Tests for the HTML and SVG of `zkservice.service.views.status_page`."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.service.views.status_page.support import EVIL, NOW, snapshot, thread
from zkservice.service.state.process_report import ProcessReport
from zkservice.service.views.status_page.charts import Line, chart, nice_ceiling
from zkservice.service.views.status_page.markup import Markup, element, join
from zkservice.service.views.status_page.page import render_page
from zkservice.service.views.status_page.sections import SECTIONS, render_sections
from zkservice.service.views.status_page.service_graph import draw_graph, layers
from zkservice.service.views.status_page.snapshot import Snapshot
from zkservice.service.views.status_page.words import (
    ago,
    duration,
    seconds,
    size,
)

EDGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=30)


class Read(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    @override
    def handle_data(self, data: str) -> None:
        self.text += data


class MarkupTests(SynchronousTestCase):
    """Texts are never markup."""

    @given(st.text(), st.text())
    def test_any_text_stays_a_text(self, content: str, value: str) -> None:
        """In an element and in an attribute; what is not printable is escaped for people."""
        read = Read(element("p", content, title=value))
        self.assertEqual(read.tags, ["p"])
        self.assertEqual([name for name, _ in read.attributes], ["title"])
        if content.isprintable() and value.isprintable():
            self.assertEqual((read.text, read.attributes[0][1]), (content, value))

    def test_content(self) -> None:
        """Markup, lists, numbers and nothing."""
        whole = join(element("b", "<"), [" & ", 1, None, [2.5]], Markup("<hr>"))
        self.assertEqual(whole, "<b>&lt;</b> &amp; 12.5<hr>")

    def test_attributes(self) -> None:
        """Those of Python's words and with dashes; flags."""
        found = element("td", class_="a", data_label="b", hidden=True, id=None, open=False)
        self.assertEqual(found, '<td class="a" data-label="b" hidden></td>')


class WordsTests(SynchronousTestCase):
    """Numbers as people read them."""

    def test_times(self) -> None:
        """Short and long ones."""
        for value, text in ((0.0002, "< 1 ms"), (0.0123, "12.3 ms"), (1.5, "1.5 s"), (None, "—")):
            self.assertEqual(seconds(value), text)
        for value, text in ((0, "0 s"), (59, "59 s"), (3605, "1 h 5 s"), (90061, "1 d 1 h")):
            self.assertEqual(duration(value), text)
        self.assertEqual((ago(5, 125), ago(9, 5)), ("2 min ago", "0 s ago"))

    def test_sizes(self) -> None:
        """In decimal units."""
        for value, text in ((999, "999 B"), (65_200_000, "65.2 MB"), (5e13, "50,000 GB")):
            self.assertEqual(size(value), text)


class ChartTests(SynchronousTestCase):
    """Lines and their scale."""

    @given(st.floats(1e-6, 1e12))
    def test_the_top_of_the_scale(self, value: float) -> None:
        """It is a number that is easily read, and not far above the value."""
        top = nice_ceiling(value)
        self.assertTrue(value * 0.999 <= top <= value * 2.51, top)
        self.assertRegex(f"{top:.0e}", r"^[125]e")

    def test_a_gap_is_no_line(self) -> None:
        """Where nothing is known nothing is drawn."""
        points = [(NOW - 20, 1.0), (NOW - 15, 2.0), (NOW - 10, None), (NOW - 5, 1.0), (NOW, 2.0)]
        drawn = chart("t", "ms", [Line("l", "one", points)], NOW)
        self.assertEqual(drawn.count("<polyline"), 2)
        self.assertIn("now l 2 ms", drawn)

    def test_without_values(self) -> None:
        """The axes are there."""
        drawn = chart("t", "ms", [Line("l", "one", [])], NOW)
        self.assertNotIn("<polyline", drawn)
        self.assertIn("now l none", drawn)

    def test_points_are_within_the_drawing(self) -> None:
        """The highest at the top, the latest at the right, the old ones left out."""
        points = [(NOW - 900, 5.0), (NOW - 5, 0.0), (NOW, 10.0)]
        drawn = chart("t", "", [Line("l", "one", points)], NOW)
        self.assertIn('points="595.0,100.0 600.0,0.0"', drawn)


class GraphTests(SynchronousTestCase):
    """The graph of which service uses which."""

    def test_users_are_left_of_what_they_use(self) -> None:
        """Also over several columns."""
        self.assertEqual(layers([("a", "b"), ("b", "c"), ("a", "c")]), {"a": 0, "b": 1, "c": 2})

    @given(EDGES)
    def test_any_graph_is_drawn(self, edges: list[tuple[str, str]]) -> None:
        """Circles too: each node once, no two boxes on each other, all within the picture."""
        pairs = sorted({(user, used) for user, used in edges if user != used})
        drawn = ElementTree.fromstring(draw_graph(pairs, "a"))
        boxes = [{k: float(v) for k, v in each.attrib.items()} for each in drawn.iter("rect")]
        self.assertEqual(len(boxes), len({node for pair in pairs for node in pair}))
        for number, one in enumerate(boxes):
            self.assertLessEqual(one["x"] + one["width"], float(drawn.attrib["width"]))
            self.assertLessEqual(one["y"] + one["height"], float(drawn.attrib["height"]))
            for other in boxes[:number]:
                apart = abs(one["x"] - other["x"]) >= min(one["width"], other["width"])
                self.assertTrue(apart or abs(one["y"] - other["y"]) >= one["height"])
        self.assertEqual(len(list(drawn.iter("path"))), len(pairs))

    def test_there_are_only_so_many_boxes(self) -> None:
        """A graph with too many boxes would be unreadable."""
        drawn = draw_graph([(f"/a{n}", f"/b{n}") for n in range(500)], "")
        self.assertEqual(drawn.count("<rect"), 40)


class SectionTests(SynchronousTestCase):
    """The parts of the page."""

    def test_nothing_from_outside_is_markup(self) -> None:
        """Paths, addresses, properties, requests, code, errors, reasons."""
        plain = {name: Read(each) for name, each in render_sections(snapshot()).items()}
        for name, each in render_sections(snapshot(EVIL)).items():
            with self.subTest(name):
                read = Read(each)
                self.assertEqual(read.tags, plain[name].tags)
                self.assertNotIn("onerror", {key for key, _ in read.attributes})
                self.assertIn("alert", read.text) if name != "traffic" else None

    def test_the_line_of_a_stuck_thread(self) -> None:
        """It is called stuck, and its stack is there."""
        text = Read(render_sections(snapshot("spot"))["workers"]).text
        for part in ("stuck", "for 12 s", "spot:3 in spot", "Threads: 1 idle."):
            self.assertIn(part, text)

    def test_stacks_and_rows_are_bounded(self) -> None:
        """Writing them takes the reactor's time; quick requests would only flicker."""
        threads = [{**thread("t"), "name": f"application-{n}"} for n in range(100)]
        threads += [{**thread("t", 0.01), "name": f"application-{n}"} for n in range(100, 105)]
        many = snapshot(stacks=[ProcessReport("", 5, {"threads": threads})])
        read = Read(render_sections(many)["workers"])
        self.assertEqual(read.tags.count("details"), 8)
        self.assertIn("Threads: 40 more busy, 5 busy with a quick request.", read.text)

    def test_a_process_that_does_not_reply(self) -> None:
        """It is shown as such."""
        silent = snapshot(stacks=[ProcessReport("worker 1", 7, error="no reply in 1 s")])
        text = Read(render_sections(silent)["workers"]).text
        self.assertIn("worker 1 (process 7)no reply no reply in 1 s", text)

    def test_before_there_is_anything(self) -> None:
        """The page of a process that starts."""
        nothing = Snapshot(NOW, {}, None, "starting")
        self.assertEqual(render_sections(nothing).keys(), SECTIONS.keys())

    def test_no_style_and_no_handler_in_attributes(self) -> None:
        """The policy of the page forbids both."""
        for each in render_sections(snapshot()).values():
            names = {name for name, _ in Read(each).attributes}
            self.assertNotIn("style", names)
            self.assertFalse([name for name in names if name.startswith("on")])


class PageTests(SynchronousTestCase):
    """The page as a whole."""

    @override
    def setUp(self) -> None:
        self.page = render_page(render_sections(snapshot()), "n0nce", "/p & q")

    def test_it_needs_nothing_else(self) -> None:
        """No other file, no other host."""
        read = Read(self.page)
        sources = [value for name, value in read.attributes if name in ("src", "href")]
        self.assertTrue(all(str(each).startswith(("#", "data:")) for each in sources), sources)
        for forbidden in ("http://", "https://", "@import", "url("):
            self.assertNotIn(forbidden, self.page)

    def test_scripts_and_styles_have_the_nonce(self) -> None:
        """All of them."""
        self.assertEqual(len(re.findall("<(?:script|style)[ >]", self.page)), 2)
        self.assertEqual(len(re.findall('<(?:script|style) nonce="n0nce">', self.page)), 2)

    def test_landmarks_and_headings(self) -> None:
        """One of each; every section is labelled by its heading, every id is there once."""
        read = Read(self.page)
        for tag in ("header", "nav", "main", "footer", "h1"):
            self.assertEqual(read.tags.count(tag), 1, tag)
        ids = [value for name, value in read.attributes if name == "id"]
        self.assertEqual(len(ids), len(set(ids)))
        labels = [value for name, value in read.attributes if name == "aria-labelledby"]
        self.assertEqual(len(labels), read.tags.count("section"))
        self.assertLessEqual(set(labels), set(ids))
        links = [str(value)[1:] for name, value in read.attributes if name == "href"]
        self.assertLessEqual({each for each in links if not each.startswith("ata:")}, set(ids))

    def test_without_a_script_it_is_loaded_again(self) -> None:
        """The values are there already."""
        self.assertIn('<noscript><meta http-equiv="refresh" content="5"></noscript>', self.page)
        self.assertIn("<title>/p &amp; q</title>", self.page)


class ContrastTests(SynchronousTestCase):
    """WCAG 2.2, 1.4.3: text has 4.5 to 1 at least, in both colour schemes."""

    #: Text colours, and what they are written on.
    PAIRS = (
        *(("text", "page"), ("text", "card"), ("text", "calm-back"), ("muted", "page")),
        *(("muted", "card"), ("link", "card"), ("link", "page"), ("good", "good-back")),
        *(("warn", "warn-back"), ("bad", "bad-back"), ("calm", "calm-back")),
        *(("own", "own-back"), ("bad", "card")),
    )
    #: Lines of charts need 3 to 1 (1.4.11).
    LINES = (("one", "card"), ("two", "card"), ("bad", "card"))

    def test_colours(self) -> None:
        """Of all pairs that are used."""
        page = render_page({}, "n", "t")
        light, dark = re.findall(r":root \{(.*?)\}", page, re.S)
        before: dict[str, str] = {}
        for scheme in (light, dark):
            before |= dict(re.findall(r"--([\w-]+): (#\w{6});", scheme))
            for least, pairs in ((4.5, self.PAIRS), (3.0, self.LINES)):
                for text, back in pairs:
                    found = contrast(before[text], before[back])
                    self.assertGreaterEqual(found, least, (text, back))


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2 of two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
