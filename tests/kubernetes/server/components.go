package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// Every request once, when it was answered; a watch when it was opened and again when it ended, under the same auditID.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

func init() {
	// Three programs in one process set the same logger up three times.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
}

func (s *settings) apiServerArgs() []string {
	tls := func(name string) string { return filepath.Join(s.state, "tls", name) }
	args := []string{
		"--bind-address=" + s.address.String(),
		"--secure-port=" + strconv.Itoa(s.apiPort),
		"--tls-cert-file=" + tls("serving.crt"),
		"--tls-private-key-file=" + tls("serving.key"),
		"--client-ca-file=" + filepath.Join(s.pki, "ca.crt"),
		"--etcd-servers=" + s.ownEtcd(),
		"--etcd-cafile=" + filepath.Join(s.pki, "etcd-ca.crt"),
		"--etcd-certfile=" + tls("etcd.crt"),
		"--etcd-keyfile=" + tls("etcd.key"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + filepath.Join(s.pki, "sa.key"),
		"--service-account-signing-key-file=" + filepath.Join(s.pki, "sa.key"),
		"--service-cluster-ip-range=10.43.0.0/16",
		"--allow-privileged=true",
		"--profiling=false",
		"--shutdown-watch-termination-grace-period=" + s.watchGrace.String(),
		"--v=" + strconv.Itoa(s.verbosity),
	}
	if s.address.IsLoopback() {
		// An Endpoints object may not hold loopback. Nothing in such a cluster looks for it: its pods are simulated.
		args = append(args, "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none")
	} else {
		args = append(args, "--advertise-address="+s.address.String())
	}
	if s.auditLog != "" {
		args = append(args, "--audit-log-path="+s.auditLog, "--audit-policy-file="+s.auditPolicyFile())
	}
	return append(args, s.apiArgs...)
}

func (s *settings) managerCommandArgs() []string {
	kubeconfig := s.kubeconfigFile("controller-manager")
	return append([]string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		// Several servers of one test share one address; nobody asks this program anything.
		"--secure-port=0",
		"--leader-elect=" + strconv.FormatBool(s.leaderElect),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + filepath.Join(s.pki, "sa.key"),
		"--root-ca-file=" + filepath.Join(s.pki, "ca.crt"),
		"--cluster-signing-cert-file=" + filepath.Join(s.pki, "ca.crt"),
		"--cluster-signing-key-file=" + filepath.Join(s.pki, "ca.key"),
		"--profiling=false",
		"--v=" + strconv.Itoa(s.verbosity),
	}, s.managerArgs...)
}

func (s *settings) schedulerArgs() []string {
	kubeconfig := s.kubeconfigFile("scheduler")
	return append([]string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--secure-port=0",
		"--leader-elect=" + strconv.FormatBool(s.leaderElect),
		"--profiling=false",
		"--v=" + strconv.Itoa(s.verbosity),
	}, s.schedArgs...)
}

// The scheduler's own command would set up the process's signal handler a second time, which panics: so this is what
// that command does, without the handler.
func newScheduler(args []string) (func(context.Context) error, error) {
	opts := options.NewOptions()
	flags := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	for _, set := range opts.Flags.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	return func(ctx context.Context) error {
		config, scheduler, err := app.Setup(ctx, opts)
		if err != nil {
			return err
		}
		return app.Run(ctx, config, scheduler)
	}, nil
}

func (s *settings) kubeconfigFile(who string) string {
	return filepath.Join(s.state, who+".kubeconfig")
}

func (s *settings) auditPolicyFile() string { return filepath.Join(s.state, "audit-policy.yaml") }

func (s *settings) writeAuditPolicy() error {
	return os.WriteFile(s.auditPolicyFile(), []byte(auditPolicy), 0o600)
}
