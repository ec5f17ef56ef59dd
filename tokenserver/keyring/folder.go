package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"gatehouse/durable"
	"gatehouse/tokenserver/regular"
	"gatehouse/tokenserver/token"
)

const (
	// firstFile is the first key of a folder. Versions without a manifest have no other, and find it where they left it.
	firstFile = "signing.pem"
	// maxFile bounds what is read of a file.
	maxFile = 1 << 20
)

// keyFileName is what every other key's file is called: its libtrust id.
var keyFileName = regexp.MustCompile(`^([A-Z2-7]{4}-){11}[A-Z2-7]{4}\.pem$`)

// ErrNoKeys is a folder where no key was made yet.
var ErrNoKeys = errors.New("there are no signing keys yet; the first start of the server makes one, or `gatehouse key import` brings one")

// Folder is the keys on disk, for verbs. Each change is made under the folder's lock, by one process after the other; it is on
// disk when the method returns nil, and a running server has it within seconds. A process that dies in between leaves the
// change made or not made: the manifest is written when all that it names is there, and what it no longer names goes after.
type Folder struct {
	Options
	write  func(path string, data []byte, perm fs.FileMode) error
	remove func(path string) error
}

// NewFolder returns the folder that o names. It looks at nothing.
func NewFolder(o Options) (*Folder, error) {
	if o.Dir == "" || o.Logger == nil {
		return nil, errors.New("signing keys need a folder and a logger")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch o.Algorithm {
	case "":
		o.Algorithm = token.ES256
	case token.ES256, token.RS256, token.EdDSA:
	default:
		return nil, fmt.Errorf("%q is no algorithm for signing keys", o.Algorithm)
	}
	if o.Retire <= 0 || o.Retire > maxKeep || o.Prepublish < 0 || o.Rotate < 0 {
		return nil, errors.New("the times of signing keys make no sense")
	}
	return &Folder{Options: o, write: durable.WriteFile, remove: durable.Remove}, nil
}

// now is the clock to the second, as it is written down, in UTC.
func (f *Folder) now() time.Time { return f.Now().UTC().Truncate(time.Second) }

func (f *Folder) path(name string) string { return filepath.Join(f.Dir, name) }

func (f *Folder) manifestFile() string { return f.path("ring.json") }

// update changes the manifest under the lock. Without one, the key of an earlier version is taken over
// before, or with create the first one made.
func (f *Folder) update(create bool, change func(*manifest) error) error {
	if create {
		if err := f.makeFolder(); err != nil {
			return fmt.Errorf("the folder of signing keys could not be made: %w", err)
		}
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	m, data, err := f.read()
	if errors.Is(err, ErrNoKeys) && (create || f.hasFirst()) {
		m, data, err = f.first()
	}
	if err != nil {
		return err
	}
	if err := change(m); err != nil {
		return err
	}
	_, err = f.commit(m, data)
	return err
}

// read returns the manifest, its keys and its text. A folder without one is ErrNoKeys only if no key is there either but the
// one in signing.pem; else the manifest was lost.
func (f *Folder) read() (*manifest, []byte, error) {
	data, err := readFile(f.manifestFile())
	if errors.Is(err, fs.ErrNotExist) {
		entries, readErr := os.ReadDir(f.Dir)
		if readErr != nil {
			return nil, nil, fmt.Errorf("the folder of signing keys cannot be read: %w", readErr)
		}
		for _, e := range entries {
			if keyFileName.MatchString(strings.TrimPrefix(e.Name(), caPrefix)) {
				return nil, nil, explainManifest(f.manifestFile(), err)
			}
		}
		return nil, nil, ErrNoKeys
	}
	if err != nil {
		return nil, nil, explainManifest(f.manifestFile(), err)
	}
	m, err := f.load(data, nil)
	return m, data, err
}

// commit writes the manifest if it differs from before, and then removes the files of keys that are gone. It returns its text.
func (f *Folder) commit(m *manifest, before []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("signing keys were not changed: %w", err)
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("signing keys were not changed: %w", err)
	}
	data = append(data, '\n')
	if !bytes.Equal(data, before) {
		if err := f.write(f.manifestFile(), data, 0o644); err != nil {
			return nil, fmt.Errorf("signing keys were not changed: %w", err)
		}
	}
	for _, e := range m.Keys {
		if e.Gone.IsZero() {
			continue
		}
		if err := f.remove(f.path(e.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the file of a signing key that is gone could not be removed: %w", err)
		}
	}
	return data, nil
}

// tidy removes what a process that died while it wrote has left, and names the keys that nothing uses. The caller has the lock, so
// that nobody is writing.
func (f *Folder) tidy(m *manifest) error {
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		return fmt.Errorf("the folder of signing keys cannot be read: %w", err)
	}
	used := func(name string) bool {
		return slices.ContainsFunc(m.Keys, func(e *entry) bool { return e.File == name }) || m.CA != nil && m.CA.File == name
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".tmp"):
			if err := f.remove(f.path(name)); err != nil {
				return fmt.Errorf("a file that was not finished cannot be removed: %w", err)
			}
		case keyFileName.MatchString(strings.TrimPrefix(name, caPrefix)) && !used(name):
			f.Logger.Warn("key file is not used: ring.json does not name it", "file", f.path(name))
		}
	}
	return nil
}

// hasFirst reports whether an earlier version has left a key.
func (f *Folder) hasFirst() bool {
	_, err := os.Lstat(f.path(firstFile))
	return err == nil
}

// first makes the manifest of a folder that has none: with the key in signing.pem, or with a new one that is put there.
func (f *Folder) first() (*manifest, []byte, error) {
	key, err := f.loadKey(firstFile)
	since := f.now()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if key, err = token.GenerateKeyFor(f.Algorithm); err != nil {
			return nil, nil, err
		}
		if err = f.keepKey(firstFile, key); err == nil {
			f.Logger.Info("signing key made", "file", f.path(firstFile), "kid", key.Public().KeyID())
		}
	case err == nil:
		// It has signed since its file was written.
		if info, err := os.Stat(f.path(firstFile)); err == nil && info.ModTime().Before(since) {
			since = info.ModTime().UTC().Truncate(time.Second)
		}
		f.Logger.Info("signing key of an earlier version taken over", "file", f.path(firstFile), "kid", key.Public().KeyID())
	}
	if err != nil {
		return nil, nil, err
	}
	return f.begin(key, firstFile, nil, since)
}

// begin writes the first manifest: one key, which signs since then.
func (f *Folder) begin(key *token.Key, file string, certificate []byte, since time.Time) (*manifest, []byte, error) {
	e, err := f.newEntry(key, file, certificate, since)
	if err != nil {
		return nil, nil, err
	}
	e.Published = since
	m := &manifest{Version: manifestVersion, Keys: []*entry{e}}
	data, err := f.commit(m, nil)
	return m, data, err
}

// loadKey reads a key. The error wraps fs.ErrNotExist only if nothing is there; it never quotes the file.
func (f *Folder) loadKey(name string) (*token.Key, error) {
	path := f.path(name)
	data, err := readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("signing key %s cannot be read: %w", path, err)
	}
	key, err := token.ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("signing key %s is damaged; restore it from a backup, or move the whole folder away to have a new key made, "+
			"which ends every token and has to be made known to other verifiers: %w", path, err)
	}
	return key, nil
}

// keepKey writes a key that no file has yet, for the owner of the folder alone.
func (f *Folder) keepKey(name string, key *token.Key) error {
	data, err := key.PEM()
	if err != nil {
		return err
	}
	return f.keepSecret(name, data)
}

func (f *Folder) keepSecret(name string, data []byte) error {
	if err := f.write(f.path(name), data, 0o600); err != nil {
		return fmt.Errorf("a signing key could not be kept: %w", err)
	}
	return giveTo(f.path(name), f.Dir)
}

// makeFolder makes the folder, for the owner of the one above it.
func (f *Folder) makeFolder() error {
	if _, err := os.Stat(f.Dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	return giveTo(f.Dir, filepath.Dir(f.Dir))
}

// giveTo gives the file at path the owner of folder, if it has another: a server under another account must be able to read what
// an administrator has made.
func giveTo(path, folder string) error {
	from, err := os.Stat(folder)
	if err != nil {
		return err
	}
	is, err := os.Stat(path)
	if err != nil {
		return err
	}
	want, ok := from.Sys().(*syscall.Stat_t)
	have, also := is.Sys().(*syscall.Stat_t)
	if !ok || !also || want.Uid == have.Uid {
		return nil
	}
	if err := os.Chown(path, int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("%s has to belong to the owner of %s, or the server may not be able to read it: %w", path, folder, err)
	}
	return nil
}

// lock waits until nobody else, in this process or another, changes the folder. The lock ends with the process at the latest.
func (f *Folder) lock() (unlock func(), err error) {
	d, err := os.Open(f.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoKeys
	}
	if err != nil {
		return nil, fmt.Errorf("the folder of signing keys could not be opened: %w", err)
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		_ = d.Close() // opened for reading: nothing can be lost
		return nil, fmt.Errorf("folder %s could not be locked: %w", f.Dir, err)
	}
	return func() { _ = d.Close() }, nil
}

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); info.Mode().IsRegular() && perm&0o077 != 0 {
		return nil, fmt.Errorf("it has mode %#o, so that others than its owner may use it: `chmod 600 %s`; and if one of them has, replace it "+
			"with `gatehouse key rotate --now --revoke` after that", perm, path)
	}
	return readFile(path)
}

// readFile reads a regular file of a sensible size.
func readFile(path string) ([]byte, error) {
	data, _, err := regular.Read(path, maxFile)
	return data, err
}
