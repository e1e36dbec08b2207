"""What an API server's refusal says of a quota or a webhook: whether waiting helps, and what is waited for. Texts in, words out.

The wording is that of `k8s.io/apiserver/pkg/admission/plugin/resourcequota`; what can't be read does not count as never fitting.
"""

from __future__ import annotations

import re
from decimal import Decimal

from halfstep_worker.kubernetes.quantities import quantity

QUOTA = "quota"
WEBHOOK = "webhook"
_EXCEEDED = re.compile(
    r"exceeded quota: [^,]{1,253}, ?requested: ([^:]{1,2000}), ?used: ([^:]{1,2000}), ?limited: ([^:;]{1,2000})(?=[:;]|$)",
    re.IGNORECASE,
)
_COUNTED = ("pods", "count/pods")
_WAITS = re.compile(
    r"(?:Internal error occurred: )?(?:exceeded quota|status unknown for quota|resource quota evaluation timed out)",
    re.IGNORECASE,
)
"""At the beginning: what a policy or a webhook denies may quote anything after its own words."""
_WEBHOOK = ("failed calling webhook", "failed to call webhook", "failed calling admission webhook", "admission webhook ")


def held_by(said: str) -> str | None:
    """`quota` or `webhook`, if that is what keeps an object from being made; None for anything else. said: without the object."""
    if _WAITS.match(said):
        return QUOTA
    return WEBHOOK if any(words in said for words in _WEBHOOK) else None


def never_fits(said: str) -> bool:
    """Even an empty quota would have no room: more is requested than it allows in all. said: whole, as half a number is another.

    A quota of no pods at all is how people close a namespace for a while: that one is waited for.
    """
    return any(_is_too_much(_amounts(found[1]), _amounts(found[3])) for found in _EXCEEDED.finditer(said))


def _is_too_much(requested: dict[str, Decimal], limited: dict[str, Decimal]) -> bool:
    return any(name in limited and amount > limited[name] for name, amount in requested.items() if name not in _COUNTED)


def _amounts(text: str) -> dict[str, Decimal]:
    """`cpu=4,memory=2Gi`; what is no amount is left out."""
    pairs = (part.strip().rstrip(".").partition("=") for part in text.split(","))
    read = ((name.strip(), quantity(value.strip())) for name, _, value in pairs)
    return {name: amount for name, amount in read if amount is not None}
