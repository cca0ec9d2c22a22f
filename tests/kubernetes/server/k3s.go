package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"k8s.io/component-base/version"
)

// K3s's shape around the same server: what an upgrade of K3s relies on, and nothing else of it. Each name is K3s's own,
// with the file of github.com/k3s-io/k3s that has it.
//
// Never tried here, because K3s itself is none of this: its supervisor (a joiner here reads a Secret by the API, and an
// agent signs its own certificate), MySQL, PostgreSQL and NATS through kine, moving SQLite into etcd, several servers over
// one external datastore, its containerd, CNI, kube-proxy, service load balancer, Helm controller and packaged manifests,
// secrets encryption, snapshots by `k3s etcd-snapshot`, cluster-reset, certificate rotation, rootless mode, SELinux, the
// rotation of its token, its start when the token is another one, and a new host set up from what its datastore holds: what
// is sealed there is never opened here.
const (
	// cmd/k3s/main.go, pkg/datadir: where everything lies unless --data-dir says otherwise.
	k3sDataDir = "/var/lib/rancher/k3s"
	// This one's own: names the unpacked directory for the program that is then executed. K3s tells them apart by the
	// program's name; its K3S_DATA_DIR is a setting, and it named this directory only in releases of long ago.
	k3sUnpacked = "DRYDOCK_TEST_K3S_UNPACKED"
)

// The name of what is unpacked, given by the build. In K3s it is the digest of the archive inside of the program, and
// stands in the program as text (pkg/data); here it is made of the version.
var archive string

// The program as it is called where it is installed.
func isK3s(program string) bool {
	switch filepath.Base(program) {
	case "k3s", "k3s-server", "k3s-agent":
		return true
	}
	return false
}

func k3s(words []string) error {
	command := ""
	if len(words) > 0 {
		command = words[0]
	}
	switch command {
	case "--version", "-v":
		// pkg/cli/cmds/root.go prints it in these two lines.
		_, err := fmt.Printf("k3s version %s (unknown)\ngo version %s\n", version.Get().GitVersion, runtime.Version())
		return err
	case "server", "agent":
	default:
		return fmt.Errorf("this is no K3s: it knows `server`, `agent` and `--version`, and not %q", command)
	}
	told, err := parseK3s(command, words[1:])
	if err != nil {
		return err
	}
	if os.Getenv(k3sUnpacked) == "" {
		return unpackAndRun(told.dataDir, command)
	}
	// pkg/cli/server/server.go does the same: an API server tells systemd that it is ready long before the whole is.
	told.notify = os.Getenv("NOTIFY_SOCKET")
	if err := os.Unsetenv("NOTIFY_SOCKET"); err != nil {
		return err
	}
	if command == "agent" {
		return told.agent()
	}
	return told.server()
}

// As cmd/k3s/main.go does it (stageAndRun, extract): what is installed unpacks itself below DATADIR/data/HASH and becomes
// what it has unpacked, so that the process's executable is not the installed file. It stays unpacked: the next start of
// the same version unpacks nothing.
func unpackAndRun(dataDir, command string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	if archive == "" {
		return errors.New("built without -X main.archive=DIGEST, which names what it unpacks")
	}
	data := filepath.Join(dataDir, "data")
	dir := filepath.Join(data, archive)
	program := filepath.Join(dir, "bin", "k3s-"+command)
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
		if err := unpack(self, data, dir); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := os.Setenv(k3sUnpacked, dir); err != nil {
		return err
	}
	return syscall.Exec(program, os.Args, os.Environ())
}

func unpack(self *os.File, data, dir string) error {
	half := dir + "-tmp"
	if err := errors.Join(os.RemoveAll(half), os.MkdirAll(filepath.Join(half, "bin"), 0o755)); err != nil {
		return err
	}
	if _, err := self.Seek(0, io.SeekStart); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(half, "bin", "k3s"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, self)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	for _, name := range []string{"k3s-server", "k3s-agent"} {
		if err := os.Symlink("k3s", filepath.Join(half, "bin", name)); err != nil {
			return err
		}
	}
	current, previous := filepath.Join(data, "current"), filepath.Join(data, "previous")
	if err := os.Rename(current, previous); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(os.Symlink(dir, current), os.Rename(half, dir))
}
