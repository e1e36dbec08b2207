"""What the API server's answers mean. Pure: a reply in, a value or an error out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from halfstep.errors import HalfstepError
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.advice import advised
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.quotas import QUOTA, held_by, never_fits
from halfstep_worker.kubernetes.values import Created, CreateOutcome, Refused, TryLater

LATER_SECONDS = 2.0
QUOTA_SECONDS = 15.0
MESSAGE_CHARACTERS = 2000
CAUSES = 8
_OBJECT = re.compile(r'^[\w.]+ "[^"]*" is (?:invalid|forbidden): ', re.IGNORECASE)
_YOUNG_NAMESPACE = 'serviceaccount "default" not found'
"""A namespace that was made a moment ago refuses pods until its default service account exists."""


class ApiError(HalfstepError):
    """The API server did not do this.

    status: the HTTP status, 0 if there was no answer. retry_after: seconds that the server asks for.
    unknown: the request left us and may have been carried out all the same.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None, unknown: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. retry_after: seconds, None if the server named none."""

    status: int
    body: bytes
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        """The server did what it was asked."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body, parsed. Raises ApiError if it is no JSON (a proxy's page)."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ApiError(f"The answer is no JSON: {_text(self.body)}", status=self.status, unknown=True) from error

    def error(self, doing: str) -> ApiError:
        """This answer as an error. doing: what was tried, as in "Listing pods in namespace 'jobs'"."""
        message = f"{doing} failed with status {self.status}: {message_of(self.body)}"
        return ApiError(message, status=self.status, retry_after=self.retry_after, unknown=self.status >= 500)


def retry_after_of(value: str | None) -> float | None:
    """The header Retry-After in seconds; Kubernetes sends whole seconds, anything else counts as not sent."""
    return float(value) if value is not None and value.isdigit() else None


def reason_of(body: bytes) -> str:
    """The word of a Status object, such as AlreadyExists; empty if the body is none."""
    return str(_status(body).get("reason") or "")


def message_of(body: bytes) -> str:
    """What a Status object says, for people: the fields at fault if it names them, else its message."""
    status = _status(body)
    causes = listed(inside(status, "details"), "causes")
    told = [f"{cause['field']}: {cause.get('message', '')}" for cause in causes if cause.get("field")]
    said = "; ".join(told[:CAUSES]) or _OBJECT.sub("", str(status.get("message") or "")) or _text(body)
    return plain(said[:MESSAGE_CHARACTERS]) or "no reason was given"


def created(reply: Reply, *, where: str) -> CreateOutcome:
    """What a create call came to, AlreadyExists excepted. where: "cluster 'c', namespace 'n'"."""
    if reply.ok:
        try:
            return Created(reply.json()["metadata"]["uid"])
        except (ApiError, LookupError, TypeError) as error:
            return TryLater(f"The API server of {where} gave an answer that can't be read: {error}", LATER_SECONDS, unknown=True)
    said = message_of(reply.body)
    held, delay = held_by(said), _delay(reply, said)
    if reply.status == 403 and held == QUOTA and never_fits(said):
        return Refused(f"The API server of {where} refused it, as it can never fit into a quota: {said}", QUOTA)
    if delay is None:
        return Refused(f"The API server of {where} refused it: {advised(said)}")
    later = f"The API server of {where} takes it later (status {reply.status}): {said}"
    return TryLater(later, delay, reply.status >= 500, held)


def _delay(reply: Reply, said: str) -> float | None:
    """Seconds after which another try makes sense; None: never."""
    if reply.status == 403:
        if held_by(said) == QUOTA:
            return QUOTA_SECONDS if "exceeded quota" in said else LATER_SECONDS
        return LATER_SECONDS if _YOUNG_NAMESPACE in said else None
    if reply.status >= 500 or reply.status < 400 or reply.status in (401, 408, 409, 425, 429):
        return LATER_SECONDS if reply.retry_after is None else reply.retry_after
    return None


def _status(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(body: bytes) -> str:
    return " ".join(body[:MESSAGE_CHARACTERS].decode("utf-8", errors="replace").split())
