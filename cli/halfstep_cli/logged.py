"""What a long-lived command tells of itself: lines with the time, on standard error."""

from __future__ import annotations

import logging
import sys

from halfstep.visible import visible


def log_to_stderr() -> None:
    """Shows the package's events from INFO on."""
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(_Visible("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("halfstep")
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)


class _Visible(logging.Formatter):
    """Events hold what tasks and servers said."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, harmless to a terminal."""
        return visible(super().format(record), keep="\n\t")
