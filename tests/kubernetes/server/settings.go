package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What `serve` was told.
type settings struct {
	name     string
	state    string
	files    files
	address  net.IP
	bindAll  bool
	names    list
	apiPort  int
	etcdPort int
	peerPort int
	members  string
	joins    bool
	// In place of a member of etcd: an SQLite database, or what somebody else runs.
	kine        *kineFiles
	external    *storage
	tokens      string
	leaderElect bool
	watchGrace  time.Duration
	auditLog    string
	verbosity   int
	apiArgs     list
	managerArgs list
	schedArgs   list
}

// Where everything is. Certificates and keys without `.crt` and `.key`.
type files struct {
	clientCA, serverCA, etcdCA, peerCA     string
	serving, etcdServer, etcdPeer, etcdCli string
	tokenKey                               string
	etcdData                               string
	admin, manager, scheduler              string
}

// Of `serve`: what servers share, and what is one's own.
func sharedFiles(state, pki string) files {
	tls := func(name string) string { return filepath.Join(state, "tls", name) }
	kubeconfig := func(who string) string { return filepath.Join(state, who+".kubeconfig") }
	ca, etcdCA := filepath.Join(pki, "ca"), filepath.Join(pki, "etcd-ca")
	return files{
		clientCA: ca, serverCA: ca, etcdCA: etcdCA, peerCA: etcdCA,
		serving: tls("serving"), etcdServer: tls("etcd"), etcdPeer: tls("etcd"), etcdCli: tls("etcd"),
		tokenKey: filepath.Join(pki, "sa.key"),
		etcdData: filepath.Join(state, "etcd"),
		admin:    kubeconfig("admin"), manager: kubeconfig("controller-manager"), scheduler: kubeconfig("scheduler"),
	}
}

// A flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(word string) error {
	*l = append(*l, word)
	return nil
}

func parseSettings(words []string) (*settings, error) {
	s := &settings{}
	address, pki := "", ""
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.StringVar(&s.name, "name", "server", "name of this server and of its etcd member")
	flags.StringVar(&s.state, "state", "", "directory of this server alone: etcd's data, certificates, kubeconfigs")
	flags.StringVar(&pki, "pki", "", "directory that all servers of the cluster share; what is missing is made there")
	flags.StringVar(&address, "address", "127.0.0.1", "address to listen on, of the API server and of etcd")
	flags.Var(&s.names, "san", "another name or address for the serving certificate; may be repeated")
	flags.IntVar(&s.apiPort, "api-port", 6443, "port of the API server")
	flags.IntVar(&s.etcdPort, "etcd-port", 2379, "port of etcd for clients")
	flags.IntVar(&s.peerPort, "peer-port", 2380, "port of etcd for its peers")
	flags.StringVar(&s.members, "initial-cluster", "", "NAME=https://ADDRESS:PEERPORT,… of every server [default: this one alone]")
	flags.BoolVar(&s.joins, "join", false, "the etcd cluster exists, and this member has been added to it")
	flags.BoolVar(&s.leaderElect, "leader-elect", true, "elect leaders; false where only one server will ever run")
	flags.DurationVar(&s.watchGrace, "shutdown-watch-termination-grace-period", time.Second, "how long watches may go on while the API server stops")
	flags.StringVar(&s.auditLog, "audit-log", "", "file for one line of JSON per request, its metadata only")
	flags.IntVar(&s.verbosity, "v", 0, "how much the Kubernetes programs log")
	flags.Var(&s.apiArgs, "apiserver-arg", "a further flag of the API server; may be repeated")
	flags.Var(&s.managerArgs, "controller-manager-arg", "a further flag of the controller-manager; may be repeated")
	flags.Var(&s.schedArgs, "scheduler-arg", "a further flag of the scheduler; may be repeated")
	if err := flags.Parse(words); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(0)
		}
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag; give flags only", flags.Arg(0))
	}
	if s.state == "" || pki == "" {
		return nil, errors.New("-state and -pki name the directories to use; give both")
	}
	s.files = sharedFiles(s.state, pki)
	if s.address = net.ParseIP(address); s.address == nil {
		return nil, fmt.Errorf("-address %q is no IP address", address)
	}
	for name, port := range map[string]int{"api-port": s.apiPort, "etcd-port": s.etcdPort, "peer-port": s.peerPort} {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("-%s %d is no port", name, port)
		}
	}
	if s.members == "" {
		own := s.peerURL()
		s.members = s.name + "=" + own.String()
	}
	return s, nil
}

func (s *settings) at(port int) string {
	return net.JoinHostPort(s.address.String(), strconv.Itoa(port))
}

func (s *settings) apiURL() string { return "https://" + s.at(s.apiPort) }

func (s *settings) peerURL() url.URL { return url.URL{Scheme: "https", Host: s.at(s.peerPort)} }

// etcd listens on loopback too, as an agent on the node expects it there.
func (s *settings) etcdURLs() []url.URL {
	urls := []url.URL{{Scheme: "https", Host: s.at(s.etcdPort)}}
	if !s.address.IsLoopback() {
		urls = append(urls, url.URL{Scheme: "https", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.etcdPort))})
	}
	return urls
}

// Where the API server of this node finds its own member.
func (s *settings) ownEtcd() string {
	urls := s.etcdURLs()
	last := urls[len(urls)-1]
	return last.String()
}
