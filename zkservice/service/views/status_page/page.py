"""The page as a whole, and the views that show it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from string import Template
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from zkservice.service.views.status_page.markup import Markup, element, join
from zkservice.service.views.status_page.sections import SECTIONS, render_sections
from zkservice.service.views.status_page.snapshot import Observer
from zkservice.web import DeferredView, View

__all__ = ["PAGE", "SECTIONS_VIEW", "StatusPage", "render_page"]

#: The path of the page.
PAGE: Final = "/-/"
#: What a worker process requests from its parent; clients cannot request it.
SECTIONS_VIEW: Final = "/-/sections"

#: Seconds for which rendered sections are reused.
_FRESH: Final = 0.25


class StatusPage:
    """Renders the page.

    Args:
        observer: has what to show.
        clock: the reactor.
        nonce: returns a text that cannot be guessed.
    """

    def __init__(
        self,
        observer: Observer,
        clock: Any,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._nonce = nonce
        self._sections: dict[str, str] = {}
        self._title = ""
        self._rendered = float("-inf")

    def sections(self) -> Deferred[Mapping[str, str]]:
        """The HTML of all sections, by their ids."""
        if self._clock.seconds() - self._rendered < _FRESH:
            return succeed(self._sections)
        return Deferred.fromCoroutine(self._render())

    async def _render(self) -> Mapping[str, str]:
        snapshot = await self._observer.snapshot()
        self._sections = render_sections(snapshot)
        self._title = f"{snapshot.status.get('path', 'starting')} \N{MIDDLE DOT} zkservice"
        self._rendered = self._clock.seconds()
        return self._sections

    def views(self) -> dict[str, View]:
        """The page, and its sections as JSON for a worker process."""
        return {PAGE: DeferredView(self._page), SECTIONS_VIEW: DeferredView(self._as_json)}

    def _page(self, environ: dict[str, Any]) -> Deferred[View]:
        def shown(sections: Mapping[str, str]) -> View:
            nonce = self._nonce()
            body = render_page(sections, nonce, self._title).encode()
            return _fixed(body, "text/html; charset=utf-8", _security_headers(nonce))

        return self.sections().addCallback(shown)

    def _as_json(self, environ: dict[str, Any]) -> Deferred[View]:
        return self.sections().addCallback(
            lambda sections: _fixed(json.dumps(sections).encode(), "application/json", [])
        )


def render_page(sections: Mapping[str, str], nonce: str, title: str) -> str:
    """The whole page.

    Args:
        sections: the HTML of each, by its id.
        nonce: allows the page's own style and script to be used, and no others.
        title: of the window.
    """
    folder = files(__package__)
    return Template(_read(folder, "page.html")).substitute(
        title=join(title),
        nonce=nonce,
        style=_read(folder, "page.css"),
        script=_read(folder, "page.js"),
        summary=sections.get("summary", ""),
        sections=join(
            _section(name, heading, sections.get(name, ""))
            for name, (heading, _) in SECTIONS.items()
            if heading
        ),
        links=join(
            element("li", element("a", heading, href=f"#{name}-heading"))
            for name, (heading, _) in SECTIONS.items()
            if heading
        ),
    )


def _read(folder: Any, name: str) -> str:
    text: str = folder.joinpath(name).read_text(encoding="utf-8")
    return text


def _section(name: str, heading: str, content: str) -> Markup:
    return element(
        "section",
        element("h2", heading, id=f"{name}-heading"),
        element("div", Markup(content), id=name),
        class_=f"card {name}",
        aria_labelledby=f"{name}-heading",
    )


def _security_headers(nonce: str) -> list[tuple[str, str]]:
    policy = (
        "default-src 'none'",
        f"script-src 'nonce-{nonce}'",
        f"style-src 'nonce-{nonce}'",
        "img-src data:",
        "connect-src 'self'",
        *(f"{name} 'none'" for name in ("base-uri", "form-action", "frame-ancestors")),
    )
    return [
        ("Content-Security-Policy", "; ".join(policy)),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Frame-Options", "DENY"),
    ]


def _fixed(body: bytes, kind: str, headers: Iterable[tuple[str, str]]) -> View:
    """A view of some bytes."""

    def view(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(
            "200 OK",
            [
                ("Content-Type", kind),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                *headers,
            ],
        )
        return [body]

    return view
