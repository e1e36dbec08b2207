"""What a pod's spec refers to by name, wherever in it that stands. For the launcher's policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_CONFIG_MAPS = ("configMap", "configMapRef", "configMapKeyRef")
_TOKENS = ("serviceAccountToken", "podCertificate")
_SOURCES = ("dataSource", "dataSourceRef")
_DEVICES = ("resourceClaimName", "resourceClaimTemplateName")


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Pairs of a policy key (`secrets`, `config_maps`, `volume_claims`, `resource_claims`) and a name.

    A walk over everything rather than a list of known places: a new field, or one that is seldom thought of, is no way round.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _here(key, inner)
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def wants_token(value: Any) -> bool:
    """Whether a volume brings the service account's token or a certificate in its name."""
    if isinstance(value, dict):
        return any(inner is not None and (key in _TOKENS or wants_token(inner)) for key, inner in value.items())
    return isinstance(value, list) and any(wants_token(inner) for inner in value)


def _here(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if key == "secretName":
        yield from _named("secrets", value)
    elif key == "secret" or key.endswith(("SecretRef", "secretRef", "secretKeyRef")):
        yield from _named("secrets", _name_in(value, "name"))
    elif key == "imagePullSecrets" and isinstance(value, list):
        for item in value:
            yield from _named("secrets", _name_in(item, "name"))
    elif key in _DEVICES:
        yield from _named("resource_claims", value)
    elif key in _CONFIG_MAPS:
        yield from _named("config_maps", _name_in(value, "name"))
    elif key == "persistentVolumeClaim":
        yield from _named("volume_claims", _name_in(value, "claimName"))
    elif key in _SOURCES:
        yield from _named("volume_claims", _name_in(value, "name"))


def _name_in(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _named(kind: str, name: Any) -> Iterator[tuple[str, str]]:
    if isinstance(name, str) and name:
        yield kind, name
