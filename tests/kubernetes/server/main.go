// One Kubernetes server in one process: etcd, API server, controller-manager and scheduler, from their own published
// modules, in the order in which a single-binary distribution starts them. For tests only: it listens where it is told
// to, and its keys are made on the spot.
//
//	drydock-test-server serve      -state DIR -pki DIR -address 127.0.0.1 -api-port N -etcd-port N -peer-port N
//	drydock-test-server kubeconfig -pki DIR -server URL -user NAME [-group G]… [-valid 1h] -out FILE
//	drydock-test-server version
//
// Called `k3s` it has K3s's command line and files: see k3s.go.
//
//	| file             | what                                                         |
//	|------------------|--------------------------------------------------------------|
//	| serve.go         | the order of starting and of ending; what is said when ready |
//	| settings.go      | the flags of `serve`, checked                                |
//	| components.go    | which flags the Kubernetes programs are started with         |
//	| datastore.go     | what the API server keeps its objects in, and a client of it |
//	| etcd.go          | the embedded member                                          |
//	| kine.go          | SQLite in its place, by kine                                 |
//	| pki.go           | authorities, certificates, keys                              |
//	| kubeconfig.go    | who is let in, and the command that writes a file for it     |
//	| k3s.go           | K3s's shape: what of it is here, how it unpacks itself       |
//	| k3s_flags.go     | its flags, environment and configuration file                |
//	| k3s_server.go    | its directories, tokens and start                            |
//	| k3s_datastore.go | which datastore it takes                                     |
//	| k3s_bootstrap.go | what it keeps there for a server that is set up from it      |
//	| k3s_join.go      | how a server or an agent is let into a cluster               |
//	| k3s_agent.go     | an agent, and its balancer over the servers                  |
//	| k3s_node.go      | a kubelet: played, or the real one                           |
package main

import (
	"fmt"
	"os"

	"k8s.io/component-base/version"
)

const usage = "usage: drydock-test-server serve|kubeconfig|version [-help]"

func main() {
	program := run
	if isK3s(os.Args[0]) {
		program = k3s
	}
	if err := program(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "drydock-test-server:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("%s", usage)
	}
	switch words[0] {
	case "serve":
		return serve(words[1:])
	case "kubeconfig":
		return kubeconfigCommand(words[1:])
	case "version":
		_, err := fmt.Println(version.Get().GitVersion)
		return err
	default:
		return fmt.Errorf("there is no %q; %s", words[0], usage)
	}
}
