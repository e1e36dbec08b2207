#!/usr/bin/env bash
# The cluster tests that every change has to pass, as root: starts a cluster with KEDA, proves it, runs the core of the launcher's
# tests on it, then an installation from an INSERT to zero workers, and takes it down whatever happens. Some 5 minutes on two cores,
# and about 20 more if Kubernetes and KEDA have to be built first.
# The cluster lies in build/smoke-cluster, so one that somebody uses in .cluster stays as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. .ci/steps
export HALFSTEP_CLUSTER_FOLDER=$PWD/build/smoke-cluster
unset KUBECONFIG # the cluster that it names is not ours to test on

launcher=tests/cluster/test_launcher.py
TESTS=(
  tests/cluster/test_cluster_pods.py
  $launcher::test_a_pods_result_and_log_are_kept_and_the_pod_goes
  $launcher::test_a_failure_says_what_it_was
  $launcher::test_a_timeout_and_a_cancel_delete_the_pod
  $launcher::test_another_launcher_adopts_the_pods_of_a_killed_one_and_none_runs_twice
  $launcher::test_any_operator_runs_alone_in_a_pod
  tests/cluster/test_keda_end_to_end.py
)

show_why() {
  local log=$HALFSTEP_CLUSTER_FOLDER/logs/node.log
  [ -s "$log" ] && say "the end of node.log:" && tail -n 20 "$log"
}

take_down() {
  local code=$?
  set +e # whatever fails from here on, the rest is done
  trap '' INT TERM HUP # once, and to its end
  end_step
  [ "$code" = 0 ] || show_why
  if step 120 make cluster-down; then
    rm -rf "$HALFSTEP_CLUSTER_FOLDER"
  else
    code=1 # the folder says what to take down: the next run, or make cluster-down with this folder, does it
  fi
  exit "$code"
}

mkdir -p build
trap take_down EXIT
step 3000 make cluster-up KEDA=1
step 900 make cluster ARGS="--durations=5 ${TESTS[*]}"
