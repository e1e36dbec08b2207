"""Operators: what a task can do. Built-in ones, and those of installed packages (entry points `halfstep.operators`)."""

from __future__ import annotations

from halfstep_worker.operators.base import Operator, OperatorFailed, OperatorSettings
from halfstep_worker.operators.discovery import check_args, known_operators
from halfstep_worker.operators.registry import Registry, load

__all__ = ["Operator", "OperatorFailed", "OperatorSettings", "Registry", "check_args", "known_operators", "load"]
