package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// pkg/daemons/control/deps/deps.go (CreateRuntimeCertFiles) and pkg/etcd/etcd.go, below DATADIR/server.
func k3sFiles(server string) files {
	tls := func(name string) string { return filepath.Join(server, "tls", name) }
	cred := func(name string) string { return filepath.Join(server, "cred", name+".kubeconfig") }
	return files{
		clientCA: tls("client-ca"), serverCA: tls("server-ca"),
		etcdCA: tls("etcd/server-ca"), peerCA: tls("etcd/peer-ca"),
		serving:    tls("serving-kube-apiserver"),
		etcdServer: tls("etcd/server-client"), etcdPeer: tls("etcd/peer-server-client"), etcdCli: tls("etcd/client"),
		tokenKey: tls("service.key"),
		etcdData: filepath.Join(server, "db", "etcd"),
		admin:    cred("admin"), manager: cred("controller"), scheduler: cred("scheduler"),
	}
}

func (t *k3sTold) server() error {
	dir := t.serverDir()
	s := &settings{
		name: t.nodeName, state: dir, files: k3sFiles(dir), address: net.ParseIP(t.nodeIP), bindAll: true,
		names: append([]string{t.nodeName}, t.names...), apiPort: 6443, etcdPort: 2379, peerPort: 2380,
		leaderElect: true, watchGrace: time.Second, tokens: filepath.Join(dir, "cred", "tokens.csv"),
		apiArgs: dashed(t.apiArgs), managerArgs: dashed(t.managerArgs),
	}
	if s.address == nil {
		return fmt.Errorf("--node-ip %q is no IP address", t.nodeIP)
	}
	if err := os.MkdirAll(filepath.Join(dir, "cred"), 0o700); err != nil {
		return err
	}
	joined := &joining{}
	if err := t.chooseDatastore(s); err != nil {
		return err
	}
	if s.kine == nil && s.external == nil {
		if err := t.firstStart(s, joined); err != nil {
			return err
		}
	}
	if err := prepare(s); err != nil {
		return err
	}
	if err := t.writeTokens(s); err != nil {
		return err
	}
	if err := t.writeAdmin(s); err != nil {
		return err
	}
	return s.run(hooks{member: joined.promote, ready: func(ctx context.Context) error { return t.isUp(ctx, s) }})
}

// The member's name, and what is to be known of the cluster before it exists here.
func (t *k3sTold) firstStart(s *settings, joined *joining) error {
	if err := os.MkdirAll(s.files.etcdData, 0o700); err != nil {
		return err
	}
	// pkg/etcd/etcd.go (setName): the host's name and eight random digits, kept beside the data.
	file := filepath.Join(s.files.etcdData, "name")
	name, err := os.ReadFile(file)
	switch {
	case err == nil:
		s.name = string(name)
	case errors.Is(err, os.ErrNotExist):
		random := make([]byte, 4)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		s.name = t.nodeName + "-" + hex.EncodeToString(random)
		if err := os.WriteFile(file, []byte(s.name), 0o600); err != nil {
			return err
		}
	default:
		return err
	}
	peer := s.peerURL()
	s.members = s.name + "=" + peer.String()
	if _, err := os.Stat(filepath.Join(s.files.etcdData, "member")); err == nil || t.url == "" {
		return nil
	}
	return joined.join(t, s)
}

// pkg/clientaccess/token.go: `K10`, the digest of the server's authority, `::`, who, `:`, and the secret.
func (t *k3sTold) writeTokens(s *settings) error {
	file := filepath.Join(t.serverDir(), "token")
	if known, err := os.ReadFile(file); err == nil && t.token == "" {
		t.token = strings.TrimSpace(string(known))
	}
	if t.token == "" {
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		t.token = hex.EncodeToString(random)
	}
	authority, err := os.ReadFile(s.files.serverCA + ".crt")
	if err != nil {
		return err
	}
	digest := sha256.Sum256(authority)
	whole := "K10" + hex.EncodeToString(digest[:]) + "::server:" + t.secret() + "\n"
	// K3s's supervisor knows the secret; here the API server does.
	known := fmt.Sprintf("%s,server,server,system:masters\n", t.secret())
	return errors.Join(os.WriteFile(s.tokens, []byte(known), 0o600), os.WriteFile(file, []byte(whole), 0o600))
}

// Of a token that is whole, or of one that is only a secret.
func (t *k3sTold) secret() string {
	if _, credentials, whole := strings.Cut(t.token, "::"); whole {
		_, secret, _ := strings.Cut(credentials, ":")
		return secret
	}
	return t.token
}

// The administrator's certificate, and the kubeconfig that K3s gives to people.
func (t *k3sTold) writeAdmin(s *settings) error {
	ca, err := openAuthority(s.files.clientCA)
	if err != nil {
		return err
	}
	admin := client{user: "system:admin", groups: []string{"system:masters"}, valid: aYear}
	// A certificate that is there stays: somebody may be reading it, and its key a moment later.
	path := filepath.Join(t.serverDir(), "tls", "client-admin")
	if _, err := os.Stat(path + ".crt"); err == nil {
		return nil
	}
	issued, err := admin.issue(ca)
	if err != nil {
		return err
	}
	if err := errors.Join(issued.write(path), os.MkdirAll(filepath.Dir(t.kubeconfig), 0o755)); err != nil {
		return err
	}
	return admin.writeKubeconfigOf(issued, s.files.serverCA+".crt", "https://127.0.0.1:6443", t.kubeconfig)
}

func (t *k3sTold) isUp(ctx context.Context, s *settings) error {
	store, err := s.storage().client()
	if err != nil {
		return err
	}
	err = saveBootstrap(ctx, store, t.secret(), s.files)
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if err := publish(ctx, s); err != nil {
		return err
	}
	if err := t.tellSystemd(); err != nil || t.disableAgent {
		return err
	}
	ca, err := openAuthority(s.files.clientCA)
	if err != nil {
		return err
	}
	node, err := t.node(ca, s.files.serverCA+".crt", "https://127.0.0.1:6443")
	if err != nil {
		return err
	}
	go node.play(ctx)
	return nil
}

func (t *k3sTold) tellSystemd() error {
	if err := os.Setenv("NOTIFY_SOCKET", t.notify); err != nil {
		return err
	}
	_, err := daemon.SdNotify(true, "READY=1\n")
	return err
}

// K3s takes the arguments of its components without their dashes.
func dashed(args []string) list {
	var all list
	for _, arg := range args {
		all = append(all, "--"+strings.TrimLeft(arg, "-"))
	}
	return all
}
