"""Helpers for the replies of the monitor's commands: JSON or text, for each process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from zkservice.service.state.process_report import ProcessReport

__all__ = ["is_for_programs", "json_text", "per_process", "reply"]


def is_for_programs(words: Sequence[str]) -> bool:
    """Whether the words ask for JSON."""
    return "--json" in words


def json_text(values: Any) -> str:
    """Values as JSON, in one line."""
    return json.dumps(values, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def reply(
    words: Sequence[str], reports: Sequence[ProcessReport], text_of: Callable[[Any], str]
) -> str:
    """The replies of processes, as JSON or as text.

    Args:
        words: the words of the command.
        reports: the replies.
        text_of: returns the reply of one process as text.
    """
    if is_for_programs(words):
        return json_text([vars(one) for one in reports])  # asdict() would copy all that they tell
    return per_process(reports, text_of)


def per_process(reports: Iterable[ProcessReport], text_of: Callable[[Any], str]) -> str:
    """The reply of each process as text, or its error."""
    parts = []
    for one in reports:
        if one.error:
            parts.append(one.problem)
        elif one.name:
            parts.append(f"{one.title}:\n{text_of(one.value)}")
        else:
            parts.append(text_of(one.value))
    return "\n\n".join(parts) or "no process is serving"
