package tokenserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"gatehouse/durable"
	"gatehouse/tokenserver/token"
)

const (
	// keyFile is the active key in the folder of keys: a PKCS #8 PEM file.
	keyFile = "signing.pem"
	// maxKeyFile bounds what is read of it.
	maxKeyFile = 64 << 10
)

// Keys is the set of keys that tokens are signed and verified with: one is active and signs, all of them verify. Answers may
// differ from call to call, so callers ask each time; they may ask from many goroutines.
type Keys struct {
	active *token.Key
	public []token.PublicKey
}

// Active returns the key that signs.
func (k *Keys) Active() *token.Key { return k.active }

// Public returns the keys that verify; the slice must not be modified. It is made for token.NewVerifier.
func (k *Keys) Public() []token.PublicKey { return k.public }

// OpenKeys returns the keys kept in the folder dir. If there are none, it makes folder and key, which are on disk and for
// their owner alone when it returns. A key that is there and cannot be used is an error that says what to do: a new one in
// its place would silently invalidate every token, and everything that was told to trust the old one.
func OpenKeys(dir string, log *slog.Logger) (*Keys, error) {
	path := filepath.Join(dir, keyFile)
	key, err := loadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(path)
		if err == nil {
			log.Info("signing key made", "file", path, "kid", key.Public().KeyID())
		}
	}
	if err != nil {
		return nil, err
	}
	return &Keys{active: key, public: []token.PublicKey{key.Public()}}, nil
}

// loadKey reads the key at path. The error wraps fs.ErrNotExist only if nothing is there; it never quotes the file.
func loadKey(path string) (*token.Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("signing key %s cannot be read: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("signing key %s cannot be read: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("signing key %s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("signing key %s has mode %#o, so that others than its owner may use it; if none of them has, `chmod 600 %s`, "+
			"otherwise move it away and a new one is made", path, perm, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("signing key %s cannot be read: %w", path, err)
	}
	key, err := token.ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("signing key %s is damaged; restore it from a backup, or move it away to have a new one made, "+
			"which ends every token and has to be made known to other verifiers: %w", path, err)
	}
	return key, nil
}

// createKey makes the key at path, unless another process is quicker: then it returns that one's.
func createKey(path string) (*token.Key, error) {
	dir := filepath.Dir(path)
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder of signing keys could not be made: %w", err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if key, err := loadKey(path); !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err := token.GenerateKey()
	if err != nil {
		return nil, err
	}
	data, err := key.PEM()
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(path, data, 0o600); err != nil {
		return nil, fmt.Errorf("the signing key could not be kept: %w", err)
	}
	return key, nil
}
