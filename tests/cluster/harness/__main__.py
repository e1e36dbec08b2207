"""`python -m cluster.harness up [--kwok] [--keda] | down | test [arguments for pytest]`, with the folder tests/ on PYTHONPATH."""

from __future__ import annotations

import os
import sys

from cluster import manifest_ground
from cluster.harness import stage
from cluster.harness.commands import ClusterError, refuse, say
from cluster.harness.extras import EXTRAS
from cluster.harness.paths import CHECKOUT, ENTER


def test(words: list[str]) -> None:
    """Becomes pytest: on the cluster of KUBECONFIG, else on our own, started if need be: for all tests, with all extras."""
    command = [sys.executable, "-m", "pytest", "-m", "cluster", *(words or ["tests/cluster"])]
    if not words:
        _fetch()
    if not os.environ.get("KUBECONFIG"):
        stage.up(() if words else list(EXTRAS.values()))
        command = [str(ENTER), *command]
    os.chdir(CHECKOUT)
    os.execvp(command[0], command)


def _fetch() -> None:
    """What the tests of manifests need from the network, to which there may be no way later. Without it they are skipped."""
    try:
        manifest_ground.fetch()
    except ClusterError as error:
        say(f"Some tests of the manifests will be left out: {error}")


def main() -> None:
    """One line and exit code 1 for whatever can't be done."""
    verb, *words = sys.argv[1:] or ["help"]
    try:
        match verb:
            case "up" if EXTRAS.keys() >= set(words):
                stage.up([EXTRAS[word] for word in words])
            case "down":
                stage.down()
            case "test":
                test(words)
            case _:
                refuse(str(__doc__))
    except ClusterError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        refuse("Interrupted. `make cluster-up` goes on where it was, `make cluster-down` stops what was started.")


if __name__ == "__main__":
    main()
