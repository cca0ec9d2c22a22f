package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const apiReadyWithin = 2 * time.Minute

var errStopped = errors.New("told to stop while it was starting")

// What is said on standard output, once, when the API server is ready.
type ready struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	API        string `json:"api"`
	Etcd       string `json:"etcd"`
	Kubeconfig string `json:"kubeconfig"`
}

func serve(words []string) error {
	s, err := parseSettings(words)
	if err != nil {
		return err
	}
	if err := prepare(s); err != nil {
		return err
	}
	return s.run(hooks{ready: func(context.Context) error {
		said := ready{s.name, version.Get().GitVersion, s.apiURL(), s.ownEtcd(), s.files.admin}
		return json.NewEncoder(os.Stdout).Encode(said)
	}})
}

// What a way of starting a server does in between.
type hooks struct {
	// The datastore runs, and nothing else.
	member func(context.Context) error
	// The API server answers, controller-manager and scheduler are started.
	ready func(context.Context) error
}

// Runs the four programs until one of them ends.
func (s *settings) run(then hooks) error {
	// All flags and feature gates are registered before the first program reads them.
	api := apiserver.NewAPIServerCommand() // takes SIGTERM and SIGINT; its context ends with the first
	controllers := manager.NewControllerManagerCommand()
	schedule, err := newScheduler(s.schedulerArgs())
	if err != nil {
		return err
	}
	stop := api.Context().Done()

	store, err := s.startDatastore(stop)
	if err != nil {
		return err
	}
	// Last, when nothing writes any more. One of several members of etcd hands its leadership on first.
	defer store.close()
	if then.member != nil {
		if err := then.member(api.Context()); err != nil {
			return err
		}
	}

	apiEnded := start(api, s.apiServerArgs())
	if err := untilReady(s, apiEnded); err != nil {
		return err
	}
	managerEnded := start(controllers, s.managerCommandArgs())
	scheduleEnded := make(chan error, 1)
	// Never cancelled: a scheduler that is told to end while it leads ends the process, before the API server and
	// etcd have.
	go func() { scheduleEnded <- schedule(context.Background()) }()

	if err := then.ready(api.Context()); err != nil {
		return err
	}
	select {
	case err = <-apiEnded:
		return named("API server", err)
	case err = <-store.ended:
		return err
	// These two end when they lose their API server or their lease, and mostly take the process with them.
	case err = <-managerEnded:
		err = fmt.Errorf("controller-manager ended: %v", err)
	case err = <-scheduleEnded:
		err = fmt.Errorf("scheduler ended: %v", err)
	}
	select {
	case <-stop:
		return named("API server", <-apiEnded)
	default:
		return err
	}
}

// Certificates and kubeconfigs; the authorities only where they are missing.
func prepare(s *settings) error {
	files := s.files
	shared := filepath.Dir(files.clientCA)
	for _, file := range []string{files.clientCA, files.etcdCA, files.serving, files.etcdPeer, files.admin} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
	}
	unlock, err := lock(shared)
	if err != nil {
		return err
	}
	defer unlock()
	authorities := map[string]*authority{}
	for _, file := range []string{files.clientCA, files.serverCA, files.etcdCA, files.peerCA} {
		if authorities[file], err = openAuthority(file); err != nil {
			return err
		}
	}
	if err := ensureTokenKey(files.tokenKey); err != nil {
		return err
	}
	hosts := append([]string{
		s.address.String(), "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "10.43.0.1",
	}, s.names...)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for file, by := range map[string]string{
		files.serving: files.serverCA, files.etcdServer: files.etcdCA,
		files.etcdPeer: files.peerCA, files.etcdCli: files.etcdCA,
	} {
		issued, err := authorities[by].issue(subject{name: s.name, hosts: hosts, valid: aYear, usages: both})
		if err != nil {
			return err
		}
		if file == files.serving {
			// Whoever knows only its digest is shown the authority too.
			authorityPEM, err := os.ReadFile(authorities[by].file)
			if err != nil {
				return err
			}
			issued.cert = append(issued.cert, authorityPEM...)
		}
		if err := issued.write(file); err != nil {
			return err
		}
	}
	for file, who := range map[string]client{
		files.admin:     administrator,
		files.manager:   {user: "system:kube-controller-manager", valid: aYear},
		files.scheduler: {user: "system:kube-scheduler", valid: aYear},
	} {
		serverCA := files.serverCA + ".crt"
		if err := who.writeKubeconfig(authorities[files.clientCA], serverCA, s.apiURL(), file); err != nil {
			return err
		}
	}
	if s.auditLog != "" {
		return s.writeAuditPolicy()
	}
	return nil
}

func start(command *cobra.Command, args []string) <-chan error {
	ended := make(chan error, 1)
	command.SetArgs(args)
	command.SilenceErrors = true
	command.SilenceUsage = true
	go func() { ended <- command.Execute() }()
	return ended
}

// Asks /readyz until it says ok. The API server has no event for it that could be awaited from here.
func untilReady(s *settings, ended <-chan error) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.files.admin)
	if err != nil {
		return err
	}
	config.Timeout = time.Second
	asking, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	deadline := time.After(apiReadyWithin)
	last := "no answer"
	for {
		answer, err := asking.Get(s.apiURL() + "/readyz")
		if err != nil {
			last = err.Error()
		} else {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			last = answer.Status
		}
		select {
		case err := <-ended:
			if err == nil {
				return errStopped
			}
			return named("API server", err)
		case <-deadline:
			return fmt.Errorf("%s/readyz was not ok within %v: %s", s.apiURL(), apiReadyWithin, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func named(who string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", who, err)
}
