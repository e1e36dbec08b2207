"""`localhost/postgres:test`: PostgreSQL and PgBouncer of Debian, in place of the images that the manifests name."""

from __future__ import annotations

from cluster.harness.images import Image
from cluster.harness.paths import HERE
from cluster.harness.runtime_image import BASE, RUNTIME


def _flags() -> list[str]:
    """Made on the runtime's base, which the runtime's flags make if need be."""
    RUNTIME.flags()
    return [f"--build-arg=BASE={BASE}"]


_DOCKERFILE = HERE / "images" / "postgres.Dockerfile"
POSTGRES = Image("localhost/postgres:test", _DOCKERFILE, lambda: {_DOCKERFILE.name: _DOCKERFILE}, flags=_flags)
