"""The clusters file."""

from __future__ import annotations

import pytest

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.clusters import Cluster, Rate, cluster_name, cluster_of, read_clusters
from halfstep_worker.kubernetes.defaults import PodDefaults, SecretKey

FILE = """
default:
  in_cluster: true
eu:
  kubeconfig: keys/eu.yaml
  context: eu-1
  namespace: tasks
  namespaces: [batch, tasks]
  rate: {qps: 50, burst: 100}
  pods:
    image: registry.example.com/halfstep:1
    image_pull_policy: IfNotPresent
    image_pull_secrets: [registry]
    env: {HALFSTEP_IMPORT: jobs}
    connections:
      Warehouse: {secret: warehouse, key: url}
    source: /source
    source_volume: {persistentVolumeClaim: {claimName: source}}
"""


def read(tmp_path, text):
    (tmp_path / "clusters.yaml").write_text(text)
    return read_clusters(tmp_path / "clusters.yaml", {})


def test_a_clusters_file_says_how_to_reach_each_and_what_goes_into_its_pods(tmp_path):
    clusters = read(tmp_path, FILE)
    assert set(clusters) == {"", "eu"}
    assert clusters[""] == Cluster(in_cluster=True)
    assert clusters["eu"] == Cluster(
        name="eu",
        kubeconfig=str(tmp_path / "keys/eu.yaml"),
        context="eu-1",
        namespace="tasks",
        namespaces=("batch", "tasks"),
        rate=Rate(50.0, 100),
        pods=PodDefaults(
            namespace="tasks",
            image="registry.example.com/halfstep:1",
            image_pull_policy="IfNotPresent",
            image_pull_secrets=("registry",),
            env={"HALFSTEP_IMPORT": "jobs"},
            connections={"warehouse": SecretKey("warehouse", "url")},
            source="/source",
            source_volume={"persistentVolumeClaim": {"claimName": "source"}},
        ),
    )
    assert clusters["eu"].watched == ("tasks", "batch")


@pytest.mark.parametrize(
    ("environment", "cluster"),
    [
        ({}, Cluster()),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Cluster(in_cluster=True)),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": "/a:/b"}, Cluster(kubeconfig="/a:/b")),
    ],
)
def test_without_a_file_there_is_the_default_cluster(environment, cluster):
    assert read_clusters(None, environment) == {"": cluster}


def test_the_cluster_without_a_name_is_called_default(tmp_path):
    clusters = read(tmp_path, FILE)
    assert cluster_of(clusters, "default") is cluster_of(clusters, "") is clusters[""]
    assert (cluster_name("default"), cluster_name("eu"), clusters[""].title) == ("", "eu", "default")


def test_an_unknown_cluster_lists_the_known_ones(tmp_path):
    with pytest.raises(InvalidSettings, match=r"There is no cluster 'us' in the configuration; known: default, eu\."):
        cluster_of(read(tmp_path, FILE), "us")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no cluster"),
        ("eu: 3", "What stands under cluster 'eu' must be a mapping, not 3."),
        ("eu: {kubecfg: a}", "cluster 'eu' has no key 'kubecfg'; known: kubeconfig, context, in_cluster,"),
        ("eu: {in_cluster: 'yes'}", "'in_cluster' in cluster 'eu' must be true or false, not 'yes'."),
        ("eu: {in_cluster: true, context: a}", "Cluster 'eu' has 'in_cluster' and a kubeconfig; leave one out."),
        ("eu: {namespaces: [1]}", "'namespaces' in cluster 'eu' must be a list of strings, not with 1."),
        ("eu: {rate: {qps: 0}}", "'rate' of cluster 'eu' needs a 'qps' above 0 and a 'burst' of at least 1."),
        ("eu: {rate: {qps: true}}", "'qps' in 'rate' of cluster 'eu' must be a number, not True."),
        ("eu: {pods: {images: a}}", "'pods' of cluster 'eu' has no key 'images'; known: image,"),
        ("eu: {pods: {env: {A: 1}}}", "'A' under 'env' in 'pods' of cluster 'eu' must be a string, not 1; put it into quotes."),
        ("eu: {pods: {connections: {a: {secret: s}}}}", "Connection 'a' in 'pods' of cluster 'eu' needs 'secret' and 'key'"),
        ("eu: {pods: {connections: {a: 'postgresql://x'}}}", "under connection 'a' in 'pods' of cluster 'eu' must be a mapping"),
        ("eu: {pods: {source_volume: {emptyDir: {}}}}", "'source_volume' in 'pods' of cluster 'eu' needs 'source'"),
        ("eu: {namespace: A_b}", "'A_b' in cluster 'eu' is no name for a namespace: small letters, digits and - only."),
    ],
)  # fmt: skip
def test_a_wrong_clusters_file_is_refused(tmp_path, text, sentence):
    with pytest.raises(InvalidSettings) as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value)
