package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

const (
	// As kubelets do by default.
	heartbeat    = 10 * time.Second
	leaseSeconds = 40
	leases       = "kube-node-lease"
	// Where a kubelet says that it is well, as K3s leaves it.
	healthAddress = "127.0.0.1:10248"
)

// The kubelet's part. Played: the Node is registered, says which machine and boot and version it is, and renews its
// lease for as long as this process lives; its pods are kwok's. Or the real kubelet, where a container runtime is named.
type k3sNode struct {
	name, address, kubeconfig string
	api                       *kubernetes.Clientset
}

// pkg/agent/config/config.go: DATADIR/agent/kubelet.kubeconfig, for system:node:NAME.
func (t *k3sTold) node(ca *authority, serverCA, url string) (*k3sNode, error) {
	who := client{user: "system:node:" + t.nodeName, groups: []string{"system:nodes"}, valid: aYear}
	file := filepath.Join(t.dataDir, "agent", "kubelet.kubeconfig")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	if err := who.writeKubeconfig(ca, serverCA, url, file); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, err
	}
	config.Timeout = askWithin
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &k3sNode{name: t.nodeName, address: t.nodeIP, kubeconfig: file, api: api}, nil
}

// Plays it until it is told to end.
func (n *k3sNode) play(ctx context.Context) {
	go n.healthz(ctx)
	for {
		once, stop := context.WithTimeout(ctx, askWithin)
		err := errors.Join(n.register(once), n.renew(once))
		stop()
		pause := heartbeat
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "played kubelet:", err)
			pause = askAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (n *k3sNode) healthz(ctx context.Context) {
	well := http.NewServeMux()
	well.HandleFunc("/healthz", func(to http.ResponseWriter, _ *http.Request) { fmt.Fprint(to, "ok") })
	server := &http.Server{Addr: healthAddress, Handler: well}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "played kubelet:", err)
	}
}

// Makes the Node if there is none, and says of it what is so.
func (n *k3sNode) register(ctx context.Context) error {
	nodes := n.api.CoreV1().Nodes()
	node, err := nodes.Get(ctx, n.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node, err = nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: n.name,
			Labels: map[string]string{
				corev1.LabelHostname: n.name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			},
			// kwok plays the pods and leaves the Node's status alone.
			Annotations: map[string]string{"drydock.test/hands-off": ""},
		}}, metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if err := n.describe(node); err != nil {
		return err
	}
	_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

func (n *k3sNode) describe(node *corev1.Node) error {
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	says, now := version.Get().GitVersion, metav1.Now()
	node.Status.Capacity, node.Status.Allocatable = room, room
	node.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.address}, {Type: corev1.NodeHostName, Address: n.name},
	}
	node.Status.NodeInfo = corev1.NodeSystemInfo{
		MachineID: strings.TrimSpace(string(machine)), BootID: strings.TrimSpace(string(boot)),
		KubeletVersion: says, KubeProxyVersion: says, KernelVersion: "simulated", OSImage: "simulated",
		OperatingSystem: "linux", Architecture: "amd64", ContainerRuntimeVersion: "containerd://simulated",
	}
	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		Message: "kubelet is posting ready status", LastHeartbeatTime: now, LastTransitionTime: now,
	}
	for index, known := range node.Status.Conditions {
		if known.Type != ready.Type {
			continue
		}
		if known.Status == ready.Status {
			ready.LastTransitionTime = known.LastTransitionTime
		}
		node.Status.Conditions[index] = ready
		return nil
	}
	node.Status.Conditions = append(node.Status.Conditions, ready)
	return nil
}

func (n *k3sNode) renew(ctx context.Context) error {
	client := n.api.CoordinationV1().Leases(leases)
	now, seconds := metav1.NowMicro(), int32(leaseSeconds)
	lease, err := client.Get(ctx, n.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: n.name, Namespace: leases},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: &n.name, LeaseDurationSeconds: &seconds, RenewTime: &now,
			},
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &n.name, &now
	_, err = client.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// Kubernetes' own kubelet, with the flags that pkg/daemons/agent/agent_linux.go gives it.
func (n *k3sNode) kubelet(ctx context.Context, t *k3sTold) error {
	command := app.NewKubeletCommand(ctx)
	command.SetArgs(append([]string{
		"--kubeconfig=" + n.kubeconfig,
		"--hostname-override=" + n.name,
		"--node-ip=" + n.address,
		"--container-runtime-endpoint=" + t.runtime,
		"--root-dir=" + filepath.Join(t.dataDir, "agent", "kubelet"),
		"--cert-dir=" + filepath.Join(t.dataDir, "agent", "kubelet", "pki"),
		"--read-only-port=0",
		"--anonymous-auth=false",
	}, dashed(t.kubeletArgs)...))
	return command.ExecuteContext(ctx)
}
