package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// What K3s keeps in every datastore, etcd's and kine's alike, for a server that is set up from it: authorities with
// their keys, encrypted with the password of the server's token. Without that token a snapshot is worth nothing, so an
// upgrade looks whether the token beside it is the one. Joiners here do not read it: they have the Secret (publish).
//
// pkg/cluster/storage.go (Save, getBootstrapKeyFromStorage) and pkg/cluster/encrypt.go. With embedded etcd it is written
// once the member is a voting one (pkg/cluster/cluster.go, Start).
const bootstrapKeys = "/bootstrap"

// As pkg/bootstrap/bootstrap.go writes a file: its content is base64, as Go has it for bytes.
type bootstrapFile struct {
	Timestamp time.Time
	Content   []byte
}

var errOtherToken = errors.New("bootstrap data already found and encrypted with different token")

// Saves it into the datastore that this client reaches, unless it is there. Data of another token are an error and stay
// as they are.
func saveBootstrap(ctx context.Context, store *clientv3.Client, password string, f files) error {
	var other error
	err := retry(ctx, func(ctx context.Context) error {
		err := saveBootstrapOnce(ctx, store, password, f)
		if errors.Is(err, errOtherToken) {
			other, err = err, nil
		}
		return err
	})
	return errors.Join(err, other)
}

func saveBootstrapOnce(ctx context.Context, store *clientv3.Client, password string, f files) error {
	there, err := store.Get(ctx, bootstrapKeys, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	key := bootstrapKey(password)
	for _, found := range there.Kvs {
		if string(found.Key) == key {
			return nil
		}
	}
	if len(there.Kvs) > 0 {
		return errOtherToken
	}
	value, err := f.sealedBootstrap(password)
	if err != nil {
		return err
	}
	// Another server may have been quicker: then its data stay, which are the same.
	_, err = store.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value)).
		Commit()
	return err
}

// The first twelve digits of the password's digest tell one token's data from another's.
func bootstrapKey(password string) string {
	digest := sha256.Sum256([]byte(password))
	return bootstrapKeys + "/" + hex.EncodeToString(digest[:])[:12]
}

// Names of pkg/daemons/config/types.go (ControlRuntimeBootstrap), as far as there are such files here.
func (f files) sealedBootstrap(password string) (string, error) {
	named := map[string]bootstrapFile{}
	for name, path := range map[string]string{
		"ClientCA": f.clientCA + ".crt", "ClientCAKey": f.clientCA + ".key",
		"ServerCA": f.serverCA + ".crt", "ServerCAKey": f.serverCA + ".key",
		"ETCDServerCA": f.etcdCA + ".crt", "ETCDServerCAKey": f.etcdCA + ".key",
		"ETCDPeerCA": f.peerCA + ".crt", "ETCDPeerCAKey": f.peerCA + ".key",
		"ServiceKey": f.tokenKey,
	} {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		about, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		named[name] = bootstrapFile{Timestamp: about.ModTime(), Content: content}
	}
	plain, err := json.Marshal(named)
	if err != nil {
		return "", err
	}
	return sealWith(password, plain)
}

// AES-GCM with a key that is derived from the password: salt, `:`, and base64 of nonce and what is sealed.
func sealWith(password string, plain []byte) (string, error) {
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	salt := hex.EncodeToString(random)
	secret, err := pbkdf2.Key(sha1.New, password, []byte(salt), 4096, 32)
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return "", err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return salt + ":" + base64.StdEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, nil)), nil
}
