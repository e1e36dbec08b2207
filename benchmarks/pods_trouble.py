"""A real cluster that does nothing for its launcher for a while, with 200 tasks under way: none pays for it, people are told.

The launcher has the rights that the manifests give it, and no others; each trouble is made with those of the measuring thread.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import (
    AuthenticationV1TokenRequest,
    RbacAuthorizationV1Api,
    V1Namespace,
    V1ObjectMeta,
    V1ServiceAccount,
    V1TokenRequestSpec,
)
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import Ground, ground, pause, shell, size, wait_until
from cluster.kube import RESTRICTED
from halfstep.errors import HalfstepError
from halfstep.producer import NewTask, enqueue_many
from halfstep.troubles import TroubleBook
from ports import free_port

TASKS = size("TROUBLE_TASKS", 200)
UNDER_WAY = 20
"""So many have ended when the trouble begins; about as many run, and the others are being made or wait."""
AWAY_SECONDS = (1.0, 10.0, 60.0)
ANONYMOUS_SECONDS = 20.0
TOLD_SECONDS = 10.0
DONE_SECONDS = 60.0
HOME = "default"
"""Where the launcher's account is: not in the namespace that goes."""
ACCOUNT = "halfstep-launcher"
OVER = ("succeeded", "failed", "cancelled")


def trouble_bars(url: str) -> list[Bar]:
    """Each kind on a ground of its own."""
    kinds: dict[str, Callable[[Scene], None]] = {
        **{f"no right for {seconds:.0f} s": _without_right(seconds) for seconds in AWAY_SECONDS},
        "API server restarted": _restarted,
        "kubeconfig anonymous": _anonymous,
        "namespace terminated and made again": _terminated,
    }
    bars: list[Bar] = []
    for name, happen in kinds.items():
        print(f"  {name} …", file=sys.stderr, flush=True)
        with ground(url) as here, _scene(here) as scene:
            try:
                happen(scene)
                bars += scene.bars(name)
            except HalfstepError as error:
                bars.append(Bar(name, str(error), "measured", ok=False))
            finally:
                here.end_launchers()
                scene.leave_nothing()
    return bars


MEASUREMENTS: dict[str, Measure] = {"trouble": trouble_bars}


@dataclass(slots=True)
class Scene:
    """One launcher, its tasks and its rights. moments: when it was first told, by place, in seconds from the trouble's begin."""

    here: Ground
    kubeconfig: Path
    port: int
    tasks: list[int] = field(default_factory=list)
    moments: dict[str, float] = field(default_factory=dict)
    begun: float = 0.0
    ended: float = 0.0
    log: Path = Path()

    @property
    def rbac(self) -> Any:
        """The API of roles."""
        return RbacAuthorizationV1Api(self.here.cluster.api)

    def start(self, *, token: str | None = None) -> None:
        """The launcher. token None: nobody's."""
        self.write_kubeconfig(token)
        ours = replace(self.here, cluster=replace(self.here.cluster, kubeconfig=self.kubeconfig))
        self.log = self.here.folder / "trouble.log"
        ours.launcher("trouble", environment={"HALFSTEP_METRICS": f"127.0.0.1:{self.port}"})

    def write_kubeconfig(self, token: str | None) -> None:
        """In one step, as whoever rotates credentials should."""
        config = yaml.safe_load(self.here.cluster.kubeconfig.read_text())
        config["users"] = [{"name": "launcher", "user": {} if token is None else {"token": token}}]
        for context in config["contexts"]:
            context["context"]["user"] = "launcher"
        beside = self.kubeconfig.with_suffix(".new")
        beside.write_text(yaml.safe_dump(config))
        beside.rename(self.kubeconfig)

    def token(self) -> str:
        """Of the launcher's account."""
        body = AuthenticationV1TokenRequest(spec=V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
        core: Any = self.here.cluster.core
        return str(core.create_namespaced_service_account_token(self.account, HOME, body).status.token)

    @property
    def account(self) -> str:
        """Its name."""
        return f"{ACCOUNT}-{self.here.namespace}"

    def grant(self) -> None:
        """The Role and RoleBinding of the manifests, here."""
        for each in yaml.safe_load_all((Path("manifests") / "base" / "accounts.yaml").read_text()):
            if each["kind"] not in ("Role", "RoleBinding") or each["metadata"]["name"] != ACCOUNT:
                continue
            each["metadata"]["namespace"] = self.here.namespace
            for subject in each.get("subjects", []):
                subject |= {"namespace": HOME, "name": self.account}
            create = getattr(self.rbac, f"create_namespaced_{'role' if each['kind'] == 'Role' else 'role_binding'}")
            with suppress_exists():
                create(self.here.namespace, each)

    def set_out(self) -> None:
        """All tasks are there, and some have ended."""
        script = 'sleep 2; echo done > /dev/stderr; echo "1" > /dev/termination-log'
        self.tasks = enqueue_many(self.here.database, [NewTask("pod", shell(script), {"placement": "pod"}) for _ in range(TASKS)])
        wait_until(lambda: self.over() >= UNDER_WAY, seconds=180, what=f"the end of {UNDER_WAY} tasks")

    def over(self) -> int:
        """How many have ended."""
        return sum(state in OVER for state in self.here.reports.states(self.tasks).values())

    def begin(self) -> None:
        """The trouble begins now."""
        self.begun = time.monotonic()

    def look(self, seconds: float) -> None:
        """Lets it last, and notes who says so."""
        while time.monotonic() - self.begun < seconds:
            self.note()
            pause(0.2)

    def note(self) -> None:
        """Where it is told by now."""
        told = {
            "log": "the API server answers" in self.log.read_text(),
            "doctor": bool(TroubleBook(self.here.database).list()),
            "readiness": "API server" in self._readyz(),
        }
        for place in (place for place, there in told.items() if there):
            self.moments.setdefault(place, time.monotonic() - self.begun)

    def finish(self) -> None:
        """The trouble is over, and all tasks end."""
        self.ended = time.monotonic()
        with suppress(HalfstepError):  # those that are not over are counted
            wait_until(lambda: self.over() == TASKS, seconds=DONE_SECONDS * 3, what="the end of all tasks")
        self.ended = time.monotonic() - self.ended

    def bars(self, name: str) -> list[Bar]:
        """What became of it. Trouble of a second is over before anybody could ask for it: the log has it."""
        shown = [self.here.reports.show(task) for task in self.tasks]
        failed = [report["id"] for report in shown if report["state"] != "succeeded"]
        used = [report["id"] for report in shown if report["failures"] or report["deaths"]]
        places = ["log"] if name in ("no right for 1 s", "API server restarted") else ["log", "doctor", "readiness"]
        late = [place for place in places if self.moments.get(place, float("inf")) > TOLD_SECONDS]
        moments = ", ".join(f"{place} after {seconds:.1f} s" for place, seconds in self.moments.items()) or "nowhere"
        for report in shown:
            if report["id"] in failed or report["id"] in used:
                print(f"  {report['id']}: {report['state']}, {report['reason']}, {report['error']}", file=sys.stderr, flush=True)
        return [
            Bar(f"{name}: tasks that did not succeed", f"{len(failed)} of {TASKS}", "0", not failed),
            Bar(f"{name}: tasks that used up an attempt", f"{len(used)} of {TASKS}", "0", not used),
            Bar(f"{name}: all done after its end", f"{self.ended:.0f} s", f"<= {DONE_SECONDS:.0f} s", self.ended <= DONE_SECONDS),
            Bar(f"{name}: told", moments, f"{', '.join(places)} within {TOLD_SECONDS:.0f} s", not late),
        ]

    def leave_nothing(self) -> None:
        """The account goes; the namespace goes with its ground."""
        core: Any = self.here.cluster.core
        with suppress(ApiException):
            core.delete_namespaced_service_account(self.account, HOME)

    def _readyz(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""


@contextmanager
def _scene(here: Ground) -> Iterator[Scene]:
    scene = Scene(here, here.folder / "kubeconfig", free_port())
    core: Any = here.cluster.core
    core.create_namespaced_service_account(HOME, V1ServiceAccount(metadata=V1ObjectMeta(name=scene.account)))
    scene.grant()
    yield scene


@contextmanager
def suppress_exists() -> Iterator[None]:
    """What is there already is fine."""
    try:
        yield
    except ApiException as error:
        if error.status != 409:
            raise


# -- the kinds


def _without_right(seconds: float) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.start(token=scene.token())
        scene.set_out()
        scene.begin()
        scene.rbac.delete_namespaced_role_binding(ACCOUNT, scene.here.namespace)
        scene.look(seconds)
        scene.grant()
        scene.note()
        scene.finish()

    return happen


def _restarted(scene: Scene) -> None:
    server = _own_api_server()
    scene.start(token=scene.token())
    scene.set_out()
    os.kill(server, signal.SIGTERM)
    wait_until(lambda: not _answers(scene.here), seconds=120, what="the API server's silence: it ends in peace")
    scene.begin()
    while _is_server(server) or not _answers(scene.here):
        scene.note()
        pause(0.2)
    scene.note()
    scene.finish()


def _anonymous(scene: Scene) -> None:
    """From the start, as by a file that was mounted too late."""
    scene.start()
    script = 'echo "1" > /dev/termination-log'
    scene.tasks = enqueue_many(
        scene.here.database, [NewTask("pod", shell(script), {"placement": "pod"}) for _ in range(TASKS)]
    )  # fmt: skip
    wait_until(scene.log.exists, seconds=30, what="the launcher's log")
    wait_until(lambda: "serves" in scene.log.read_text(), seconds=30, what="the launcher's start")
    scene.begin()
    scene.look(ANONYMOUS_SECONDS)
    scene.write_kubeconfig(scene.token())
    scene.finish()


def _terminated(scene: Scene) -> None:
    """Pods that run are deleted with it: disruptions, which use up no attempt."""
    core: Any = scene.here.cluster.core
    scene.start(token=scene.token())
    scene.set_out()
    scene.begin()
    core.delete_namespace(scene.here.namespace)
    while not _is_gone(core, scene.here.namespace):
        scene.note()
        pause(0.2)
        if time.monotonic() - scene.begun > 180:
            raise HalfstepError("The namespace has not gone within 180 s.")
    scene.look(time.monotonic() - scene.begun + 5.0)
    core.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=scene.here.namespace, labels=RESTRICTED)))
    scene.grant()
    scene.finish()


def _is_gone(core: Any, namespace: str) -> bool:
    try:
        core.read_namespace(namespace)
    except ApiException as error:
        return bool(error.status == 404)
    return False


def _answers(here: Ground) -> bool:
    try:
        here.cluster.core.get_api_resources(_request_timeout=2)
    except (ApiException, HTTPError, OSError):
        return False
    return True


def _own_api_server() -> int:
    """Of the harness's cluster, in whose network we are: its node starts it again. Raises HalfstepError elsewhere."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _is_server(int(folder.name)):
            return int(folder.name)
    raise HalfstepError("Only the API server of our own cluster can be restarted; `make bars ROOM=pods` starts one.")


def _is_server(pid: int) -> bool:
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        beside = Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    except OSError:
        return False
    return beside and Path(program.decode(errors="replace")).name == "kube-apiserver"
