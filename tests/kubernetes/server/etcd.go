package main

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// A member that does not find its majority says so by then, and its server ends.
const etcdReadyWithin = 2 * time.Minute

// Starts the member and waits until it has joined: with several servers, until a majority of them is there.
func startEtcd(s *settings, stop <-chan struct{}) (*embed.Etcd, error) {
	tls := func(cert, ca string) transport.TLSInfo {
		return transport.TLSInfo{
			CertFile: cert + ".crt", KeyFile: cert + ".key", TrustedCAFile: ca + ".crt", ClientCertAuth: true,
		}
	}
	config := embed.NewConfig()
	config.Name = s.name
	config.Dir = s.files.etcdData
	config.ListenClientUrls = s.etcdURLs()
	config.AdvertiseClientUrls = s.etcdURLs()[:1]
	config.ListenPeerUrls = append(config.ListenPeerUrls[:0], s.peerURL())
	config.AdvertisePeerUrls = append(config.AdvertisePeerUrls[:0], s.peerURL())
	config.InitialCluster = s.members
	config.InitialClusterToken = "drydock-test"
	if s.joins {
		config.ClusterState = embed.ClusterStateFlagExisting
	}
	config.ClientTLSInfo = tls(s.files.etcdServer, s.files.etcdCA)
	config.PeerTLSInfo = tls(s.files.etcdPeer, s.files.peerCA)
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
