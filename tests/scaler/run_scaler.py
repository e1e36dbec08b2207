"""A scaler process for tests: settings as JSON in HALFSTEP_TEST_SETTINGS, signals as `halfstep scaler` takes them."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from halfstep_scaler.server import Scaler
from halfstep_scaler.settings import ScalerSettings, TlsFiles, parse_address


def main() -> int:
    """Runs until a signal."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = json.loads(os.environ["HALFSTEP_TEST_SETTINGS"])
    given["listen"] = parse_address(given.get("listen", "127.0.0.1:0"))
    if files := given.get("tls"):
        given["tls"] = TlsFiles(*(Path(file) for file in files))
    return Scaler(ScalerSettings(**given)).run()


if __name__ == "__main__":
    sys.exit(main())
