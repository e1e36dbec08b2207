"""What doctor looks at in a cluster: the ScaledObjects that ask a scaler of ours, as the scaler itself would read them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer

from halfstep.errors import HalfstepError
from halfstep.visible import visible_line
from halfstep_cli.commands.findings import Finding

NAME = "kubernetes"
MOST_TOLD = 20
MOST_SAID = 400
MOST_BYTES = 64 * 1024
"""Of one trigger's metadata: a scaler takes no larger call, and gRPC refuses it before the scaler sees it."""
TYPES = ("external-push", "external")
KUBECONFIG = "KUBECONFIG"


@dataclass(frozen=True, slots=True)
class Looking:
    """Where to look."""

    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="Look at the cluster's ScaledObjects too.")] = False
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The API server for that. Default: as kubectl's, or the pod's account.", show_default=False
        ),
    ] = None
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only ScaledObjects of this namespace.", show_default=False)
    ] = None
    scaler_address: Annotated[
        str, typer.Option(metavar="PATTERN", help="Those whose scalerAddress is like this; * and ? stand for any characters.")
    ] = "halfstep-scaler*"


def examine_cluster(looking: Looking) -> Iterator[Finding]:
    """A finding for each ScaledObject that is wrong, and one for all."""
    from halfstep_scaler.direct.cluster import ApiError, Cluster

    try:
        cluster = Cluster(_kubeconfig(looking, os.environ))
        found = cluster.scaled_objects(looking.namespace or "")
    except ApiError as error:
        yield Finding(NAME, False, _cut(str(error)), _ADVICE.get(error.status, ""))
    except HalfstepError as error:
        yield Finding(NAME, False, _cut(str(error)))
    else:
        yield from _findings([each for each in found if isinstance(each, dict)], looking)


def _findings(objects: list[dict[str, Any]], looking: Looking) -> Iterator[Finding]:
    ours = [each for each in objects if _triggers(each, looking.scaler_address)]
    wrong = [(each, said) for each in ours if (said := _mistakes(each, looking.scaler_address))]
    for each, said in wrong[:MOST_TOLD]:
        yield Finding(f"ScaledObject {_name(each)}", False, _cut(" ".join(said)))
    if not ours:
        advice = "Give --scaler-address if the scaler has another name."
        yield Finding(NAME, None, f"no ScaledObject asks a scaler at {looking.scaler_address}", advice)
    else:
        yield Finding(NAME, not wrong, f"{len(wrong)} of {len(ours)} ScaledObjects that ask a scaler are wrong")


def _mistakes(found: Mapping[str, Any], address: str) -> list[str]:
    """A sentence for each: what its triggers say, and what KEDA says of it."""
    return [
        *(said for trigger in _triggers(found, address) if (said := _refused(trigger))),
        *_conditions(found),
    ]


def _refused(trigger: Mapping[str, Any]) -> str:
    """What the scaler would say, if it refuses this trigger; or why no task is ever like what it asks for."""
    from halfstep_scaler.errors import Refused
    from halfstep_scaler.metadata import before_variables, parse_metadata

    metadata = {str(key): str(value) for key, value in trigger["metadata"].items()}
    if sum(len((key + value).encode(errors="replace")) for key, value in metadata.items()) > MOST_BYTES:
        return f"The metadata are longer than {MOST_BYTES // 1024} KiB, so no scaler takes them."
    try:
        target = parse_metadata(before_variables(metadata))
    except Refused as refused:
        return str(refused)
    if target.placement == "worker" and target.cluster:
        return f"cluster {target.cluster} is for placement pod: tasks for workers name no cluster, so nothing is ever scaled."
    return ""


def _conditions(found: Mapping[str, Any]) -> list[str]:
    status = found.get("status")
    listed = status.get("conditions") if isinstance(status, dict) else None
    said = []
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and [each.get("type"), each.get("status")] in _WRONG:
            said.append(f"{each['type']} is {each['status']} ({each.get('reason')}): {each.get('message')}")
    return said


def _triggers(found: Mapping[str, Any], address: str) -> list[Mapping[str, Any]]:
    """Those that ask a scaler of ours."""
    spec = found.get("spec")
    listed = spec.get("triggers") if isinstance(spec, dict) else None
    return [
        each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
        and each.get("type") in TYPES
        and isinstance(each.get("metadata"), dict)
        and fnmatchcase(str(each["metadata"].get("scalerAddress", "")), address)
    ]


def _name(found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    return _cut(f"{named.get('namespace')}/{named.get('name')}")


def _cut(text: str) -> str:
    seen = visible_line(text)
    return seen if len(seen) <= MOST_SAID else seen[:MOST_SAID] + "…"


def _kubeconfig(looking: Looking, environment: Mapping[str, str]) -> str | None:
    """As kubectl chooses it; None: the account of the pod that this runs in."""
    usual = Path(environment.get("HOME") or "~").expanduser() / ".kube" / "config"
    return looking.kubeconfig or environment.get(KUBECONFIG) or (str(usual) if usual.is_file() else None)


_WRONG = [["Ready", "False"], ["Ready", "Unknown"], ["Fallback", "True"]]
_ADVICE = {
    401: "Log in to the cluster anew, or give --kubeconfig.",
    403: "Use an account that may list scaledobjects.keda.sh; --namespace asks for those of one namespace only.",
    404: "Is KEDA installed there?",
}
