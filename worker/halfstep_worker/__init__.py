"""The worker: claims tasks, runs operators in child processes, launches pods, drains."""
