package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const aYear = 365 * 24 * time.Hour

// A certificate with its key, both in PEM.
type pair struct {
	cert, key []byte
}

// What a certificate is for.
type subject struct {
	name   string
	groups []string
	hosts  []string
	valid  time.Duration
	usages []x509.ExtKeyUsage
}

// An authority, in memory.
type authority struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Several servers of one test start on one empty directory at the same time; the first makes what is in it.
func lock(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return func() { file.Close() }, nil
}

// The authority of these files, made if it is not there.
func openAuthority(path string) (*authority, error) {
	file, keyFile := path+".crt", path+".key"
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := makeAuthority(filepath.Base(path), file, keyFile); err != nil {
			return nil, err
		}
	}
	certDER, err := readPEM(file)
	if err != nil {
		return nil, err
	}
	keyDER, err := readPEM(keyFile)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	return &authority{file: file, cert: cert, key: key}, nil
}

func makeAuthority(name, file, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "drydock-test-" + name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	made, err := sign(template, template, key, key, 10*aYear)
	if err != nil {
		return err
	}
	// The key first: a certificate without one would be taken for a finished authority.
	if err := os.WriteFile(keyFile, made.key, 0o600); err != nil {
		return err
	}
	return os.WriteFile(file, made.cert, 0o644)
}

// Issues a certificate. A `valid` below zero makes one that has expired.
func (a *authority) issue(who subject) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: who.name, Organization: who.groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: who.usages,
	}
	for _, host := range who.hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(template, a.cert, key, a.key, who.valid)
}

func sign(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey, valid time.Duration) (*pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber = serial
	// Clocks of lab nodes may differ a little.
	template.NotBefore = now.Add(-time.Hour)
	template.NotAfter = now.Add(valid)
	certDER, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// Writes it as PATH.crt and PATH.key.
func (p *pair) write(path string) error {
	if err := os.WriteFile(path+".key", p.key, 0o600); err != nil {
		return err
	}
	return os.WriteFile(path+".crt", p.cert, 0o644)
}

// The key that signs service accounts' tokens: shared, or a token of one server would be no token at another.
func ensureTokenKey(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func readPEM(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM; remove the directory and start again", file)
	}
	return block.Bytes, nil
}
