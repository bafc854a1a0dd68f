"""``prometheus``: targets for ``file_sd_configs`` and ``http_sd_configs``.

Members that are stopping stay targets: they should be monitored until they have ended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from zkservice.formats.consumers.model import Consumer, Listing, readable_json
from zkservice.formats.model import Member, text_values

_NOT_IN_LABELS: Final = re.compile(r"[^a-zA-Z0-9_]")
#: Prometheus removes labels with this prefix after relabelling.
_META: Final = "__meta_zkservice"


def _group(listing: Listing, member: Member) -> dict[str, Any]:
    labels = {
        "service": listing.name,
        f"{_META}_path": listing.path,
        f"{_META}_available": str(member.available).lower(),
    }
    if member.tls:
        labels["__scheme__"] = "https"
    for name, text in sorted(text_values(member.properties).items()):
        label = f"{_META}_property_{_NOT_IN_LABELS.sub('_', name)}"
        labels.setdefault(label, text.encode("utf-8", "replace").decode())
    return {"targets": [member.address], "labels": labels}


def _render(listings: Sequence[Listing]) -> bytes:
    return readable_json(
        [_group(listing, member) for listing in listings for member in listing.members]
    )


CONSUMER: Final = Consumer("prometheus", _render)
