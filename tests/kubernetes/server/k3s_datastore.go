package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pkg/cluster/managed.go (assignManagedDriver): a member of etcd that was begun wins over every setting, then an endpoint,
// then --cluster-init and joining; where nothing is said it is SQLite (pkg/drivers/sqlite of k3s-io/kine), whose files lie
// where K3s has its working directory.
func (t *k3sTold) chooseDatastore(s *settings) error {
	if there(s.files.etcdData, "member", "wal") {
		return nil
	}
	dir := t.serverDir()
	files := &kineFiles{database: filepath.Join(dir, "db", "state.db"), socket: filepath.Join(dir, "kine.sock")}
	switch {
	case t.datastore.endpoint != "":
		// What speaks etcd's API is passed through by kine; the other databases' drivers are not here.
		scheme, _, _ := strings.Cut(t.datastore.endpoint, "://")
		if scheme != "http" && scheme != "https" {
			return fmt.Errorf("a datastore of the kind %q is known to K3s at the most: here it is etcd, by http or https", scheme)
		}
		s.external = &t.datastore
	case t.clusterInit || t.url != "":
		if there(files.database) {
			return fmt.Errorf("K3s would move %s into etcd, which is not tried here", files.database)
		}
	default:
		s.kine = files
		// pkg/cluster/cluster.go (startStorage): nobody else can lead.
		s.leaderElect = false
	}
	return nil
}

func there(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}
