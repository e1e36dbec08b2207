"""A program that uses the embedded server of argv[1]: prints its URL, waits for the end of its input, leaves.

With a second argument `fork` it also leaves a forked child behind, which prints its PID and waits for the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from halfstep_cli.embedded import EmbeddedServer


def main() -> None:
    with EmbeddedServer(Path(sys.argv[1])) as server:
        print(server.url, flush=True)
        if sys.argv[2:] == ["fork"]:
            child = os.fork()
            if child == 0:
                sys.stdin.read()
                os._exit(0)
            print(child, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
