"""What `halfstep doctor` says of who is not served, and of ScaledObjects: those that a scaler refuses, and those of a cluster."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.scaling import ScalingBook
from halfstep.visible import visible_line
from halfstep_cli.commands.scaled_objects import Looking
from halfstep_cli.commands.scaled_objects import _findings as findings_of
from halfstep_scaler.direct import cluster

Json = dict[str, Any]
WORDS = ("type", "status", "metadata", "spec", "triggers", "conditions", "queues", "scalerAddress", "message", "reason")
ALL = [{"placement": "worker", "cluster": "", "queues": None}]


@pytest.fixture(autouse=True)
def book(database: Database) -> Iterator[ScalingBook]:
    database.execute("DELETE FROM halfstep.scaler")
    yield ScalingBook(database)
    database.execute("DELETE FROM halfstep.scaler")


def lines(said) -> dict[str, str]:
    return {line[4:].partition(":")[0]: line for line in said.out.splitlines()}


def waits(database: Database, *, seconds: float = 120, number: int = 1, **options: Any) -> None:
    for _ in range(number):
        enqueue(database, "bash" if "placement" not in options else "pod", {"command": "true", "image": "x"}, **options)
    sql = "UPDATE halfstep.task SET run_at = clock_timestamp() - make_interval(secs => %(s)s)"
    database.execute(sql, {"s": seconds})


def test_tasks_that_nobody_serves_are_named_with_what_to_start(halfstep, database, make_worker):
    make_worker()
    waits(database, queue="etl", placement="pod", cluster="gpu", number=2)
    waits(database, queue="etl", placement="pod")
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)["unserved"] == (
        "no  unserved: tasks that no worker serves: 2 in queue etl with placement pod on cluster gpu; 1 in queue etl with "
        "placement pod on cluster default -> halfstep worker --queues etl --placement pod --cluster gpu, "
        "or a ScaledObject that names the queue."
    )
    make_worker(placement="pod", cluster="gpu")
    make_worker(placement="pod")
    assert halfstep("doctor").code == 0


def test_how_long_they_may_wait_is_an_argument(halfstep, database, make_worker):
    make_worker()
    waits(database, queue="etl", placement="pod", seconds=30)
    assert halfstep("doctor").code == 0
    assert halfstep("doctor", "--unserved-after", "20").code == 1
    assert halfstep("doctor", "--unserved-after", "-1").code == 2


def test_of_many_groups_some_are_named(halfstep, database):
    for number in range(9):
        waits(database, queue=f"q{number}")
    assert lines(halfstep("doctor"))["unserved"].count("in queue") == 5
    assert "; and 4 more groups" in lines(halfstep("doctor"))["unserved"]


def test_at_zero_workers_all_is_well_while_a_scaler_knows_that_some_are_wanted(halfstep, database, book):
    waits(database, queue="etl")
    book.wait_for(str(uuid.uuid4()), "scaler", [], targets=ALL)
    said = halfstep("doctor")
    assert said.code == 0, said.out
    assert "a scaler knows that workers are wanted" in lines(said)["workers"]
    waits(database, queue="etl", seconds=1000)
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)["workers"].endswith("Look at the ScaledObject and at its Deployment: kubectl describe.")


def test_a_scaler_for_other_queues_is_no_comfort(halfstep, database, book):
    waits(database, queue="etl")
    book.wait_for(str(uuid.uuid4()), "scaler", [], targets=[ALL[0] | {"queues": ["mail"]}])
    said = halfstep("doctor")
    assert said.code == 1
    assert {name for name, line in lines(said).items() if line.startswith("no")} == {"workers", "queues", "unserved"}


def test_what_a_scaler_refuses_is_listed_until_it_is_mended_or_the_scaler_gone(halfstep, database, book):
    id = str(uuid.uuid4())
    refused = [{"namespace": "shop", "name": f"w{n}", "sentence": f"No {n}."} for n in range(7)]
    book.wait_for(id, "scaler", [], targets=[], refused=refused)
    book.wait_for(str(uuid.uuid4()), "another", [], targets=[], refused=refused)
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)["scaled objects"].startswith("no  scaled objects: 7 refused. shop/w0: No 0. shop/w1: No 1.")
    assert "And 2 more. -> Mend" in lines(said)["scaled objects"]
    database.execute("UPDATE halfstep.scaler SET seen_at = seen_at - interval '61 s'")
    assert halfstep("doctor").code == 0


# -- the cluster


class Api:
    """An API server that knows ScaledObjects. `answer`: status and body for a path."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.fails: tuple[int, bytes] | None = None
        self.paths: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                api.paths.append(url.path)
                status, body = api.fails or (200, api.page(parse_qs(url.query)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, query: dict[str, list[str]]) -> bytes:
        """One object a page, so that pages are turned."""
        first = int(query.get("continue", ["0"])[0])
        more = str(first + 1) if first + 1 < len(self.objects) else ""
        return json.dumps({"metadata": {"continue": more}, "items": self.objects[first : first + 1]}).encode()

    def kubeconfig(self, folder: Path) -> str:
        made = folder / "kubeconfig"
        where = {"server": f"http://127.0.0.1:{self.server.server_port}"}
        context = {"cluster": "c", "user": "u"}
        made.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": context}],
            "clusters": [{"name": "c", "cluster": where}], "users": [{"name": "u", "user": {"token": "t0ken"}}],
        }))  # fmt: skip
        return str(made)


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def doctor(halfstep, api: Api, tmp_path: Path) -> Callable[..., Any]:
    return lambda *words: halfstep("doctor", "--kubernetes", "--kubeconfig", api.kubeconfig(tmp_path), *words)


def scaled(name: str = "workers", *, conditions: Any = (), kind: Any = "external-push", **metadata: Any) -> Json:
    given = {"scalerAddress": "halfstep-scaler.halfstep.svc:9443", "queues": "*"} | metadata
    trigger = {"type": kind, "metadata": {key: value for key, value in given.items() if value is not None}}
    status = {"conditions": conditions if isinstance(conditions, str) else list(conditions)}
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"triggers": [trigger]}, "status": status}


def condition(kind: str, status: str, message: str = "m") -> Json:
    return {"type": kind, "status": status, "reason": "R", "message": message}


WELL: dict[str, Json] = {
    "right metadata": scaled(slots="4"),
    "a value from a variable": scaled(queues=None, queuesFromEnv="QUEUES", slotsFromEnv="SLOTS"),
    "ready, active and without a fallback": scaled(
        conditions=[condition("Ready", "True"), condition("Active", "False"), condition("Fallback", "False")]
    ),
    "no status yet": {key: value for key, value in scaled().items() if key != "status"},
    "a status of another shape": scaled() | {"status": "?"},
    "conditions of another shape": scaled(conditions="?"),
    "hundreds of keys of KEDA's kind of trigger": scaled(kind="external"),
}
WRONG: dict[str, tuple[Json, str]] = {
    "a queue that can't be": (scaled(queues="a b"), "'a b' is no name of a queue."),
    "no queues": (scaled(queues=None), "queues is missing"),
    "an unknown key": (scaled(queue="etl"), "There is no metadata key 'queue'; known are"),
    "a key twice": (scaled(queuesFromEnv="Q"), "queues and queuesFromEnv are both given"),
    "an unknown key from a variable": (scaled(slotFromEnv="S"), "There is no metadata key 'slotFromEnv'"),
    "a cluster for workers": (scaled(cluster="gpu"), "cluster gpu is for placement pod"),
    "a number where text belongs": (scaled(slots=0), "slots is a whole number from 1 to 20000, not '0'."),
    "a list where text belongs": (scaled(slots=["4"]), "slots is a whole number"),
    "more than a call may hold": (scaled(queues="q" * 70_000), "longer than 64 KiB"),
    "a value that turns the line round": (scaled(placement="\u202epod"), "not '\\u202epod'"),
    "not ready": (
        scaled(conditions=[condition("Ready", "False", "no metric specs returned from scalers")]),
        "Ready is False (R): no metric specs returned from scalers",
    ),
    "not ready for a reason of ten thousand lines": (scaled(conditions=[condition("Ready", "Unknown", "m\n" * 10_000)]), "m m m"),
    "fallen back": (scaled(conditions=[condition("Fallback", "True")]), "Fallback is True (R): m"),
    "an object without a name": (scaled(queues="a b") | {"metadata": 7}, "ScaledObject None/None"),
}
NOT_OURS: dict[str, Any] = {
    "another scaler": scaled(scalerAddress="other:1"),
    "no address": scaled(scalerAddress=None),
    "another kind of trigger": scaled(kind="cron"),
    "a trigger without a kind": scaled(kind=None),
    "no spec": {"metadata": {}},
    "a spec that is a list": {"metadata": {}, "spec": []},
    "triggers that are a map": {"spec": {"triggers": {"type": "external"}}},
    "a trigger that is a number": {"spec": {"triggers": [7]}},
    "metadata that are a text": {"spec": {"triggers": [{"type": "external", "metadata": "x"}]}},
    "no object": 7,
}


@pytest.mark.parametrize("found", WELL.values(), ids=WELL)
def test_a_scaled_object_is_well_with(found: Json, doctor, api: Api) -> None:
    api.objects = [found]
    said = doctor()
    assert said.code == 0, said.out
    assert lines(said)["kubernetes"] == "ok  kubernetes: 0 of 1 ScaledObjects that ask a scaler are wrong"


@pytest.mark.parametrize(("found", "words"), WRONG.values(), ids=WRONG)
def test_a_scaled_object_is_named_that_has(found: Json, words: str, doctor, api: Api) -> None:
    api.objects = [scaled("right"), found, *NOT_OURS.values()]
    said = doctor()
    assert said.code == 1
    (line,) = [line for line in said.out.splitlines() if line.startswith("no  ScaledObject")]
    assert words in line
    assert len(line) < 600
    assert line.isprintable()
    assert lines(said)["kubernetes"] == "no  kubernetes: 1 of 2 ScaledObjects that ask a scaler are wrong"


@pytest.mark.parametrize("found", NOT_OURS.values(), ids=NOT_OURS)
def test_what_does_not_ask_a_scaler_of_ours_is_passed_by(found: Any, doctor, api: Api) -> None:
    api.objects = [found]
    said = doctor()
    assert said.code == 0
    assert lines(said)["kubernetes"].startswith("--  kubernetes: no ScaledObject asks a scaler at halfstep-scaler*")


def test_of_a_thousand_wrong_ones_some_are_named(doctor, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Api, "page", lambda self, query: json.dumps({"metadata": {}, "items": self.objects}).encode())
    api.objects = [scaled(f"w{n}", queues="a b") for n in range(1000)]
    said = doctor()
    assert said.out.count("no  ScaledObject") == 20
    assert "1000 of 1000" in lines(said)["kubernetes"]


def test_all_pages_are_read_and_only_the_namespace_that_was_named(doctor, api: Api) -> None:
    api.objects = [scaled(f"w{n}") for n in range(5)]
    assert "0 of 5" in lines(doctor())["kubernetes"]
    doctor("--namespace", "a/b")
    assert set(api.paths) == {"/apis/keda.sh/v1alpha1/scaledobjects", "/apis/keda.sh/v1alpha1/namespaces/a%2Fb/scaledobjects"}


def test_a_scaler_of_another_name_is_found_by_its_address(doctor, api: Api) -> None:
    api.objects = [scaled(scalerAddress="mine:9443", queues="a b")]
    assert doctor("--scaler-address", "mine:*").code == 1


FAILS: dict[str, tuple[int, bytes, str]] = {
    "no right": (403, b'{"message": "scaledobjects is forbidden"}', "may list scaledobjects.keda.sh"),
    "no login": (401, b"{}", "Log in to the cluster anew"),
    "no KEDA": (404, b"404 page not found", "Is KEDA installed there?"),
    "trouble of its own": (500, b"\xff" * 5000, "status 500"),
    "no JSON": (200, b"<html>", "is no JSON"),
    "JSON that goes down without end": (200, b"[" * 100_000, "is no JSON"),
    "no list": (200, b"[]", "is no list of objects"),
    "a list of another shape": (200, b'{"items": 7}', "is no list of objects"),
    "a list that has no end": (200, b'{"metadata": {"continue": "more"}, "items": []}', "has no end"),
    "a list without metadata": (200, b'{"items": []}', "is no list of objects"),
}


@pytest.mark.parametrize(("status", "body", "words"), FAILS.values(), ids=FAILS)
def test_an_api_server_that_answers_with(status: int, body: bytes, words: str, doctor, api: Api) -> None:
    api.fails = (status, body)
    said = doctor()
    assert said.code == 1
    assert words in lines(said)["kubernetes"]
    assert said.err == ""


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=4),
    max_leaves=12,
)


def near(value: Any) -> st.SearchStrategy[Any]:
    """The value, each part of it now and then something else."""
    if isinstance(value, dict):
        return VALUES | st.fixed_dictionaries({key: near(inner) for key, inner in value.items()})
    if isinstance(value, list):
        return VALUES | st.tuples(*map(near, value)).map(list)
    return st.just(value) | VALUES


@given(near(scaled(conditions=[condition("Ready", "False")], slots="x")))
def test_whatever_the_api_server_sends_there_are_findings_of_one_line(found: Any) -> None:
    objects = [found] if isinstance(found, dict) else []
    for finding in findings_of(objects, Looking()):
        assert visible_line(finding.name + finding.detail) == finding.name + finding.detail
        assert len(finding.detail) < 600


@pytest.mark.parametrize("token", ["a\nb", "\u5bb6"], ids=["the end of a line in it", "a letter of another script"])
def test_a_token_that_no_header_takes_is_a_finding(halfstep, api: Api, tmp_path: Path, token: str) -> None:
    file = Path(api.kubeconfig(tmp_path))
    given = yaml.safe_load(file.read_text())
    given["users"][0]["user"]["token"] = token
    file.write_text(yaml.safe_dump(given))
    said = halfstep("doctor", "--kubernetes", "--kubeconfig", str(file))
    assert said.code == 1
    assert "the token or password holds what no header can" in lines(said)["kubernetes"]


def test_a_cluster_that_is_not_there_is_a_finding_and_no_traceback(halfstep, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    said = halfstep("doctor", "--kubernetes")
    assert said.code == 1
    assert "this pod's service account can't be used" in lines(said)["kubernetes"]
    said = halfstep("doctor", "--kubernetes", "--kubeconfig", str(tmp_path / "none"))
    assert "can't be used: " in lines(said)["kubernetes"]


def test_without_being_asked_doctor_knows_nothing_of_kubernetes(halfstep, monkeypatch) -> None:
    monkeypatch.setattr(cluster.Cluster, "_load", lambda self: pytest.fail("it reached for the API server"))
    assert "kubernetes" not in lines(halfstep("doctor"))
