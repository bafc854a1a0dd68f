"""Kinds of options that several sections have."""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import checked
from zkservice.web import TrustedProxies
from zkservice.znodes import validate

__all__ = ["NETWORK", "PATH"]

PATH: Final = checked(validate, "PATH")
NETWORK: Final = checked(lambda text: TrustedProxies([text]), "CIDR")
