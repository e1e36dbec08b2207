"""The command line of each long-lived program of the node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cluster.harness.network import DNS_ADDRESS, NODE_ADDRESS, NODE_NAME, PODS, SERVICES
from cluster.harness.paths import CGROUP, KEYS, STATE

SOCKET = "/run/containerd/containerd.sock"
PLUGINS = STATE / "cni"
KUBECONFIGS = STATE / "kubeconfigs"


@dataclass(frozen=True, slots=True)
class Component:
    """A program, how it is called, and its flags."""

    name: str
    program: Path
    flags: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        """What is executed."""
        return [str(self.program), *self.flags]


def etcd(programs: Path) -> Component:
    """Where the API server keeps its objects. Nothing here outlives the node, so nothing waits for the disk."""
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    flags = (
        f"--data-dir={STATE / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    )
    return Component("etcd", programs / "etcd", flags)


def api_server(programs: Path) -> Component:
    """Its front-proxy flags are what an aggregated API (KEDA's metrics) is asked with."""
    flags = (
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_ADDRESS}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--tls-cert-file={KEYS / 'apiserver.crt'}",
        f"--tls-private-key-file={KEYS / 'apiserver.key'}",
        f"--client-ca-file={KEYS / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={KEYS / 'accounts.pub'}",
        f"--service-account-signing-key-file={KEYS / 'accounts.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={KEYS / 'admin.crt'}",
        f"--kubelet-client-key={KEYS / 'admin.key'}",
        f"--requestheader-client-ca-file={KEYS / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={KEYS / 'front-proxy.crt'}",
        f"--proxy-client-key-file={KEYS / 'front-proxy.key'}",
        "--allow-privileged=true",
    )
    return Component("kube-apiserver", programs / "kube-apiserver", flags)


def _as_admin() -> tuple[str, ...]:
    file = KUBECONFIGS / "admin"
    names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    # The rates that these clients keep to by themselves are low: they would be what a test measures.
    rates = ("--kube-api-qps=500", "--kube-api-burst=1000")
    return (*(f"--{name}={file}" for name in names), *rates, "--bind-address=127.0.0.1", "--leader-elect=false")


def controller_manager(programs: Path) -> Component:
    """Gives service accounts their tokens, and nodes their ranges of addresses."""
    flags = (
        *_as_admin(),
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={KEYS / 'accounts.key'}",
        f"--root-ca-file={KEYS / 'ca.crt'}",
        f"--cluster-signing-cert-file={KEYS / 'ca.crt'}",
        f"--cluster-signing-key-file={KEYS / 'ca.key'}",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={PODS}",
    )
    return Component("kube-controller-manager", programs / "kube-controller-manager", flags)


def scheduler(programs: Path) -> Component:
    """Puts pods on the node."""
    return Component("kube-scheduler", programs / "kube-scheduler", _as_admin())


def proxy(programs: Path) -> Component:
    """The addresses of Services. The conntrack table is the machine's: its sizes are left alone."""
    flags = (
        f"--kubeconfig={KUBECONFIGS / 'admin'}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={PODS}",
        f"--hostname-override={NODE_NAME}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    )
    return Component("kube-proxy", programs / "kube-proxy", flags)


def containerd(plugin_programs: Path) -> Component:
    """Runs the containers, from images that are imported: it has no registry."""
    file = STATE / "containerd.toml"
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    lines = (
        "version = 2",
        'root = "/var/lib/containerd"',
        'state = "/run/containerd"',
        f'[grpc]\naddress = "{SOCKET}"',
        f"[{cri}]",
        'sandbox_image = "localhost/pause:1"',
        # A virtual machine may lack the right to lower oom_score_adj; runc fails without this.
        "restrict_oom_score_adj = true",
        "netns_mounts_under_state_dir = true",
        f'[{cri}.cni]\nbin_dir = "{plugin_programs}"\nconf_dir = "{PLUGINS}"',
    )
    file.write_text("\n".join(lines) + "\n")
    return Component("containerd", Path("/usr/bin/containerd"), (f"--config={file}",))


def kubelet(programs: Path) -> Component:
    """Runs the pods that are put on this node."""
    file = STATE / "kubelet.json"
    file.write_text(json.dumps(_kubelet_config(), indent=1))
    flags = (
        f"--config={file}",
        f"--kubeconfig={KUBECONFIGS / 'kubelet'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_ADDRESS}",
    )
    return Component("kubelet", programs / "kubelet", flags)


def _kubelet_config() -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(KEYS / "ca.crt")}, "webhook": {"enabled": True}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(KEYS / "kubelet.crt"),
        "tlsPrivateKeyFile": str(KEYS / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "/dev/null",
        "maxPods": 250,
        # Limits that the client has by itself are for large clusters, and slow one busy node down.
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        # An image that is thrown away can't be pulled again; a machine short of disk is no reason to evict.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }
