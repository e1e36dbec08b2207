"""What runs on the cluster on request: simulated nodes (KWOK), scaling (KEDA)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.harness import keda, kwok
from cluster.harness.database_image import POSTGRES
from cluster.harness.images import Image


@dataclass(frozen=True, slots=True)
class Extra:
    """A program of the cluster: its images must be there before it starts."""

    name: str
    images: tuple[Image, ...]
    start: Callable[[], None]


EXTRAS = {
    "--kwok": Extra("KWOK", (kwok.IMAGE,), kwok.start),
    # POSTGRES: what the manifests of the demo need beside it.
    "--keda": Extra("KEDA", (*keda.IMAGES, POSTGRES), keda.start),
}
