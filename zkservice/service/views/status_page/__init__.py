"""The status page at ``/-/``: one page of HTML that keeps itself current."""

from zkservice.service.views.status_page.event_feed import EVENTS, event_view
from zkservice.service.views.status_page.page import PAGE, SECTIONS_VIEW, StatusPage
from zkservice.service.views.status_page.snapshot import Observer, PageSource

__all__ = [
    "EVENTS",
    "PAGE",
    "SECTIONS_VIEW",
    "Observer",
    "PageSource",
    "StatusPage",
    "event_view",
]
