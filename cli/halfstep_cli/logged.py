"""What a long-lived command tells of itself: lines with the time, on standard error."""

from __future__ import annotations

import logging
import sys

from halfstep.visible import visible, visible_line


def log_to_stderr() -> None:
    """Shows the package's events from INFO on."""
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(_Visible("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("halfstep")
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)


class _Visible(logging.Formatter):
    """Events hold what tasks and servers said."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The event in one line, so that nobody's text looks like an event of its own."""
        return visible_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The event, and the traceback if it has one, harmless to a terminal."""
        return visible(super().format(record), keep="\n\t")
