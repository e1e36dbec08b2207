"""`python -m cluster.harness up [--kwok] [--keda] | down | test [arguments for pytest]`, with the folder tests/ on PYTHONPATH."""

from __future__ import annotations

import os
import sys

from cluster.harness import stage
from cluster.harness.commands import ClusterError, refuse
from cluster.harness.extras import EXTRAS
from cluster.harness.paths import CHECKOUT, ENTER


def test(words: list[str]) -> None:
    """Becomes pytest: on the cluster of KUBECONFIG, else on our own, which is started if need be."""
    command = [sys.executable, "-m", "pytest", "-m", "cluster", *(words or ["tests/cluster"])]
    if not os.environ.get("KUBECONFIG"):
        stage.up()
        command = [str(ENTER), *command]
    os.chdir(CHECKOUT)
    os.execvp(command[0], command)


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
