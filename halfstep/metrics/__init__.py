"""Metrics and probes over HTTP: the server, the names of all metrics, and the exporter of what stands in SQL."""
