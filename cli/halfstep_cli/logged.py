"""What a long-lived command tells of itself: lines with the time, on standard error."""

from __future__ import annotations

import logging
import sys


def log_to_stderr() -> None:
    """Shows the package's events from INFO on."""
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("halfstep")
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)
