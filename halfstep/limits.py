"""Published limits and their defaults (docs/explanation/limits.md). Sizes are bytes of UTF-8 JSON text."""

from __future__ import annotations

ARGS_BYTES = 256 * 1024
RESULT_BYTES = 256 * 1024
LOG_BYTES = 4 * 1024 * 1024
ERROR_BYTES = 16 * 1024
LOG_LINE_BYTES = 16 * 1024
MAX_ATTEMPTS = 3
BACKOFF_BASE_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 300.0
LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
POLL_SECONDS = 1.0
STOP_GRACE_SECONDS = 5.0
LONGEST_SECONDS = 31_536_000.0
"""A year: the longest time-out, back-off and delay."""
OLDEST_SERVER = 14
