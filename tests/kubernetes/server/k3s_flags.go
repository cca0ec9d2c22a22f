package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// pkg/configfilearg: read before the command line, which is the stronger one.
const k3sConfigFile = "/etc/rancher/k3s/config.yaml"

// What `k3s server` and `k3s agent` were told: the flags of pkg/cli/cmds/{server,agent}.go that the tests use. Every
// other one is refused, also in the file: a test that means something by it would be deceived.
type k3sTold struct {
	dataDir, token, tokenFile, url string
	nodeIP, nodeName, kubeconfig   string
	clusterInit, disableAgent      bool
	names, apiArgs, managerArgs    []string
	kubeletArgs                    []string
	runtime                        string
	datastore                      storage
	// Not a flag: where systemd waits to hear that it is ready.
	notify string
}

func parseK3s(command string, words []string) (*k3sTold, error) {
	told := &k3sTold{}
	flags := pflag.NewFlagSet("k3s "+command, pflag.ContinueOnError)
	flags.StringVarP(&told.dataDir, "data-dir", "d", cmp.Or(os.Getenv("K3S_DATA_DIR"), k3sDataDir), "")
	flags.StringVarP(&told.token, "token", "t", os.Getenv("K3S_TOKEN"), "")
	flags.StringVar(&told.tokenFile, "token-file", os.Getenv("K3S_TOKEN_FILE"), "")
	flags.StringVarP(&told.url, "server", "s", os.Getenv("K3S_URL"), "")
	flags.StringVar(&told.nodeIP, "node-ip", "", "")
	flags.StringVar(&told.nodeName, "node-name", os.Getenv("K3S_NODE_NAME"), "")
	flags.StringVar(&told.runtime, "container-runtime-endpoint", "", "")
	flags.StringArrayVar(&told.kubeletArgs, "kubelet-arg", nil, "")
	config := flags.StringP("config", "c", k3sConfigFile, "")
	if command == "server" {
		// Empty, or what strconv reads: `false` is off.
		begins, err := strconv.ParseBool(cmp.Or(os.Getenv("K3S_CLUSTER_INIT"), "false"))
		if err != nil {
			return nil, fmt.Errorf("K3S_CLUSTER_INIT: %w", err)
		}
		flags.BoolVar(&told.clusterInit, "cluster-init", begins, "")
		flags.BoolVar(&told.disableAgent, "disable-agent", false, "")
		store := &told.datastore
		for name, value := range map[string]*string{
			"endpoint": &store.endpoint, "cafile": &store.ca, "certfile": &store.cert, "keyfile": &store.key,
		} {
			flags.StringVar(value, "datastore-"+name, os.Getenv("K3S_DATASTORE_"+strings.ToUpper(name)), "")
		}
		flags.StringVarP(&told.kubeconfig, "write-kubeconfig", "o", "/etc/rancher/k3s/k3s.yaml", "")
		flags.StringArrayVar(&told.names, "tls-san", nil, "")
		flags.StringArrayVar(&told.apiArgs, "kube-apiserver-arg", nil, "")
		flags.StringArrayVar(&told.managerArgs, "kube-controller-manager-arg", nil, "")
	}
	if err := flags.Parse(words); err != nil {
		return nil, err
	}
	if err := readK3sConfig(flags, *config); err != nil {
		return nil, err
	}
	return told, told.complete(command)
}

// What the file says, where the command line says nothing. Lists are flags given several times.
func readK3sConfig(flags *pflag.FlagSet, file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	said := map[string]any{}
	if err := yaml.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for name, value := range said {
		flag := flags.Lookup(name)
		if flag == nil {
			return fmt.Errorf("%s: %q is known to K3s at the most, and not here", file, name)
		}
		if flag.Changed {
			continue
		}
		values, isList := value.([]any)
		if !isList {
			values = []any{value}
		}
		for _, value := range values {
			if err := flags.Set(name, fmt.Sprint(value)); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

func (t *k3sTold) complete(command string) error {
	if t.token == "" && t.tokenFile != "" {
		text, err := os.ReadFile(t.tokenFile)
		if err != nil {
			return err
		}
		t.token = strings.TrimSpace(string(text))
	}
	if command == "agent" && (t.url == "" || t.token == "") {
		return errors.New("--server and --token are required") // as pkg/cli/agent/agent.go has it
	}
	if t.nodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		t.nodeName = name
	}
	if t.nodeIP == "" {
		address, err := ownAddress()
		if err != nil {
			return err
		}
		t.nodeIP = address
	}
	return nil
}

func (t *k3sTold) serverDir() string { return filepath.Join(t.dataDir, "server") }

// The first address that is not of loopback.
func ownAddress() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, address := range addresses {
		if of, ok := address.(*net.IPNet); ok && of.IP.IsGlobalUnicast() {
			return of.IP.String(), nil
		}
	}
	return "", errors.New("no address but loopback's: give --node-ip")
}
