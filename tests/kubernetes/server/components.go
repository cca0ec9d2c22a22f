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
	files, bind := s.files, s.address.String()
	if s.bindAll {
		bind = "0.0.0.0"
	}
	args := []string{
		"--bind-address=" + bind,
		"--secure-port=" + strconv.Itoa(s.apiPort),
		"--tls-cert-file=" + files.serving + ".crt",
		"--tls-private-key-file=" + files.serving + ".key",
		"--client-ca-file=" + files.clientCA + ".crt",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + files.tokenKey,
		"--service-account-signing-key-file=" + files.tokenKey,
		"--service-cluster-ip-range=10.43.0.0/16",
		"--allow-privileged=true",
		"--profiling=false",
		"--shutdown-watch-termination-grace-period=" + s.watchGrace.String(),
		"--v=" + strconv.Itoa(s.verbosity),
	}
	args = append(args, s.storage().args()...)
	if s.address.IsLoopback() {
		// An Endpoints object may not hold loopback. Nothing in such a cluster looks for it: its pods are simulated.
		args = append(args, "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none")
	} else {
		args = append(args, "--advertise-address="+s.address.String())
	}
	if s.tokens != "" {
		args = append(args, "--anonymous-auth=false", "--token-auth-file="+s.tokens)
	}
	if s.auditLog != "" {
		args = append(args, "--audit-log-path="+s.auditLog, "--audit-policy-file="+s.auditPolicyFile())
	}
	return append(args, s.apiArgs...)
}

func (s *settings) managerCommandArgs() []string {
	files, kubeconfig := s.files, s.files.manager
	return append([]string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		// Several servers of one test share one address; nobody asks this program anything.
		"--secure-port=0",
		"--leader-elect=" + strconv.FormatBool(s.leaderElect),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + files.tokenKey,
		"--root-ca-file=" + files.serverCA + ".crt",
		"--cluster-signing-cert-file=" + files.clientCA + ".crt",
		"--cluster-signing-key-file=" + files.clientCA + ".key",
		"--profiling=false",
		"--v=" + strconv.Itoa(s.verbosity),
	}, s.managerArgs...)
}

func (s *settings) schedulerArgs() []string {
	kubeconfig := s.files.scheduler
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

func (s *settings) auditPolicyFile() string { return filepath.Join(s.state, "audit-policy.yaml") }

func (s *settings) writeAuditPolicy() error {
	return os.WriteFile(s.auditPolicyFile(), []byte(auditPolicy), 0o600)
}
