"""Read credentials from a file or the environment, to keep them out of command lines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def read_secret(source: str, environ: Mapping[str, str] | None = None) -> bytes:
    """The secret that a source names: ``env:NAME`` or ``file:/path``.

    A line break at the end of a file is not part of the secret.

    Args:
        source: ``env:NAME`` or ``file:/path``.
        environ: the environment; the process's if None.

    Raises:
        ValueError: ``source`` has neither form, or the variable or the file is missing or empty.
        OSError: the file cannot be read.
    """
    kind, _, name = source.partition(":")
    if kind == "env" and name:
        value = (os.environ if environ is None else environ).get(name, "").encode()
    elif kind == "file" and name:
        value = Path(name).read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    else:
        # Perhaps it is the secret itself, so it is not repeated.
        raise ValueError("a secret's source is 'env:NAME' or 'file:/path'")
    if not value:
        raise ValueError(f"{source} is empty, or not set")
    return value
