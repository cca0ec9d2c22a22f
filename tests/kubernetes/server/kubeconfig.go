package main

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Somebody who may ask the API server, by a certificate.
type client struct {
	user   string
	groups []string
	valid  time.Duration
}

var administrator = client{user: "drydock-test-admin", groups: []string{"system:masters"}, valid: aYear}

// Issues the certificate and writes the kubeconfig with everything in it, readable by its owner alone.
func (c client) writeKubeconfig(ca *authority, serverCA, server, file string) error {
	issued, err := c.issue(ca)
	if err != nil {
		return err
	}
	return c.writeKubeconfigOf(issued, serverCA, server, file)
}

func (c client) issue(ca *authority) (*pair, error) {
	return ca.issue(subject{
		name: c.user, groups: c.groups, valid: c.valid, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (c client) writeKubeconfigOf(issued *pair, serverCA, server, file string) error {
	authorityPEM, err := os.ReadFile(serverCA)
	if err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters["test"] = &api.Cluster{Server: server, CertificateAuthorityData: authorityPEM}
	config.AuthInfos[c.user] = &api.AuthInfo{ClientCertificateData: issued.cert, ClientKeyData: issued.key}
	config.Contexts["test"] = &api.Context{Cluster: "test", AuthInfo: c.user}
	config.CurrentContext = "test"
	return clientcmd.WriteToFile(*config, file)
}

func kubeconfigCommand(words []string) error {
	var who client
	var groups list
	var pki, server, out string
	flags := flag.NewFlagSet("kubeconfig", flag.ContinueOnError)
	flags.StringVar(&pki, "pki", "", "the cluster's shared directory")
	flags.StringVar(&server, "server", "", "URL of an API server")
	flags.StringVar(&who.user, "user", "", "name of the user")
	flags.Var(&groups, "group", "a group of the user; may be repeated")
	flags.DurationVar(&who.valid, "valid", 24*time.Hour, "from now; below zero makes one that has expired")
	flags.StringVar(&out, "out", "", "file to write")
	if err := flags.Parse(words); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if pki == "" || server == "" || who.user == "" || out == "" || flags.NArg() > 0 {
		return fmt.Errorf("give -pki, -server, -user and -out, and nothing without a flag")
	}
	who.groups = groups
	ca, err := openAuthority(filepath.Join(pki, "ca"))
	if err != nil {
		return err
	}
	return who.writeKubeconfig(ca, ca.file, server, out)
}
