"""The table of hostile pods against a real API server: refused by us, refused by it, or harmless as it would store them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from cluster.kube import Cluster
from halfstep_worker.kubernetes.connection import Connection, Request, load_configuration
from hostile_pods import POLICIES, ROWS, Object, plan, trespasses

pytestmark = pytest.mark.cluster
REFUSED = (400, 403, 422)


@pytest.fixture
def stored(cluster: Cluster, namespace: str) -> Iterator[Callable[[Object], Object | None]]:
    """The pod as the API server would store it, after defaults and admission; None: it refuses it.

    By the connection of launchers: the client library has its own mind of what a pod is.
    """
    with closing(Connection(partial(load_configuration, kubeconfig=str(cluster.kubeconfig), context=None))) as connection:

        def ask(pod: Object) -> Object | None:
            path = f"/api/v1/namespaces/{namespace}/pods"
            reply = connection.call(Request("POST", path, {"dryRun": "All"}, json.dumps(pod).encode()), seconds=10)
            assert reply.ok or reply.status in REFUSED, reply
            return reply.json() if reply.ok else None

        yield ask


@pytest.mark.parametrize("name", POLICIES)
def test_a_hostile_pod_is_refused_or_harmless_as_it_is_stored(stored: Any, namespace: str, name: str) -> None:
    policy = POLICIES[name]
    planned = {case: plan(row, policy, namespace=namespace) for case, row in ROWS.items()}
    answers = {case: (pod, stored(pod)) for case, pod in planned.items() if not isinstance(pod, str)}
    kept = {case: pods for case, pods in answers.items() if pods[1] is not None}
    found = {case: list(trespasses(pod, policy, namespace=namespace)) for case, (_, pod) in kept.items()}
    assert {case: what for case, what in found.items() if what} == {}
    assert {case: (asked, made) for case, (asked, made) in kept.items() if names_in(made) != names_in(asked)} == {}
    assert len(ROWS) - len(kept) >= 60
    assert {"a connection alone", "a bigger folder for temporary files", "a deadline"} <= kept.keys()


def names_in(pod: Object) -> set[str]:
    """Of containers and volumes. The server adds none, as no token is mounted."""
    kinds = ("containers", "initContainers", "ephemeralContainers", "volumes")
    return {f"{kind}/{item['name']}" for kind in kinds for item in pod["spec"].get(kind) or []}
