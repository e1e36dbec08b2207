"""Hostile values at every place where a task, a cluster or a program speaks to a launcher, each beside an innocent neighbour.

One launcher meets them all: whatever the one task asks for or says, it ends by itself, and the other one ends well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from halfstep.outcomes import Succeeded
from halfstep_worker.kubernetes.frames import frame, seal
from isolation.launcher_ground import INNOCENT, NAMESPACE, Ground, marked
from kubernetes_fake import LosesReply, Says
from kubernetes_node import CASE, Edit, saying
from pod_builders import finished, pending, pod, waiting
from waiting import wait_until

LONG = "1" + "0" * 5000
DEEP = "[" * 3000 + "]" * 3000
ANY = ""
"""As a cause: it may well reach the cluster, and end as that says."""


@pytest.fixture(scope="module")
def ground(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    name = server.make_database()
    with closing(Ground(server.url(name), tmp_path_factory.mktemp("ground"))) as made:
        made.launch()
        yield made
    server.drop(name)


def beside(ground: Ground, operator: str, args: str, **options: Any) -> Any:
    """How the task ends; its neighbour, claimed with it, ends well, and the launcher is the one that began."""
    task, neighbour = ground.enqueue((operator, args), ("pod", INNOCENT), **options)
    told = ground.ended(neighbour)
    assert (told["state"], told["result"]) == ("succeeded", {"exit_code": 0})
    report = ground.ended(task)
    assert ground.launchers[0].poll() is None
    return report


# -- what a task asks for


class Case(NamedTuple):
    """args: JSON text. words: in the sentence that its user reads."""

    args: str
    words: str = "pod"
    reason: str = "invalid"
    operator: str = "pod"


def yaml(text: str) -> str:
    """With a template in YAML or JSON text."""
    return json.dumps({"template": text})


def spec(value: Any, **more: Any) -> str:
    """With a template that has this in its spec."""
    return json.dumps({"template": {"spec": {"containers": [{"name": "a", "image": "x"}]} | value} | more})


def image(**more: Any) -> str:
    return json.dumps({"image": "x"} | more)


MANY = [{"name": f"c{n}", "image": "x"} for n in range(7500)]

REFUSED = {
    # numbers
    "a number of 5,000 digits": Case(f'{{"image": "x", "env": {{"A": {LONG}}}}}', "4300 digits"),
    "1e5000": Case('{"image": "x", "startup_timeout": 1e5000}', "4300 digits"),
    "-1e5000 where nobody looks": Case('{"image": "x", "affinity": {"a": -1e5000}}', "4300 digits"),
    "1e5000 for a function": Case('{"function": "shop:f", "args": [1e5000]}', "4300 digits", operator="python"),
    "1e5000 in the settings of another operator's pod": Case(
        '{"command": "true", "pod": {"startup_timeout": 1e5000}}', "4300 digits", operator="bash"
    ),
    "1e5000 as a key": Case('{"image": "x", "1e5000": 1}', "no argument"),
    "a number of 401 digits": Case('{"image": "x", "active_deadline_seconds": 1e400}', "more than 30 digits"),
    "a quantity of 401 digits": Case('{"image": "x", "resources": {"limits": {"cpu": 1e400}}}', "more than 30 digits"),
    "a timeout beyond all time": Case('{"image": "x", "startup_timeout": 1e29}', "at most a year"),
    "a grace beyond all time": Case('{"image": "x", "grace_seconds": 99999999999}', "at most a year"),
    "a grace beyond all time in a template": Case(spec({"terminationGracePeriodSeconds": 10**29}), "to a year"),
    "a grace of true": Case(spec({"terminationGracePeriodSeconds": True}), "to a year"),
    "NaN in YAML": Case(yaml("spec: {priority: .nan}"), "put it into quotes"),
    "infinity in YAML": Case(yaml("spec: {priority: -.inf}"), "put it into quotes"),
    "1e999 in YAML": Case(yaml("spec: {priority: 1.0e+999}"), "put it into quotes"),
    "a hexadecimal number of 6,000 digits in YAML": Case(yaml("spec: {priority: 0x" + "f" * 6000 + "}"), "more than 30 digits"),
    "a binary number in YAML": Case(yaml("spec: {priority: 0b" + "1" * 15000 + "}"), "more than 30 digits"),
    "a number to the base of 60 in YAML": Case(yaml("spec: {priority: 1" + ":59" * 5000 + "}"), "more than 30 digits"),
    "a decimal number of 5,000 digits in YAML": Case(yaml(f"spec: {{priority: {LONG}}}"), "neither YAML nor JSON"),
    "a key of 6,000 digits in YAML": Case(yaml("spec: {? 0x" + "f" * 6000 + " : 1}"), "more than 30 digits"),
    "1e999 in JSON": Case(yaml('{"spec": {"priority": 1e999}}'), "put it into quotes"),
    "NaN in JSON": Case(yaml('{"spec": {"priority": NaN}}'), "put it into quotes"),
    "5,000 digits in JSON": Case(yaml(f'{{"spec": {{"priority": {LONG}}}}}'), "neither YAML nor JSON"),
    # depth
    "nested 3,000 levels deep": Case(f'{{"image": "x", "affinity": {{"a": {DEEP}}}}}', "nested"),
    "nested 3,000 levels deep for a function": Case(f'{{"function": "a:b", "args": {DEEP}}}', "nested", operator="python"),
    "nested 3,000 levels deep for a request": Case(f'{{"url": "http://x", "json": {DEEP}}}', "nested", operator="http"),
    "nested 61 levels deep": Case('{"image": "x", "affinity": ' + '{"a":' * 61 + "1" + "}" * 61 + "}", "60 levels"),
    "nested deep in JSON text": Case(yaml('{"spec": ' + DEEP + "}"), "60 levels"),
    "nested deep in YAML text": Case(yaml("spec: " + "[" * 4000), "60 levels"),
    # widths
    "7,500 containers": Case(image(init_containers=MANY), "at most fit"),
    "a template that is too large": Case(yaml("# " + "x" * 70_000), "16 KiB"),
    "a name of 60,000 characters that is none": Case(image(**{"k" * 60_000: 1}), "has no argument"),
    "a key of 60,000 characters that is none": Case(json.dumps({"template": {"k" * 60_000: 1}}), "has no key"),
    "a connection of 60,000 characters": Case(
        json.dumps({"connection": "c" * 60_000, "statement": "x"}), "no Secret", operator="sql"
    ),
    # YAML's own
    "bytes": Case(yaml("spec: {a: !!binary AAAA}"), "put it into quotes"),
    "a set": Case(yaml("spec: {a: !!set {b}}"), "put it into quotes"),
    "pairs": Case(yaml("spec: {a: !!pairs [b: c]}"), "put it into quotes"),
    "a date": Case(yaml("metadata: {labels: {a: 2026-11-30}}\nspec: {}"), "put it into quotes"),
    "a date that is none": Case(yaml("spec: {a: 2026-99-99}"), "neither YAML nor JSON"),
    "an empty number": Case(yaml("spec: {a: !!int ''}"), "neither YAML nor JSON"),
    "a program": Case(yaml("!!python/object/apply:os.system ['true']"), "neither YAML nor JSON"),
    "an alias of itself": Case(yaml("spec: &a [*a]"), "aliases"),
    "a merge with a number": Case(yaml("spec: {<<: 1}"), "neither YAML nor JSON"),
    "a list as a key": Case(yaml("? [a]\n: b"), "neither YAML nor JSON"),
    "true as a key": Case(yaml("spec: {yes: 1}"), "put it into quotes"),
    "half of a surrogate pair as a key": Case(json.dumps({"template": '{"\\ud800": 1}'}), "has no key"),
    "two documents": Case(yaml("a: 1\n---\nb: 2"), "neither YAML nor JSON"),
    # shapes
    "no object as a template": Case(json.dumps({"image": "x", "template": [1]}), "must be"),
    "a number as a spec": Case(json.dumps({"template": {"spec": 1}}), "must be an object"),
    "a list as metadata": Case(json.dumps({"template": {"metadata": []}}), "must be an object"),
    "labels that are a string": Case(json.dumps({"template": {"metadata": {"labels": "a"}}}), "must be an object"),
    "containers that are an object": Case(json.dumps({"template": {"spec": {"containers": {}}}}), "must be a list"),
    "a container that is null": Case(json.dumps({"template": {"spec": {"containers": [None]}}}), "with a name"),
    "a container called 1": Case(json.dumps({"template": {"spec": {"containers": [{"name": 1}]}}}), "with a name"),
    "a volume without a name": Case(image(volumes=[{"emptyDir": {}}]), "needs a 'name'"),
    "env as a list": Case(image(env=["A=b"]), "must be an object"),
    "an item that is null": Case(image(tolerations=[None]), "list of objects"),
    "a resource that is a list": Case(image(resources={"limits": [1]}), "requests"),
    "an image with a blank": Case(image(image="a b"), "without blanks"),
    "a namespace with a way out": Case(image(namespace="../other"), "no name for a namespace"),
    "settings that are a list": Case('{"command": "true", "pod": []}', "must be an object", operator="bash"),
    "settings that are a number of 401 digits": Case('{"command": "true", "pod": 1e400}', "must be an object", operator="bash"),
    "marks of halfstep's own": Case(image(labels={"halfstep.io/task": "1"}), "halfstep's own"),
    "another cluster": Case(image(cluster="moon"), "names cluster"),
    # the policy
    "a host's path": Case(image(volumes=[{"name": "a", "hostPath": {"path": "/"}}]), "hostPath", "policy"),
    "a security context that is a string": Case(spec({"securityContext": "x"}), "allow_root", "policy"),
    "a security context that is a number": Case(
        spec({"containers": [{"name": "a", "image": "x", "securityContext": 1}]}, kind="Pod"), ANY, "policy"
    ),
    "an account that is an object": Case(spec({"serviceAccountName": {"a": 1}}), "Service account", "policy"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_can_never_be_a_pod_ends_at_once_for_good_and_says_why(ground: Ground, case: Case) -> None:
    report = beside(ground, case.operator, case.args)
    assert (report["state"], report["reason"], report["attempt"]) == ("failed", case.reason, 1)
    assert case.words in report["error"]
    assert "can't make sense" not in report["error"], "a case that nobody has thought of"
    assert len(report["error"]) < 20_000


TAKEN = {
    "a quantity that is too large": image(resources={"limits": {"cpu": "1e999999"}}),
    "containers' settings of all shapes": spec(
        {"containers": [{"name": "main", "image": "x", "env": {"a": 1}, "resources": [], "volumeMounts": "x", "ports": 1}]}
    ),
    "labels of all shapes": spec({}, metadata={"labels": {"a": {"b": [1]}, "b": None, "": 7}, "annotations": {"c": [None]}}),
    "volumes of all shapes": spec({"volumes": [{"name": "a", "emptyDir": [1, {"b": None}]}]}),
    "a NUL in a name": yaml('spec: {containers: [{name: "a\\0b", image: "x\\0"}]}'),
    "half of a surrogate pair": yaml('{"spec": {"containers": [{"name": "a", "image": "\\ud800"}]}}'),
    "nothing but null": image(**dict.fromkeys(("env", "volumes", "template", "labels", "resources", "affinity"))),
    "keys that are empty": spec({"": "", "nodeSelector": {"": ""}}),
}  # fmt: skip


@pytest.mark.parametrize("args", TAKEN.values(), ids=TAKEN.keys())
def test_what_only_an_api_server_can_judge_is_left_to_it(ground: Ground, args: str) -> None:
    assert beside(ground, "pod", args)["state"] == "succeeded"


def test_a_template_in_a_file_of_the_source_folder_is_read_as_carefully(ground: Ground) -> None:
    for number, content in enumerate(
        (b"\xff\xfe", b"spec: {a: .nan}", b"[" * 60_000, b'{"spec": {"a": ' + LONG.encode() + b"}}")
    ):
        (ground.source / f"{number}.yaml").write_bytes(content)
        report = beside(ground, "pod", json.dumps({"template": {"file": f"{number}.yaml"}}))
        assert (report["state"], report["reason"]) == ("failed", "invalid")


# -- what the cluster and the program say


def message(text: str, code: int = 0) -> list[Edit]:
    return [saying(finished(code, None, text))]


def ends_with(**status: Any) -> list[Edit]:
    return [saying(finished(**status))]


def has(where: str, value: Any, *, there: Callable[[], dict[str, Any]] = finished) -> list[Edit]:
    """A pod with this value at a place in its object."""

    def edit(thing: dict[str, Any]) -> None:
        thing.update(status=there()["status"])
        *path, last = (int(word) if word.isdigit() else word for word in where.split("."))
        for word in path:
            thing = thing[word]  # type: ignore[index,assignment]
        thing[last] = value  # type: ignore[index]

    return [edit]


HUGE = 10**400
RETRY = json.dumps({"halfstep": 1, "kind": "retry", "body": json.dumps(["later", HUGE, "mine", True])})
END = "status.containerStatuses.0.state.terminated"

SAID = {
    "a NUL": (message("a\0b"), "succeeded"),
    "a NUL as the last words": (message("a\0b", 7), "failed"),
    "half of a surrogate pair": (message("\ud800"), "succeeded"),
    "half of a surrogate pair as the last words": (message("\ud800" * 2000, 7), "failed"),
    "a result of 5,000 digits": (message(LONG[:4000]), "succeeded"),
    "a result that is infinite": (message('{"a": 1e999}'), "failed"),
    "a result of too many digits": (message('{"a": 1e-99999}'), "failed"),
    "a result that is NaN": (message('{"a": NaN}'), "succeeded"),
    "a result with a NUL": (message('{"a": "\\u0000"}'), "failed"),
    "a result with a NUL that a reader passes over": (message('{"a": "\\u0000", "a": 1}'), "succeeded"),
    "a result with half of a surrogate pair": (message('["\\ud800"]'), "failed"),
    "a result that is nested deep": (message("[" * 2000 + "]" * 2000), None),
    "a message that is an object": (has(f"{END}.message", {"a": [1]}), None),
    "an exit code of 401 digits": (has(f"{END}.exitCode", HUGE), None),
    "an exit code that is text": (has(f"{END}.exitCode", "0"), None),
    "times that are none": (has(f"{END}.finishedAt", "yesterday"), None),
    "times that are numbers": (has("metadata.deletionTimestamp", 7), None),
    "a grace of 401 digits": (has("metadata.deletionGracePeriodSeconds", HUGE), "succeeded"),
    "a deadline of 401 digits": (has("spec.activeDeadlineSeconds", HUGE), "succeeded"),
    "a status that is a list": ([lambda pod: pod.update(status=[1]), saying(finished())], "succeeded"),
    "conditions that are text": (has("status.conditions", ["Ready", None, {"type": []}]), "succeeded"),
    "container statuses that are an object": (
        [*has("status.containerStatuses", {"main": 1}, there=pod), saying(finished())], "succeeded",
    ),
    "a reason that is a list": (has("status.reason", ["Evicted"]), None),
    "restarts of 401 digits": (has("status.containerStatuses.0.restartCount", HUGE), "succeeded"),
    "a NUL in why it waits": (
        [saying(pending(waiting("ErrImagePull", "no \0 such \ud800 image"))), saying(finished())], "succeeded",
    ),
    "a NUL in the image": (
        [*has("status.containerStatuses.0.image", "x\0", there=lambda: pending(waiting("ErrImagePull"))), saying(finished())],
        "succeeded",
    ),
    "a NUL in the node's name": (has("spec.nodeName", "node\0"), "succeeded"),
    "a name that can't be an image's": ([saying(pending(waiting("InvalidImageName", "bad \0 name")))], "failed"),
    "containers that are text": (has("spec.containers", "main"), "succeeded"),
    "containers without names": (has("spec.containers", [{}, None, {"name": 7}, {"name": "main"}]), "succeeded"),
    "labels of another attempt": (
        [lambda pod: pod["metadata"]["annotations"].update({"halfstep.io/x": [1]}), saying(finished())], "succeeded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_whatever_is_said_of_a_pod_ends_no_other(ground: Ground, name: str) -> None:
    ground.node.scripts[name], state = SAID[name]
    report = beside(ground, "pod", marked(name), at_most_once=True)
    assert state in (None, report["state"])
    assert report["state"] != "failed" or report["error"]


def test_a_pod_whose_uid_is_not_told_is_waited_for_and_said_so(ground: Ground) -> None:
    """Whether it is the task's nobody can know: another pod by its name would look the same."""
    uids: list[str] = []

    def hide(thing: dict[str, Any]) -> None:
        uids.append(thing["metadata"]["uid"])
        thing.update(status=pod()["status"])
        thing["metadata"]["uid"] = None

    def show(thing: dict[str, Any]) -> None:
        thing["metadata"]["uid"] = uids[0]
        thing.update(status=finished()["status"])

    ground.node.scripts["no uid"] = [hide]
    task, neighbour = ground.enqueue(("pod", marked("no uid")), ("pod", INNOCENT))
    assert ground.ended(neighbour)["state"] == "succeeded"
    wait_until(lambda: "can't be looked at" in str(ground.reports.show(task)["why"]), what="why it waits")
    name = ground.reports.show(task)["attempts"][-1]["pod"]["name"]
    ground.fake.store.change(name, show, namespace=NAMESPACE)
    assert ground.ended(task)["state"] == "succeeded"


NESTED = json.dumps([[[["\ud800\0"]]], {"a": 1}])

LEFT = {
    "a retry in 401 digits of seconds": (RETRY, 1),
    "a retry in 300 digits of seconds": (RETRY.replace(str(HUGE), "1e300"), 1),
    "a kind that is a list": ('{"halfstep": 1, "kind": [], "body": "[]"}', 1),
    "a body that is none": ('{"halfstep": 1, "kind": "failed", "body": "[1, 2, 3, 4, 5, 6, 7]"}', 1),
    "an error that is nested": (f'{{"halfstep": 1, "kind": "failed", "body": {json.dumps(NESTED)}}}', 1),
    "a version that is a list": ('{"halfstep": [1]}', 1),
    "a digest that is an object": ('{"halfstep": 1, "digest": {}}', 1),
    "a result that is no JSON": ('{"halfstep": 1, "kind": "succeeded", "body": "NaN,"}', 0),
    "a result that is an object": ('{"halfstep": 1, "kind": "succeeded", "body": {"a": 1}}', 0),
    "a number": (LONG[:4000], 0),
    "5,000 brackets": ("[" * 4000, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_whatever_a_body_s_program_leaves_is_an_end_of_its_own(ground: Ground, name: str) -> None:
    text, code = LEFT[name]
    ground.node.scripts[name] = message(text, code)
    args = json.dumps({"command": "true", "pod": {"annotations": {CASE: name}}})
    report = beside(ground, "bash", args, max_attempts=1)
    assert report["state"] == "failed"
    assert report["error"]


PRINTED = {
    "progress that is no JSON": "NaN} nonsense",
    "progress that would be another's": '1},{"id":1,"token":null,"progress":2',
    "progress of 5,000 digits": LONG,
    "progress that is nested deep": DEEP,
    "progress with a NUL": '"\\u0000"',
    "progress with half of a surrogate pair": '"\\ud800"',
}


@pytest.mark.parametrize("name", PRINTED)
def test_whatever_a_body_prints_is_a_line_of_its_log_or_nothing(ground: Ground, name: str) -> None:
    def prints(pod: dict[str, Any]) -> None:
        log = ground.fake.logs[pod["metadata"]["name"], "main"]
        lines = [
            b"\0\xff\xfe\x1fhalfstep",
            b"\x1fhalfstep progress 7/3 AAAA",
            *map(str.encode, frame("progress", PRINTED[name])),
            b"last",
        ]
        log.extend((1_700_000_000_000_000_000 + n, line + b"\n") for n, line in enumerate(lines))

    ground.node.scripts[name] = [prints, *message(seal(Succeeded('"fine"')).message)]
    report = beside(ground, "bash", json.dumps({"command": "true", "pod": {"annotations": {CASE: name}}}))
    assert (report["state"], report["result"]) == ("succeeded", "fine")
    said = [line["text"] for _, line in ground.reports.log(report["id"])]
    assert said[-1] == "last"
    assert "progress 1/1" not in str(said)


ANSWERS = {
    "details that are text": Says(422, body=b'{"details": "x", "message": "no"}'),
    "causes that are text": Says(422, body=b'{"details": {"causes": ["x", null, {"field": 1, "message": [1]}]}}'),
    "a message that is an object": Says(422, body=b'{"message": {"a": 1}}'),
    "a message with a NUL": Says(403, body=b'{"message": "no \\u0000 \\ud800"}'),
    "a page": Says(400, body=b"<html>\xff</html>"),
    "5,000 digits": Says(400, body=LONG.encode()),
    "5,000 brackets": Says(400, body=b"[" * 5000),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_an_api_server_answers_to_a_create_is_told_to_its_task(ground: Ground, name: str) -> None:
    ground.fake.meet("create", ANSWERS[name])
    (task,) = ground.enqueue(("pod", INNOCENT))
    report = ground.ended(task)
    assert (report["state"], report["reason"]) == ("failed", "refused")
    (neighbour,) = ground.enqueue(("pod", INNOCENT))
    assert ground.ended(neighbour)["state"] == "succeeded"


UNREAD = {
    "no JSON": Says(201, body=b"<html>"),
    "no object": Says(201, body=b"[1]"),
    "no metadata": Says(201, body=b'{"metadata": "x"}'),
    "nothing": LosesReply(),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_create_whose_answer_makes_no_sense_is_asked_for_once_more_and_makes_one_pod(ground: Ground, name: str) -> None:
    ground.fake.meet("create", UNREAD[name])
    (task,) = ground.enqueue(("pod", INNOCENT))
    assert ground.ended(task)["state"] == "succeeded"
    (row,) = ground.database.execute("SELECT attempt_id::text AS attempt FROM halfstep.history WHERE id = %(id)s", {"id": task})
    assert ground.fake.accepted[f"hs-{row['attempt']}"] == 1


def test_all_of_it_was_met_by_one_launcher_and_nothing_is_left(ground: Ground) -> None:
    (task,) = ground.enqueue(("pod", INNOCENT))
    ground.ended(task)
    assert [launcher.poll() for launcher in ground.launchers] == [None]
    assert ground.database.execute("SELECT id FROM halfstep.task") == []
    ground.launchers[0].terminate()
    assert ground.launchers[0].wait(timeout=30) == 0
    assert Path(ground.log).read_text().count("Traceback") == 0
