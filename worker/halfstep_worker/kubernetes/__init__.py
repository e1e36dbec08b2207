"""Pods: the one place that talks to Kubernetes. A launcher keeps thousands of them and waits beside none."""
