"""What the scaler says in its log, besides the words that it shares with others."""

from __future__ import annotations

import logging

from halfstep.events import WORDS

WORDS |= {
    "scaler.started": (logging.INFO, "Scaler {name} answers on {address} ({security})."),
    "scaler.ready": (logging.INFO, "The demand was read for the first time; ready."),
    "scaler.refused": (logging.WARNING, "ScaledObject {namespace}/{name} is refused ({code}): {sentence}"),
    "scaler.refusals_unsaid": (logging.WARNING, "{count} more refusals were not told here; see halfstep doctor."),
    "scaler.broken": (logging.ERROR, "A part of the scaler has failed ({part}); leaving, to be started anew."),
    "scaler.stopping": (logging.INFO, "Stopping: streams end, calls in flight are answered."),
    "scaler.stopped": (logging.INFO, "Scaler {name} has stopped."),
    "scaler.certificate_changed": (logging.INFO, "The TLS files have changed and are in use."),
    "scaler.certificate_refused": (logging.ERROR, "The changed TLS files are not used, the former ones stay: {error}"),
}
