from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedded.observation import wait_until_nothing_runs
from halfstep_cli.embedded import EmbeddedServer, discard


@pytest.fixture(scope="session")
def ready_made() -> Iterator[Path]:
    """A data folder with a database, which any user may pass through."""
    with _passable_folder() as top:
        with EmbeddedServer(top / "data"):
            pass
        yield top / "data"
        discard(top / "data")


@pytest.fixture
def open_folder(ready_made: Path) -> Iterator[Path]:
    """The ready-made folder, as making a database takes a second: who breaks it mends it. Nothing may run in it afterwards."""
    yield ready_made
    wait_until_nothing_runs(ready_made)


@pytest.fixture
def new_folder() -> Iterator[Path]:
    """The path of a data folder that does not exist yet, where any user may pass through. Nothing may run in it afterwards."""
    with _passable_folder() as top:
        yield from _checked(top / "data")


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """The path of a new data folder below one that only its owner may enter. Nothing may run in it afterwards."""
    (tmp_path / "closed").mkdir(mode=0o700)
    yield from _checked(tmp_path / "closed" / "data")


@pytest.fixture(params=["open", "closed"])
def any_folder(request: pytest.FixtureRequest) -> Path:
    """A new data folder, either way."""
    if request.param == "closed" and os.geteuid() != 0:
        pytest.skip("an ordinary user can always reach its own folders")
    folder: Path = request.getfixturevalue({"open": "new_folder", "closed": "closed_folder"}[request.param])
    return folder


def _checked(data_dir: Path) -> Iterator[Path]:
    yield data_dir
    wait_until_nothing_runs(data_dir)
    discard(data_dir)


@contextmanager
def _passable_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="halfstep-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
