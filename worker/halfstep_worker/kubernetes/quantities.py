"""Quantities of Kubernetes: `500m`, `2Gi`, `1e3`. https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"\+?(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(value: Any) -> Decimal | None:
    """The number it stands for (bytes, cores, pieces); None if it is no quantity, or a negative one."""
    found = _QUANTITY.fullmatch(str(value)) if type(value) in (str, int, float) else None
    if found is None:
        return None
    number, suffix, exponent = Decimal(found[1]), found[2], found[3]
    if suffix in _BINARY:
        return number * Decimal(2) ** _BINARY[suffix]
    return number.scaleb(_DECIMAL[suffix] if suffix else int(exponent or 0))
