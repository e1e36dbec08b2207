"""What polluters and witnesses stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from isolation.bay import Bay
from isolation.witnesses import Ground, Seen, seen, web_server, write_source
from worker_fixtures import call, ended, source, start_worker

__all__ = ["call", "ended", "source", "start_worker"]


class Ward:
    """A pool that serves one case after the other, and is replaced once a case went wrong in it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._bay: Bay | None = None

    @property
    def bay(self) -> Bay:
        """The pool that stands ready."""
        if self._bay is None:
            self._bay = Bay(self.ground.loader_settings)
        return self._bay

    def clear(self) -> None:
        """The next case gets a new pool."""
        bay, self._bay = self._bay, None
        if bay:
            bay.close()


@pytest.fixture(scope="module")
def ground(server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Scripts, a database and a web server."""
    name = server.make_database()  # type: ignore[attr-defined]
    with web_server() as port:
        yield Ground(write_source(tmp_path_factory.mktemp("isolation") / "source"), server.url(name), port)  # type: ignore[attr-defined]
    server.drop(name)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def ward(ground: Ground) -> Iterator[Ward]:
    """One pool for many cases."""
    ward = Ward(ground)
    yield ward
    ward.clear()


@pytest.fixture(scope="module")
def in_a_new_child(ground: Ground) -> Callable[[], dict[str, Seen]]:
    """What the witnesses are like in a child that nobody used before them."""

    def look() -> dict[str, Seen]:
        with ExitStack() as stack:
            bay = Bay(ground.loader_settings)
            stack.callback(bay.close)
            return seen(bay.run(ground.witnesses()), bay.mark)

    return look


@pytest.fixture(scope="module")
def reference(in_a_new_child: Callable[[], dict[str, Seen]]) -> dict[str, Seen]:
    """That, once."""
    return in_a_new_child()
