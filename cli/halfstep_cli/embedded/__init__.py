"""PostgreSQL for one machine: no server to install, no port to choose, no password to invent.

    with EmbeddedServer(Path("data")) as server:
        connect(server.url)

Any number of programs may open the same folder at once: they share one server, and it ends when the last of them has left,
killed ones included. How: every user holds a shared `flock` on `users.lock`; a small detached supervisor holds `supervisor.lock`,
runs `postgres` as its child, and stops it once it gets `users.lock` for itself. The kernel gives back the locks of the dead.

What lies in the folder (DIR), each file readable by its owner only:

    url              how to log in, there only while the server accepts it
    access.json      the passwords (role `halfstep`, superuser `postgres`) and the port, kept between runs
    postgres.log     what the server says
    postgres/        the data (unless `location` says otherwise)
    *.lock           locks; empty

As root the server itself runs as the first of the users `halfstep`, `postgres`, `nobody` that exists (or as the owner of the
data that is already there), because PostgreSQL refuses root. Nothing outside DIR gets other permissions. Where that user can't
run the binaries (a virtual environment below a closed home), they are copied to `/var/lib/halfstep/binaries`; where it can't
reach DIR, the data lies in `/var/lib/halfstep/data/<hash of DIR>-<random>/postgres` and `DIR/location` names that place. (Both
below `/var/tmp/halfstep-root` if `/var/lib` is read-only.) Who deletes such a DIR abandons its place: that is removed at a later
start if DIR was below a temporary folder; `discard(DIR)` deletes both.
"""

from __future__ import annotations

from halfstep_cli.embedded.places import discard
from halfstep_cli.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "discard"]
