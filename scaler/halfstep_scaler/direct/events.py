"""What direct scaling says in the log."""

from __future__ import annotations

import logging

from halfstep.events import WORDS

WORDS |= {
    "direct.elected": (logging.INFO, "{name}: this scaler sets its number now."),
    "direct.raised": (logging.INFO, "{name}: {before} -> {after} replicas, as many as the work needs."),
    "direct.lowered": (logging.INFO, "{name}: {before} -> {after} replicas; who leaves holds nothing."),
    "direct.left_alone": (logging.WARNING, "{name} is left as it is: {reason}"),
    "direct.held_up": (logging.INFO, "{name}: fewer are wanted, but {reason}."),
    "direct.away": (logging.WARNING, "{name}: {error} Trying again, at first in {delay:g} s."),
    "direct.back": (logging.INFO, "{name}: the API server does what it is asked again."),
}
