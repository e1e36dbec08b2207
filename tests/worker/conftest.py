"""Workers as real processes, against a database of the test's own."""

from worker_fixtures import call, ended, proxy, source, start_worker

__all__ = ["call", "ended", "proxy", "source", "start_worker"]
