"""Databases of encodings that `migrate` refuses today, as earlier releases have left them."""

from __future__ import annotations

from contextlib import closing

import pytest

from halfstep.database import Database
from halfstep.migrate import migrate


def migrate_as_before(url: str) -> None:
    """Applies the schema whatever the database's encoding."""
    with pytest.MonkeyPatch.context() as patch, closing(Database(url)) as database:
        patch.setattr("halfstep.migrate.check_encoding", lambda _: None)
        migrate(database)
