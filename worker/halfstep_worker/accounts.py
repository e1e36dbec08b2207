"""Another user that bodies run as."""

from __future__ import annotations

import os
import pwd

from halfstep.errors import InvalidSettings
from halfstep_worker.children import Account


def account_of(name: str) -> Account:
    """The account of a user, by name or number. InvalidSettings: there is none, it is root, or we may not become it."""
    if os.geteuid() != 0:
        raise InvalidSettings("Only root can run bodies as another user; start the worker as root, or leave --run-as out.")
    account = _numbered(int(name)) if name.isdigit() else _named(name)
    if account.user == 0:
        raise InvalidSettings(
            "Bodies that run as root can reach all that the worker keeps from them; name another user in --run-as."
        )
    return account


def _named(name: str) -> Account:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise InvalidSettings(f"There is no user '{name}' on this machine; create it, or name another in --run-as.") from None
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
    return Account(found.pw_name, found.pw_uid, found.pw_gid, groups, found.pw_dir)


def _numbered(user: int) -> Account:
    """A number needs no entry, as in a container."""
    try:
        return _named(pwd.getpwuid(user).pw_name)
    except KeyError:
        return Account(str(user), user, user)
