package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// pkg/agent/tunnel, pkg/agent/loadbalancer: an agent speaks to its own port, and that to whichever server answers.
const balancerAddress = "127.0.0.1:6444"

func (t *k3sTold) agent() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// K3s's supervisor signs; here the agent is given the authority and signs for itself.
	dir := filepath.Join(t.dataDir, "agent")
	authorities := k3sFiles(filepath.Join(dir, "drydock-test"))
	if _, err := os.Stat(authorities.clientCA + ".crt"); errors.Is(err, os.ErrNotExist) {
		fetching, done := context.WithTimeout(ctx, joinWithin)
		err := t.fetchBootstrap(fetching, authorities, filepath.Join(dir, "drydock-test"))
		done()
		if err != nil {
			return err
		}
	}
	ca, err := openAuthority(authorities.clientCA)
	if err != nil {
		return err
	}
	balance := &balancer{}
	if err := balance.listen(ctx, t.url, filepath.Join(dir, "servers")); err != nil {
		return err
	}
	node, err := t.node(ca, authorities.serverCA+".crt", "https://"+balancerAddress)
	if err != nil {
		return err
	}
	go balance.learn(ctx, node.api)
	if t.runtime != "" {
		return errors.Join(t.tellSystemd(), node.kubelet(ctx, t))
	}
	if err := node.register(ctx); err != nil {
		return err
	}
	if err := t.tellSystemd(); err != nil {
		return err
	}
	node.play(ctx)
	return nil
}

// Hands connections on to servers: the one that answered last, then the others.
type balancer struct {
	lock    sync.Mutex
	servers []string
	file    string
}

func (b *balancer) listen(ctx context.Context, first, file string) error {
	at, err := url.Parse(first)
	if err != nil {
		return err
	}
	b.servers, b.file = []string{at.Host}, file
	// Those that were known before this start: the first one may be the one that is down.
	if known, err := os.ReadFile(file); err == nil {
		b.set(strings.Fields(string(known)))
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", balancerAddress)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		listener.Close()
	}()
	go func() {
		for {
			taken, err := listener.Accept()
			if err != nil {
				return
			}
			go b.hand(taken)
		}
	}()
	return nil
}

func (b *balancer) set(servers []string) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if len(servers) > 0 {
		b.servers = servers
	}
}

func (b *balancer) hand(taken net.Conn) {
	defer taken.Close()
	b.lock.Lock()
	servers := append([]string{}, b.servers...)
	b.lock.Unlock()
	for index, server := range servers {
		to, err := net.DialTimeout("tcp", server, time.Second)
		if err != nil {
			continue
		}
		if index > 0 {
			b.set(append([]string{server}, append(servers[:index:index], servers[index+1:]...)...))
		}
		go func() {
			io.Copy(to, taken)
			to.Close()
		}()
		io.Copy(taken, to)
		return
	}
}

// Who the servers are: the endpoints of the Service `kubernetes`, as K3s's agents follow them.
func (b *balancer) learn(ctx context.Context, api *kubernetes.Clientset) {
	for {
		once, stop := context.WithTimeout(ctx, askWithin)
		found, err := api.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(once, metav1.ListOptions{
			LabelSelector: "kubernetes.io/service-name=kubernetes",
		})
		stop()
		if err == nil {
			var servers []string
			for _, slice := range found.Items {
				for _, endpoint := range slice.Endpoints {
					for _, address := range endpoint.Addresses {
						servers = append(servers, net.JoinHostPort(address, "6443"))
					}
				}
			}
			b.remember(servers)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askWithin):
		}
	}
}

// Adds those that are new; a server that is just starting anew is not in the list and stays known.
func (b *balancer) remember(servers []string) {
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, server := range servers {
		if !slices.Contains(b.servers, server) {
			b.servers = append(b.servers, server)
		}
	}
	text := ""
	for _, server := range b.servers {
		text += server + "\n"
	}
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, "k3s agent:", err)
	}
}
