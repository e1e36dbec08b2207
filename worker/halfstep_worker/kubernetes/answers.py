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
from halfstep_worker.kubernetes.values import Created, CreateOutcome, Refused, TryLater, Unavailable

LATER_SECONDS = 2.0
QUOTA_SECONDS = 15.0
MESSAGE_CHARACTERS = 2000
CAUSES = 8
SHORT_CHARACTERS = 500
_OBJECT = re.compile(r'^[\w.]+ "[^"]*" is (?:invalid|forbidden): ', re.IGNORECASE)
LONGEST_PAUSE = 600.0
"""Seconds: whoever asks us to wait longer is asked again all the same."""
PASSING = (408, 409, 425, 429)
"""Statuses below 500 that another try may not meet."""
_NO_RIGHT = re.compile(
    r'(?:[\w.-]+(?: "[^"]*")? is )?forbidden: User "(?:[^"\\]|\\.)*" cannot [\w-]+ (?:resource|path) ', re.IGNORECASE
)
_ENDING = re.compile(
    r'[\w.-]+ "[^"]*" is forbidden: unable to create new content in namespace \S+ because it is being terminated'
)
_NOT_READY = re.compile(r'[\w.-]+ "[^"]*" is forbidden: not yet ready to handle request')
_NO_ACCOUNT = re.compile(
    r'[\w.-]+ "[^"]*" is forbidden: error looking up service account .*'
    r'serviceaccount "((?:[^"\\]|\\.)*)" not found\.?$'
)
"""To its end: the account's name, which is the task's to choose, stands in it twice, and only the second time in quotes."""
DEFAULT_ACCOUNT = "default"
"""A namespace that was made a moment ago refuses pods until this account exists."""
_NO_NAMESPACE = re.compile(r'namespaces? "[^"]*" not found')
_NO_SUCH_PATH = "the server could not find the requested resource"
_WRONG_PORT = re.compile(r"HTTP request (?:to an|was sent to) HTTPS (?:server|port)")
_DENIED = re.compile(r'admission webhook "[^"]*" denied the request')
_WEBHOOK_AWAY = re.compile(r'(?:Internal error occurred: )?failed calling webhook "')


class ApiError(HalfstepError):
    """The API server did not do this.

    status: the HTTP status, 0 if there was no answer. retry_after: seconds that the server asks for.
    unknown: the request left us and may have been carried out all the same. access: the server does nothing for us just now.
    """

    def __init__(
        self, message: str, *, status: int = 0, retry_after: float | None = None, unknown: bool = False, access: bool = False
    ) -> None:
        super().__init__(message)
        self.access = access
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
        trouble = trouble_of(self)
        message = f"{doing} failed with status {self.status}: {trouble or message_of(self.body)}"
        unknown, access = self.status >= 500, trouble is not None
        return ApiError(message, status=self.status, retry_after=self.retry_after, unknown=unknown, access=access)


def retry_after_of(value: str | None) -> float | None:
    """The header Retry-After in seconds; Kubernetes sends whole seconds, anything else counts as not sent."""
    if value is None or not (value.isascii() and value.isdigit()):
        return None
    return min(float(value[:6]), LONGEST_PAUSE)


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


def trouble_of(reply: Reply, *, account: str = DEFAULT_ACCOUNT) -> str | None:
    """Why the server does this for nobody of ours, whatever is asked for, and what to do; None: what it says is of the request.

    account: what the launcher puts into pods that name none. One that a task names is the task's matter.
    The words are Kubernetes'. They are looked for at the beginning: a policy may quote anything after its own.
    """
    if reply.status < 300 or reply.status >= 500 or reply.status in (413, 422, *PASSING):
        return None
    status, said = _status(reply.body), _said(reply.body)
    if _DENIED.match(said) or (reply.status == 400 and not _WRONG_PORT.search(said)):
        return None
    if reply.status == 401:
        return f"it does not know us ({_short(said)}). Look at the launcher's credentials: token, certificate or kubeconfig."
    if not _is_status(status):
        return (
            f"that was no API server ({_short(said)}). Look at the server's address in the kubeconfig, and at proxies before it."
        )
    if reply.status == 404:
        return _away(said)
    return _kept_out(status, said, account) if reply.status == 403 else None


def _away(said: str) -> str | None:
    if _NO_NAMESPACE.match(said):
        return f"{_short(said)}. Make the namespace, or name another one in the clusters file."
    if said.startswith(_NO_SUCH_PATH):
        return f"{_short(said)}. Look at the server's address in the kubeconfig."
    return None


def _kept_out(status: dict[str, Any], said: str, account: str) -> str | None:
    causes = listed(inside(status, "details"), "causes")
    if _NO_RIGHT.match(said):
        return f"{_short(said)}. Give the launcher that right there (its Role and RoleBinding), or look at its credentials."
    if _ENDING.match(said) or any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return "the namespace is being terminated. Make it again when it is gone."
    if (missing := _NO_ACCOUNT.match(said)) is not None and missing[1] in (DEFAULT_ACCOUNT, account):
        return f"{_short(said)}. Make it; a namespace that was just made has it within seconds."
    if _NOT_READY.match(said):
        return f"{_short(said)}. It has just started."
    return None


def created(reply: Reply, *, where: str, account: str = DEFAULT_ACCOUNT) -> CreateOutcome:
    """What a create call came to, AlreadyExists excepted. where: "cluster 'c', namespace 'n'". account: see `trouble_of`."""
    if reply.ok:
        try:
            return Created(_uid(reply.json()))
        except (ApiError, LookupError, TypeError) as error:
            return TryLater(f"The API server of {where} gave an answer that can't be read: {error}", LATER_SECONDS, unknown=True)
    if (trouble := trouble_of(reply, account=account)) is not None:
        return Unavailable(f"The API server of {where} makes nothing for us now (status {reply.status}): {trouble}")
    said = message_of(reply.body)
    held, delay = held_by(said), _delay(reply, said)
    if reply.status == 403 and held == QUOTA and never_fits(_said(reply.body)):
        return Refused(f"The API server of {where} refused it, as it can never fit into a quota: {said}", QUOTA)
    if delay is None:
        return Refused(f"The API server of {where} refused it: {advised(said)}")
    later = f"The API server of {where} takes it later (status {reply.status}): {said}"
    return TryLater(later, delay, reply.status >= 500, held)


def is_status(reply: Reply) -> bool:
    """An API server said it, and nothing that stands before it."""
    return reply.status == 401 or _is_status(_status(reply.body))


def is_webhook_away(reply: Reply) -> bool:
    """The server could not ask a webhook that it has to ask (failurePolicy Fail)."""
    return reply.status >= 500 and _WEBHOOK_AWAY.match(_said(reply.body)) is not None


def is_absent(reply: Reply) -> bool:
    """An API server, and nobody else, says that there is no such object."""
    return reply.status == 404 and trouble_of(reply) is None


def _uid(made: Any) -> str:
    uid = made["metadata"]["uid"]
    if not (isinstance(uid, str) and uid):
        raise LookupError("it names no uid")
    return uid


def _delay(reply: Reply, said: str) -> float | None:
    """Seconds after which another try makes sense; None: never."""
    if reply.status == 403:
        if held_by(said) == QUOTA:
            return QUOTA_SECONDS if "exceeded quota" in said else LATER_SECONDS
        return None
    if reply.status >= 500 or reply.status in PASSING:
        return LATER_SECONDS if reply.retry_after is None else reply.retry_after
    return None


def _said(body: bytes) -> str:
    """The message as it stands in a Status object, or else the body."""
    said = _status(body).get("message")
    return said if isinstance(said, str) and said else _text(body)


def _short(said: str) -> str:
    return plain(said[:SHORT_CHARACTERS]).rstrip(". ") or "it said nothing"


def _is_status(answer: dict[str, Any]) -> bool:
    """Also of a server that leaves something out; what other servers say in JSON has a type, or no message."""
    kind = answer.get("kind", "Status" if "type" not in answer and answer.keys() & {"message", "details"} else None)
    return bool(kind == "Status")


def _status(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(body: bytes) -> str:
    return " ".join(body[:MESSAGE_CHARACTERS].decode("utf-8", errors="replace").split())
