#!/usr/bin/env bash
# The cluster tests that every change has to pass: starts a cluster, proves it, and takes it down whatever happens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
trap 'make cluster-down' EXIT
timeout 2700 make cluster-up "$@"
timeout 600 make cluster ARGS="tests/cluster/test_cluster_pods.py"
