"""Texts of any kind as labels of Kubernetes: what fits stays as it is, what does not is made to fit, and stays distinct.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
"""

from __future__ import annotations

import re
from hashlib import sha256

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_MADE = re.compile(r".*-[0-9a-f]{10}")
"""What `label_value` has made of something. What only looks so is made to fit, too: else two texts could become one."""
_OTHERS = re.compile(r"[^A-Za-z0-9_.-]+")
_DIGITS = 10
_KEPT = 63 - 1 - _DIGITS


def label_value(text: str) -> str:
    """The text itself if a label can hold it; else its readable part and a digest of the whole, so that equal stays equal."""
    if is_label_value(text) and not _MADE.fullmatch(text):
        return text
    readable = _OTHERS.sub("-", text[: 2 * _KEPT]).lstrip("-_.")[:_KEPT].rstrip("-_.")
    return f"{readable or 'x'}-{sha256(text.encode(errors='surrogatepass')).hexdigest()[:_DIGITS]}"


def is_label_value(text: str) -> bool:
    """Whether a label can hold it."""
    return not text or _NAME.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    """Whether it can be the key of a label or annotation, without a domain before it."""
    return _NAME.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether it can be the key of a label or annotation: a name, perhaps with a domain and a slash before it."""
    domain, slash, name = text.rpartition("/")
    return is_label_name(name) and (not slash or is_object_name(domain))


def is_object_name(text: str) -> bool:
    """Whether an object of Kubernetes can be called so (DNS subdomain)."""
    return _DOMAIN.fullmatch(text) is not None
