"""Bodies of other operators that reach for their own process or session."""

from __future__ import annotations

from typing import Any

from isolation.polluting import TABLE, Polluter


def _bash(name: str, command: str, *ends: str, told: str = "", timeout: float | None = None) -> None:
    TABLE.append(Polluter(f"bash-{name}", {"command": command}, "bash", ends or ("succeeded",), told, timeout))


def _sql(name: str, statement: str, *ends: str) -> None:
    args: dict[str, Any] = {"connection": "here", "statement": statement}
    TABLE.append(Polluter(f"sql-{name}", args, "sql", ends or ("succeeded",)))


_bash("leaves_a_program", "sleep 600 &", told="process")
_bash("leaves_a_talking_program", "(while :; do echo said by a program that was left; sleep 0.01; done) &")
_bash("leaves_a_session", "setsid sleep 600 & exit 0", told="process")
_bash("leaves_a_deaf_program", "(trap '' TERM HUP INT; sleep 600) & exit 0", told="process")
_bash("stops_what_runs_it", "kill -STOP $PPID; sleep 600", "failed:timeout", timeout=0.5)
_bash("kills_what_runs_it", "kill -KILL $PPID; sleep 600", "failed:crash")
_bash("asks_what_runs_it_to_end", "kill -TERM $PPID; sleep 600", "failed:crash")
_bash("interrupts_what_runs_it", "kill -INT $PPID; sleep 0.2", "succeeded", "failed")
_bash("alarms_what_runs_it", "kill -ALRM $PPID; sleep 0.2", "succeeded", "failed")
_bash("makes_it_the_last_in_line", "renice -n 19 -p $PPID", "succeeded")
_bash("limits_what_runs_it", "prlimit --pid $PPID --nofile=10:10", "succeeded", "failed")
_bash("makes_its_output_not_block", "python3 -c 'import os; os.set_blocking(1, False); os.set_blocking(2, False)'")
_bash(
    "writes_to_what_runs_it",
    "for fd in /proc/$PPID/fd/*; do (echo forged >> $fd) 2>/dev/null & done; wait",
    "succeeded",
    "failed",
)

_sql("changes_its_session", "SET search_path = nowhere; SET statement_timeout = '1ms'")
_sql("speaks_another_language", "SET client_encoding = 'LATIN1'; SET timezone = 'Pacific/Kiritimati'; SET DateStyle = 'German'")
_sql("reads_only", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
_sql("leaves_tables", "CREATE TEMPORARY TABLE witness (n int); SELECT pg_advisory_lock(7)")
_sql("ends_its_transaction", "COMMIT; BEGIN; SET LOCAL statement_timeout = '1ms'", "succeeded", "failed")
_sql("ends_its_own_connection", "SELECT pg_terminate_backend(pg_backend_pid())", "failed")
