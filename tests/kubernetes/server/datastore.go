package main

import (
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What the API server keeps its objects in, while it runs.
type datastore struct {
	ended <-chan error
	close func()
}

// Where a client finds it, and with which files it is let in. Without files there is no TLS.
type storage struct{ endpoint, ca, cert, key string }

// The one that runs in this process, unless somebody else runs it.
func (s *settings) startDatastore(stop <-chan struct{}) (*datastore, error) {
	switch {
	case s.external != nil:
		return &datastore{close: func() {}}, nil
	case s.kine != nil:
		return startKine(s.kine)
	}
	member, err := startEtcd(s, stop)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- named("etcd", <-member.Err()) }()
	return &datastore{ended: ended, close: member.Close}, nil
}

func (s *settings) storage() storage {
	switch {
	case s.external != nil:
		return *s.external
	case s.kine != nil:
		return storage{endpoint: "unix://" + s.kine.socket}
	}
	return s.member(s.ownEtcd())
}

// A member of etcd, this server's or another one's.
func (s *settings) member(endpoint string) storage {
	files := s.files
	return storage{endpoint, files.etcdCA + ".crt", files.etcdCli + ".crt", files.etcdCli + ".key"}
}

// A client of it.
func (at storage) client() (*clientv3.Client, error) {
	config := clientv3.Config{Endpoints: []string{at.endpoint}, DialTimeout: askWithin}
	if at.ca != "" || at.cert != "" {
		info := transport.TLSInfo{CertFile: at.cert, KeyFile: at.key, TrustedCAFile: at.ca}
		tls, err := info.ClientConfig()
		if err != nil {
			return nil, err
		}
		config.TLS = tls
	}
	return clientv3.New(config)
}

// The flags of the API server that lead there.
func (at storage) args() []string {
	args := []string{"--etcd-servers=" + at.endpoint}
	for flag, file := range map[string]string{"cafile": at.ca, "certfile": at.cert, "keyfile": at.key} {
		if file != "" {
			args = append(args, "--etcd-"+flag+"="+file)
		}
	}
	return args
}
