"""Halfstep: tasks in PostgreSQL, run by workers that come and go with the queue."""

from halfstep.context import current
from halfstep.errors import HalfstepError
from halfstep.outcomes import Cancelled, Failed, Retry, Succeeded
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.registry import task

__version__ = "0.1.0"
__all__ = ["Cancelled", "Failed", "HalfstepError", "NewTask", "Retry", "Succeeded", "current", "enqueue", "enqueue_many", "task"]
