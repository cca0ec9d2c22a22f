package main

import (
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// A member that does not find its majority says so by then, and its server ends.
const etcdReadyWithin = 2 * time.Minute

// Starts the member and waits until it has joined: with several servers, until a majority of them is there.
func startEtcd(s *settings, stop <-chan struct{}) (*embed.Etcd, error) {
	tls := func(name string) transport.TLSInfo {
		return transport.TLSInfo{
			CertFile:       filepath.Join(s.state, "tls", name+".crt"),
			KeyFile:        filepath.Join(s.state, "tls", name+".key"),
			TrustedCAFile:  filepath.Join(s.pki, "etcd-ca.crt"),
			ClientCertAuth: true,
		}
	}
	config := embed.NewConfig()
	config.Name = s.name
	config.Dir = filepath.Join(s.state, "etcd")
	config.ListenClientUrls = s.etcdURLs()
	config.AdvertiseClientUrls = s.etcdURLs()[:1]
	config.ListenPeerUrls = append(config.ListenPeerUrls[:0], s.peerURL())
	config.AdvertisePeerUrls = append(config.AdvertisePeerUrls[:0], s.peerURL())
	config.InitialCluster = s.members
	config.InitialClusterToken = "drydock-test"
	if s.joins {
		config.ClusterState = embed.ClusterStateFlagExisting
	}
	config.ClientTLSInfo = tls("etcd")
	config.PeerTLSInfo = tls("etcd")
	// NewConfig leaves it at zero, and then every request is a slow one.
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	config.LogLevel = "warn"
	config.LogOutputs = []string{"stderr"}

	member, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-member.Server.ReadyNotify():
		return member, nil
	case err := <-member.Err():
		return nil, fmt.Errorf("etcd: %w", err)
	case <-stop:
		member.Close()
		return nil, errStopped
	case <-time.After(etcdReadyWithin):
		member.Close()
		return nil, fmt.Errorf("etcd found no majority of %s within %v; start the others", s.members, etcdReadyWithin)
	}
}
