"""What an API server says when a pod can't be made: the task's fault, something that passes, or the cluster's trouble.

The messages are Kubernetes' own, as its admission plugins, its authorizers and what stands before it write them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from halfstep_worker.kubernetes.answers import Reply, created, is_absent, is_webhook_away, retry_after_of, trouble_of
from halfstep_worker.kubernetes.values import Refused, TryLater, Unavailable

USER = "system:serviceaccount:halfstep:launcher"
POD = "hs-0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"


@dataclass(frozen=True)
class Case:
    """An answer. words: what people are told of it."""

    status: int
    message: str | None = None
    reason: str = ""
    causes: tuple[dict[str, str], ...] = ()
    body: bytes = b""
    words: str = ""

    @property
    def reply(self) -> Reply:
        """As it arrives."""
        if self.message is None:
            return Reply(self.status, self.body)
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        told = status | {"message": self.message, "reason": self.reason, "code": self.status}
        return Reply(self.status, json.dumps(told | {"details": {"causes": list(self.causes)}}).encode())


def no_right(rest: str = "", *, user: str = USER, verb: str = "create", resource: str = "pods", named: str = "") -> Case:
    """As RBAC says it."""
    said = f'pods{named} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "" in the namespace "jobs"'
    return Case(403, said + rest, "Forbidden", words="Role and RoleBinding")


def forbidden(why: str, *causes: dict[str, str]) -> Case:
    """As an admission plugin says it."""
    return Case(403, f'pods "{POD}" is forbidden: {why}', "Forbidden", causes)


TROUBLES = {
    "a role binding is away": no_right(),
    "a role binding names a role that is away": no_right(': RBAC: role.rbac.authorization.k8s.io "launcher" not found'),
    "roles are not read yet, as the server has just started": no_right(": RBAC: clusterrole.rbac not yet synced"),
    "the kubeconfig is anonymous": no_right(user="system:anonymous"),
    "a cloud's authorizer refuses": no_right(': requires one of ["container.pods.create"] permission(s).'),
    "the user's name has quotes": no_right(user='CN=\\"me\\"'),
    "a ConfigMap may not be made": Case(
        403, f'configmaps is forbidden: User "{USER}" cannot create resource "configmaps" in API group "" in the namespace "x"',
        "Forbidden", words="Role and RoleBinding",
    ),
    "a path is refused to somebody anonymous": Case(
        403, 'forbidden: User "system:anonymous" cannot create path "/api/v1"', "Forbidden", words="Role and RoleBinding"
    ),
    "the token is unknown": Case(401, "Unauthorized", "Unauthorized", words="token, certificate or kubeconfig"),
    "a proxy wants a login": Case(401, body=b'{"type":"error","status":"401","message":"log in"}', words="credentials"),
    "the namespace is missing": Case(404, 'namespaces "jobs" not found', "NotFound", words="Make the namespace"),
    "the namespace is being terminated": forbidden(
        "unable to create new content in namespace jobs because it is being terminated",
        {"reason": "NamespaceTerminating", "message": "namespace jobs is being terminated", "field": "metadata.namespace"},
    ),
    "the namespace is being terminated, as older servers say": forbidden(
        "unable to create new content in namespace jobs because it is being terminated"
    ),
    "the namespace has no default service account": forbidden(
        'error looking up service account jobs/default: serviceaccount "default" not found'
    ),
    "admission has just started": forbidden("not yet ready to handle request"),
    "the address is no API server's": Case(404, body=b"<html><h1>404 Not Found</h1>nginx</html>", words="no API server"),
    "the path is no API's": Case(404, body=b"404 page not found\n", words="no API server"),
    "the server knows no such API": Case(404, "the server could not find the requested resource", "NotFound", words="address"),
    "the port speaks TLS": Case(400, body=b"Client sent an HTTP request to an HTTPS server.\n", words="no API server"),
    "the port of a proxy speaks TLS": Case(
        400, body=b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>", words="no API server"
    ),
    "something before it answers in JSON": Case(403, body=b'{"type":"error","status":"403","message":""}', words="no API server"),
    "a mesh denies": Case(403, body=b"RBAC: access denied", words="no API server"),
    "a proxy wants credentials of its own": Case(407, body=b"Proxy Authentication Required", words="proxies"),
    "a page in place of an answer": Case(403, body=b"<html>blocked by your organisation</html>", words="no API server"),
    "the method is unknown there": Case(405, body=b"<html>405 Not Allowed</html>", words="no API server"),
    "a redirect to a login page": Case(302, body=b'<a href="https://login.example.com">Found</a>.', words="no API server"),
    "a permanent redirect": Case(308, body=b"", words="it said nothing"),
}  # fmt: skip

DENIALS = {
    "Pod Security": forbidden('violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "main")'),
    "a webhook": Case(403, 'admission webhook "policy.example.com" denied the request: no latest tags', "Forbidden"),
    "a webhook with a status of its own": Case(404, 'admission webhook "policy.example.com" denied the request: no such team'),
    "a webhook that answers 401": Case(401, 'admission webhook "policy.example.com" denied the request: unsigned image'),
    "a webhook that quotes a missing right": Case(
        403, f'admission webhook "p" denied the request: pods is forbidden: User "{USER}" cannot create resource "pods"'
    ),
    "a ValidatingAdmissionPolicy": forbidden(
        "ValidatingAdmissionPolicy 'replicas' with binding 'all' denied request: User \"x\" cannot create resource \"pods\""
    ),
    "a limit range": forbidden("[maximum memory usage per Container is 1Gi, but limit is 2Gi]"),
    "a quota that wants amounts": forbidden("failed quota: compute: must specify limits.cpu for: main"),
    "a priority class that is not there": forbidden("no PriorityClass with name urgent was found"),
    "the task's own service account is not there": forbidden(
        'error looking up service account jobs/etl: serviceaccount "etl" not found'
    ),
    "the task's own service account, whose name quotes the default one": forbidden(
        'error looking up service account jobs/x serviceaccount "default" not found y: '
        'serviceaccount "x serviceaccount \\"default\\" not found y" not found'
    ),
    "a webhook that quotes a quota": Case(
        403, 'admission webhook "p" denied the request: exceeded quota: q, requested: cpu=1, used: cpu=4, limited: cpu=4'
    ),
    "a policy that quotes what a task calls itself": forbidden(
        "ValidatingAdmissionPolicy 'teams' with binding 'all' denied request: team 'exceeded quota' is unknown"
    ),
    "a policy that quotes a webhook that is away": forbidden('denied by "p": failed calling webhook "p"'),
    "a policy that talks of terminating": forbidden('denied by "p": the namespace jobs because it is being terminated'),
    "an owner that may not block": forbidden("cannot set blockOwnerDeletion if an ownerReference refers to a resource"),
    "an invalid field": Case(422, f'Pod "{POD}" is invalid: spec.containers[0].image: Required value', "Invalid"),
    "an unknown field": Case(400, 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "x"'),
    "a page that says that the request is bad": Case(400, body=b"<html>400 Bad Request</html>"),
    "a Status without its kind": Case(403, body=b'{"message": "no"}'),
    "too large for the server": Case(413, "etcdserver: request is too large", "RequestEntityTooLarge"),
    "too large for a proxy": Case(413, body=b"<html><h1>413 Request Entity Too Large</h1></html>"),
}  # fmt: skip

PASSING = {
    "a quota that is used up": (forbidden("exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4"), 15.0),
    "a quota that was not counted yet": (forbidden("status unknown for quota: compute, resources: limits.cpu,pods"), 2.0),
    "a quota that somebody changes": (
        Case(409, 'Operation cannot be fulfilled on resourcequotas "q": modified', "Conflict"),
        2.0,
    ),
    "a webhook that is away": (
        Case(500, 'Internal error occurred: failed calling webhook "p.example.com": failed to call webhook: Post "https://p": x'),
        2.0,
    ),
    "too many requests": (Case(429, "too many requests", "TooManyRequests"), 2.0),
    "a store that is slow": (Case(500, "etcdserver: request timed out"), 2.0),
    "a proxy without its server": (Case(502, body=b"<html>Bad Gateway</html>"), 2.0),
}


@pytest.mark.parametrize("case", TROUBLES.values(), ids=TROUBLES)
def test_what_depends_on_no_request_is_the_clusters_trouble_and_says_what_to_do(case: Case) -> None:
    made = created(case.reply, where="cluster 'c', namespace 'jobs'")
    assert isinstance(made, Unavailable), made
    assert case.words in made.message
    assert made.message.endswith(".")
    assert made.message.startswith("The API server of cluster 'c', namespace 'jobs' makes nothing for us now")


def test_an_account_that_the_launcher_puts_into_pods_is_not_the_tasks_matter() -> None:
    reply = DENIALS["the task's own service account is not there"].reply
    assert isinstance(created(reply, where="here", account="etl"), Unavailable)


@pytest.mark.parametrize("case", DENIALS.values(), ids=DENIALS)
def test_what_a_policy_denies_is_the_tasks_fault_and_quotes_it(case: Case) -> None:
    made = created(case.reply, where="here")
    assert isinstance(made, Refused), made
    if case.message is not None:
        assert case.message.partition(": ")[2][:60] in made.message


@pytest.mark.parametrize(("case", "delay"), PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_later(case: Case, delay: float) -> None:
    made = created(case.reply, where="here")
    assert isinstance(made, TryLater), made
    assert made.delay == delay
    assert made.unknown == (case.status >= 500)


@pytest.mark.parametrize(
    "case", [no_right(verb="delete", named=f' "{POD}"'), no_right(verb="get", resource="pods/log", named=f' "{POD}"')]
)
def test_a_right_that_other_calls_lack_is_the_clusters_trouble_too(case: Case) -> None:
    assert trouble_of(case.reply)
    assert case.reply.error("Doing it").access


def test_only_an_api_server_is_believed_that_a_pod_is_not_there() -> None:
    assert is_absent(Case(404, f'pods "{POD}" not found', "NotFound").reply)
    for name in ("the address is no API server's", "the namespace is missing", "the server knows no such API"):
        assert not is_absent(TROUBLES[name].reply), name


def test_a_webhook_that_denies_is_not_away() -> None:
    assert is_webhook_away(PASSING["a webhook that is away"][0].reply)
    assert not is_webhook_away(DENIALS["a webhook"].reply)
    assert not is_webhook_away(PASSING["a store that is slow"][0].reply)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("", None), (None, None), ("soon", None), ("-1", None), ("1.5", None), ("\u00b2", None), ("9" * 400, 600.0)],
)
def test_nobody_makes_us_wait_for_ever(said: str | None, seconds: float | None) -> None:
    assert retry_after_of(said) == seconds
