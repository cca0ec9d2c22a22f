package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	bootstrapNamespace = "kube-system"
	bootstrapName      = "drydock-test-bootstrap"
	// A cluster that is just coming up takes no further member for a while.
	joinWithin = 3 * time.Minute
	askWithin  = 5 * time.Second
	askAgain   = 500 * time.Millisecond
)

// What a joiner needs: authorities with their keys and the key of tokens. K3s keeps the same in its datastore, sealed
// with the token, and hands it out by its supervisor (pkg/cluster/bootstrap.go).
func (f files) bootstrap(server string) map[string]string {
	named := map[string]string{}
	for _, file := range []string{f.clientCA, f.serverCA, f.etcdCA, f.peerCA} {
		for _, end := range []string{".crt", ".key"} {
			name, _ := filepath.Rel(server, file+end)
			named[strings.ReplaceAll(name, string(filepath.Separator), ".")] = file + end
		}
	}
	named["service.key"] = f.tokenKey
	return named
}

func publish(ctx context.Context, s *settings) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.files.admin)
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: bootstrapName, Namespace: bootstrapNamespace}, Data: map[string][]byte{},
	}
	for name, file := range s.files.bootstrap(s.state) {
		if secret.Data[name], err = os.ReadFile(file); err != nil {
			return err
		}
	}
	return retry(ctx, func(ctx context.Context) error {
		_, err := clients.CoreV1().Secrets(bootstrapNamespace).Create(ctx, secret, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// Asks a server that is there for the bootstrap, and keeps it.
func (t *k3sTold) fetchBootstrap(ctx context.Context, f files, dir string) error {
	var secret corev1.Secret
	err := retry(ctx, func(ctx context.Context) error {
		path := fmt.Sprintf("%s/api/v1/namespaces/%s/secrets/%s", t.url, bootstrapNamespace, bootstrapName)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+t.secret())
		asking := &http.Client{Transport: &http.Transport{TLSClientConfig: t.trust(), DisableKeepAlives: true}}
		answer, err := asking.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", answer.Status, body)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(body, &secret)
	})
	if err != nil {
		return fmt.Errorf("%s has no bootstrap for us: %w", t.url, err)
	}
	for name, file := range f.bootstrap(dir) {
		if len(secret.Data[name]) == 0 {
			return fmt.Errorf("the bootstrap of %s lacks %s", t.url, name)
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, secret.Data[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// A whole token pins the server's authority, which is sent behind the server's own certificate; one that is a secret
// alone pins nothing, as with K3s.
func (t *k3sTold) trust() *tls.Config {
	digest, pinned := strings.CutPrefix(t.token, "K10")
	digest, _, whole := strings.Cut(digest, "::")
	config := &tls.Config{InsecureSkipVerify: true}
	if !pinned || !whole {
		return config
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		for _, authority := range state.PeerCertificates[1:] {
			sum := sha256.Sum256(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}))
			if hex.EncodeToString(sum[:]) != digest {
				continue
			}
			roots := x509.NewCertPool()
			roots.AddCert(authority)
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		}
		return errors.New("the server's authority is not the one of the token")
	}
	return config
}

// A member that is on its way into a cluster.
type joining struct {
	etcd *clientv3.Client
	id   uint64
}

// As pkg/etcd/etcd.go (Join): added as a learner, promoted when it has caught up.
func (j *joining) join(t *k3sTold, s *settings) error {
	ctx, stop := context.WithTimeout(context.Background(), joinWithin)
	defer stop()
	if err := t.fetchBootstrap(ctx, s.files, s.state); err != nil {
		return err
	}
	// Certificates of its own, to be let in by the others' etcd.
	if err := prepare(s); err != nil {
		return err
	}
	other, err := url.Parse(t.url)
	if err != nil {
		return err
	}
	if j.etcd, err = s.member("https://" + net.JoinHostPort(other.Hostname(), "2379")).client(); err != nil {
		return err
	}
	peer := s.peerURL()
	return retry(ctx, func(ctx context.Context) error {
		// Refused while another one learns, and while the cluster is not known to be healthy.
		added, err := j.etcd.MemberAddAsLearner(ctx, []string{peer.String()})
		if err != nil {
			return err
		}
		j.id = added.Member.ID
		var members []string
		for _, member := range added.Members {
			for _, at := range member.PeerURLs {
				name := member.Name
				if member.ID == j.id {
					name = s.name
				}
				members = append(members, name+"="+at)
			}
		}
		s.members, s.joins = strings.Join(members, ","), true
		return nil
	})
}

// It has joined: from now on it counts.
func (j *joining) promote(ctx context.Context) error {
	if j.etcd == nil {
		return nil
	}
	defer j.etcd.Close()
	ctx, stop := context.WithTimeout(ctx, joinWithin)
	defer stop()
	return retry(ctx, func(ctx context.Context) error {
		_, err := j.etcd.MemberPromote(ctx, j.id)
		return err
	})
}

// Tries again until it is done or the time is over; says why it was not.
func retry(ctx context.Context, try func(context.Context) error) error {
	for {
		once, stop := context.WithTimeout(ctx, askWithin)
		err := try(once)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askAgain):
		}
	}
}
