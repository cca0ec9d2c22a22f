package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc"
)

// As kine's own program has them unless it is told otherwise (pkg/app of github.com/k3s-io/kine).
const (
	kineNotifies      = 5 * time.Second
	kineSaysItIs      = "3.6.11"
	kineCompactWithin = 5 * time.Second
	kineRetains       = 1000
	kineCompacts      = 1000
	kinePolls         = 500
	// pkg/endpoint: how long requests may still take when it ends.
	kineEndsWithin = 2 * time.Second
)

// Where the database lies, and where etcd's API is spoken.
type kineFiles struct{ database, socket string }

// kine in this process, as in K3s: etcd's API on a socket, over an SQLite database. These are the steps of kine's
// pkg/endpoint (Listen), with the driver named here; that package brings the drivers of every other database along.
func startKine(files *kineFiles) (*datastore, error) {
	if err := os.MkdirAll(filepath.Dir(files.database), 0o700); err != nil {
		return nil, err
	}
	// A socket of the last start is in the way of this one.
	if err := os.Remove(files.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	compacting := &sync.WaitGroup{}
	_, backend, err := sqlite.New(ctx, compacting, &drivers.Config{
		DataSourceName: files.database + "?" + sqlite.DefaultParams, CompactTimeout: kineCompactWithin,
		CompactMinRetain: kineRetains, CompactBatchSize: kineCompacts, PollBatchSize: kinePolls,
	})
	if err == nil {
		err = backend.Start(ctx)
	}
	var listener net.Listener
	if err == nil {
		listener, err = net.Listen("unix", files.socket)
	}
	if err == nil {
		err = os.Chmod(files.socket, 0o600)
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("kine over %s: %w", files.database, err)
	}
	serving := grpc.NewServer()
	server.New(backend, "unix", kineNotifies, kineSaysItIs).Register(serving)
	ended := make(chan error, 1)
	go func() { ended <- named("kine", serving.Serve(listener)) }()
	return &datastore{ended: ended, close: func() {
		late := time.AfterFunc(kineEndsWithin, serving.Stop)
		defer late.Stop()
		serving.GracefulStop()
		cancel()
		// The database is closed by then.
		compacting.Wait()
	}}, nil
}
