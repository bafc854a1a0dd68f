"""Replies of monitor commands that are more than a text."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

__all__ = ["Answer", "Command", "MoreLines", "TwoForms"]


@dataclass(frozen=True)
class TwoForms:
    """A reply in two forms: for people in an interactive session, and for programs."""

    text: str
    json: str


@dataclass(frozen=True)
class MoreLines:
    """A reply of a command that reads more lines.

    Attributes:
        text: sent without an added line end, so that it can end with a prompt.
        receive: called with the next line, without its end.  It returns what a command returns;
            the lines after that are commands again, unless it is `MoreLines`.
    """

    text: str
    receive: Callable[[str], Answer]


Reply: TypeAlias = str | TwoForms | MoreLines
Answer: TypeAlias = Reply | Deferred[Any] | Coroutine[Any, Any, Any]

#: Takes the words after the name of the command, returns the reply; its docstring is its help.
Command: TypeAlias = Callable[[list[str]], Answer]
