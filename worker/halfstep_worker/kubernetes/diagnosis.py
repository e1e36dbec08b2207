"""What an answer, or its absence, says of the cluster: troubles by verb and object, and a line in the log for a refusal."""

from __future__ import annotations

from dataclasses import dataclass

from halfstep_worker.kubernetes.answers import ApiError, Reply, is_absent, is_status, is_webhook_away, message_of, trouble_of
from halfstep_worker.kubernetes.connection import Connection
from halfstep_worker.kubernetes.trouble import ADMISSION, Troubles

EVENTS = "events"


@dataclass(frozen=True, slots=True)
class About:
    """What a request is about, in the words of RBAC. namespace: where."""

    namespace: str
    verb: str
    object: str = "pods"

    @property
    def part(self) -> str:
        """Such as "create pods" or "get pods/log"."""
        return f"{self.verb} {self.object}"


class Diagnosis:
    """Of one cluster, from any number of threads. account: the service account of pods whose tasks name none."""

    def __init__(self, name: str, connection: Connection, troubles: Troubles, account: str) -> None:
        self._name = name
        self._connection = connection
        self._account = account
        self.troubles = troubles

    def note(self, about: About, reply: Reply) -> None:
        """Whether this part gets on, and a line in the log for what the server refused."""
        if about.object == EVENTS:  # nothing needs them: whoever reads them says that it may not
            return
        where, part = about.namespace, about.part
        trouble = trouble_of(reply, account=self._account)
        if trouble is not None:
            self._connection.reload(known=reply.status in (403, 404) and b"system:anonymous" not in reply.body)
            trouble += f" {self._connection.complaint}" if reply.status == 401 and self._connection.complaint else ""
            # What stands before the API server may dislike this request only: that it does so for others shows with time.
            sure = is_status(reply)
            self.troubles.met(where, part, self._sentence(about, f"with {reply.status}: {trouble}"), sure=sure)
        elif is_webhook_away(reply):
            told = self._sentence(about, f"with {reply.status}: {message_of(reply.body)}. A webhook that it has to ask is away.")
            self.troubles.met(where, ADMISSION, told, sure=True)
        elif reply.status == 429:
            pass
        elif reply.status >= 500 or (reply.status in (400, 403) and about.verb not in ("create", "get")):
            told = self._sentence(about, f"with {reply.status}: {message_of(reply.body)}. It is asked again.")
            self.troubles.met(where, part, told, sure=False)
        else:
            self.troubles.over(where, part)
            if reply.ok and about.verb == "create":
                self.troubles.over(where, ADMISSION)
        if reply.status >= 300 and not _is_everyday(about, reply):
            self.troubles.refused(where, part, reply.status, message_of(reply.body))

    def unanswered(self, about: About, error: ApiError) -> None:
        """No answer came."""
        error.access = True
        if about.object == EVENTS:
            return
        if self.troubles.met(about.namespace, about.part, self._sentence(about, f"not at all: {error}."), sure=False):
            self._connection.reload()
            self.troubles.refused(about.namespace, about.part, 0, str(error))

    def _sentence(self, about: About, rest: str) -> str:
        where = f"cluster {self._name!r}, namespace {about.namespace!r}"
        return f"The API server of {where} answers {about.part!r} {rest}"


def _is_everyday(about: About, reply: Reply) -> bool:
    """An answer that calls meet while all is well: it is there already, gone, not begun, or another one by now."""
    usual = {"create": (409,), "get": (400,), "list": (410,), "watch": (410,), "delete": (409,), "patch": (409, 422)}
    return is_absent(reply) or reply.status in usual[about.verb]
