"""`scaler`: settings from flags and the environment, and KEDA's external scaler itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halfstep.errors import InvalidSettings
from halfstep_cli.commands.worker import words
from halfstep_cli.logged import log_to_stderr
from halfstep_cli.options import add
from halfstep_cli.session import Session

if TYPE_CHECKING:
    from halfstep_scaler.settings import ScalerSettings, TlsFiles


@dataclass(frozen=True, slots=True)
class Door:
    """Who may ask, and how."""

    listen: Annotated[str, typer.Option(metavar="HOST:PORT", envvar="HALFSTEP_SCALER_LISTEN", help="Where KEDA asks.")] = (
        "127.0.0.1:9443"
    )
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE/NAME",
            envvar="HALFSTEP_SCALER_ALLOW",
            help="ScaledObjects that may ask; * and ? stand for any. Repeatable. Default: all, on a loopback address only.",
        ),
    ] = None
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="HALFSTEP_SCALER_TLS_CERT", help="PEM; read anew when it changes.")
    ] = None
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="HALFSTEP_SCALER_TLS_KEY", help="PEM; the certificate's key.")
    ] = None
    client_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="HALFSTEP_SCALER_CLIENT_CA", help="PEM; answer only clients certified by it."),
    ] = None
    insecure: Annotated[
        bool, typer.Option("--insecure", envvar="HALFSTEP_SCALER_INSECURE", help="No TLS, though others can reach the address.")
    ] = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How fresh what it tells is."""

    max_age: Annotated[
        float,
        typer.Option(metavar="SECONDS", envvar="HALFSTEP_SCALER_MAX_AGE", help="Tell no demand that is older; fail instead."),
    ] = 30.0
    poll: Annotated[
        float, typer.Option(metavar="SECONDS", envvar="HALFSTEP_SCALER_POLL", help="Read demand so often, and when notified.")
    ] = 1.0
    notify: Annotated[
        bool, typer.Option("--notify/--no-notify", envvar="HALFSTEP_NOTIFY", help="Listen for hints, besides polling.")
    ] = True


@dataclass(frozen=True, slots=True)
class Shown:
    """What others see of it."""

    name: Annotated[str | None, typer.Option(metavar="NAME", envvar="HALFSTEP_NAME", help="Default: HOST-PID.")] = None
    metrics: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", envvar="HALFSTEP_METRICS", help="Serve /metrics, /healthz, /readyz. Default: don't."),
    ] = None
    exporter: Annotated[
        bool,
        typer.Option("--exporter/--no-exporter", envvar="HALFSTEP_SCALER_EXPORTER", help="Export the queue's metrics too."),
    ] = True


@dataclass(frozen=True, slots=True)
class Direct:
    """What it does itself, besides telling KEDA."""

    direct_scale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE/NAME",
            envvar="HALFSTEP_SCALER_DIRECT_SCALE",
            help="Give the Deployment of this ScaledObject more replicas at once. Repeatable. Default: that is left to KEDA.",
        ),
    ] = None
    busy_aware: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE/NAME",
            envvar="HALFSTEP_SCALER_BUSY_AWARE",
            help="Take only replicas from it that hold no task. Repeatable. Its HPA must not scale down.",
        ),
    ] = None
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", envvar="HALFSTEP_SCALER_KUBECONFIG", help="The API server for these two. Default: the pod's account."
        ),
    ] = None


NOTHING = Direct()


def scaler(session: Session, door: Door, pace: Pace, shown: Shown, direct: Direct) -> int:
    """Tell KEDA how many workers the queue needs, until a signal.

    KEDA asks by the trigger external-push, whose metadata say which queues and how many slots a worker has.
    The scaler also promotes due tasks and rescues those of dead workers, as no worker may be there to do it.
    Several may run side by side; none is the leader.

    Without TLS it listens on a loopback address only, unless --insecure is given. On any other address
    --allow has to say which ScaledObjects may ask: every namespace could point at it.

    With --direct-scale and --busy-aware one of the scalers, elected in SQL, also sets the number of replicas itself.
    """
    from halfstep_scaler.server import Scaler

    log_to_stderr()
    return Scaler(_settings(session, door, pace, shown, direct)).run()


def _settings(session: Session, door: Door, pace: Pace, shown: Shown, direct: Direct = NOTHING) -> ScalerSettings:
    from halfstep_scaler.settings import ScalerSettings, parse_address

    settings = ScalerSettings(
        database_url=session.url,
        listen_url=session.direct_url,
        notify=pace.notify,
        listen=parse_address(door.listen),
        tls=_tls(door),
        insecure=door.insecure,
        allow=words(door.allow) or None,
        max_age=pace.max_age,
        poll_seconds=pace.poll,
        metrics=shown.metrics,
        exporter=shown.exporter,
        direct_scale=words(direct.direct_scale),
        busy_aware=words(direct.busy_aware),
        kubeconfig=direct.kubeconfig,
    )
    return replace(settings, name=shown.name) if shown.name else settings


def _tls(door: Door) -> TlsFiles | None:
    from halfstep_scaler.settings import TlsFiles

    if door.tls_cert is None and door.tls_key is None:
        if door.client_ca is not None:
            raise InvalidSettings("--client-ca asks for clients' certificates: it needs --tls-cert and --tls-key too.")
        return None
    if door.tls_cert is None or door.tls_key is None:
        raise InvalidSettings("--tls-cert and --tls-key belong together; one of them is missing.")
    return TlsFiles(door.tls_cert, door.tls_key, door.client_ca)


def register(app: typer.Typer) -> None:
    """scaler."""
    examples = (
        "halfstep scaler --listen 127.0.0.1:9443",
        "halfstep scaler --listen 0.0.0.0:9443 --tls-cert tls.crt --tls-key tls.key --client-ca ca.crt --allow 'halfstep/*'",
        "halfstep scaler --listen 0.0.0.0:9443 --insecure --allow 'halfstep/halfstep-*' --metrics 0.0.0.0:9090",
    )
    add(app, "scaler", scaler, examples=examples)
