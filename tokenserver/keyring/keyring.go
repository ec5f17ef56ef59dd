// Package keyring keeps the keys that tokens are signed with, in a folder, and replaces them without a token being refused.
//
// A key is published (verifiers learn of it), then active (it signs), then retiring (it signs no more, and what it signed is
// still verified), then gone. When it goes from one state to the next is written down when the next key is made, so that the
// state is a matter of the clock, whoever runs at the time: see manifest.go. Rotation is an edit of the folder under its
// lock (folder.go, rotate.go, importing.go), by a verb or by Run; a Ring, which a server holds, follows the folder.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/tokenserver/token"
)

const (
	// lookEvery is how often Run looks at the folder, and so how late a verb may take effect.
	lookEvery = time.Second
	// settledAfter is the age from which a file's time of change can be trusted to tell its content from the next: a second
	// write within the clock tick of the file system leaves time and size as they were.
	settledAfter = 2 * time.Second
	// retryAfter is how long Run waits after a change of its own has failed.
	retryAfter = time.Minute
)

// Options says where keys are kept and how they change. Dir, Retire and Logger are required.
type Options struct {
	// Dir is the folder. It is made for its owner alone.
	Dir string
	// Algorithm of new keys: token.ES256, the default, token.RS256 or token.EdDSA.
	Algorithm string
	// Rotate is how long a key signs before Run replaces it. 0: until somebody does.
	Rotate time.Duration
	// Prepublish is how long verifiers know a key before it signs.
	Prepublish time.Duration
	// Retire is how long a key verifies after it has signed its last token: as long as the longest-lived token may still be
	// used. A key keeps the longest that was in force while it signed.
	Retire time.Duration
	// X5C has tokens carry a certificate of the token CA in the folder.
	X5C bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Metrics is where gauges are registered; nil for nowhere.
	Metrics prometheus.Registerer
	Logger  *slog.Logger
}

// Ring is the keys as a server uses them. Active and Public are quick, and may be called from many goroutines; their answers
// change with the clock and with the folder. What goes wrong with the folder while it is used leaves the keys as they were.
type Ring struct {
	folder *Folder
	log    *slog.Logger
	view   atomic.Pointer[view]
	failed prometheus.Counter

	mu      sync.Mutex
	data    []byte      // of the manifest that view was made of
	info    os.FileInfo // of its file
	settled bool
	loaded  *manifest
	failure string    // the last one logged
	retryAt time.Time // before it, Run changes nothing
}

// view is the keys in an interval of time in which no state changes.
type view struct {
	from, until time.Time // zero until: for ever
	active      *token.Key
	public      []token.PublicKey
	bundle      [][]byte
}

// Open returns the keys in the folder that o names. If there are none, it makes folder and key, which are on disk and for
// their owner alone when it returns; the key that an earlier version kept in signing.pem becomes the active one. Keys that are
// there and cannot be used are an error that says what to do: new ones in their place would silently invalidate every token,
// and everything that was told to trust the old ones. It starts nothing.
func Open(o Options) (*Ring, error) {
	folder, err := NewFolder(o)
	if err != nil {
		return nil, err
	}
	r := &Ring{folder: folder, log: o.Logger}
	// What is due is done before anything is signed, above all certificates that have run out while no server ran.
	err = folder.update(true, func(m *manifest) error { return errors.Join(folder.tidy(m), folder.upkeep(m)) })
	if err != nil {
		return nil, err
	}
	if err := r.look(); err != nil {
		return nil, err
	}
	return r, r.register(o.Metrics)
}

// Active returns the key that signs, with its certificate if tokens carry one.
func (r *Ring) Active() *token.Key { return r.current().active }

// Public returns the keys that verify: all but those that are gone. The slice must not be modified; it is another one whenever
// the keys are. It is made for token.NewVerifier.
func (r *Ring) Public() []token.PublicKey { return r.current().public }

// Certificates returns what a verifier's rootcertbundle needs, as PEM: the token CA where tokens carry certificates, else a
// certificate for each key that verifies.
func (r *Ring) Certificates() []byte { return token.MarshalPEM(r.current().bundle...) }

// current returns the view for now. Where the clock has left the last one, whoever sees it first makes the next; that several
// make it at once does no harm.
func (r *Ring) current() *view {
	v, now := r.view.Load(), r.folder.Now()
	if !now.Before(v.from) && (v.until.IsZero() || now.Before(v.until)) {
		return v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.show(now)
}

// show stores the view for now and returns it. Its keys are those of the view before, where they stay, so that a verifier
// forgets nothing without a reason. The caller holds mu.
func (r *Ring) show(now time.Time) *view {
	next := r.loaded.viewAt(now, r.folder.X5C)
	if old := r.view.Load(); old != nil && slices.Equal(old.public, next.public) {
		next.public = old.public
	}
	r.view.Store(next)
	return next
}

// Run follows the folder and does what is due in it, once a second until ctx is done: it makes keys by the schedule, renews
// certificates, and removes the files of keys that are gone. It returns nil. What fails is logged, once, and tried again.
func (r *Ring) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.tick()
		}
	}
}

// tick looks at the folder, and changes it if something is due.
func (r *Ring) tick() {
	err := r.look()
	now := r.folder.now()
	r.mu.Lock()
	due := err == nil && r.folder.due(r.loaded, now) && !now.Before(r.retryAt)
	waiting := err == nil && now.Before(r.retryAt)
	r.mu.Unlock()
	if due {
		if err = r.folder.update(false, r.folder.upkeep); err == nil {
			err = r.look()
		}
		if err != nil {
			r.mu.Lock()
			r.retryAt = now.Add(retryAfter)
			r.mu.Unlock()
		}
	}
	if !waiting {
		r.report(err)
	}
}

// report logs an error that is not the one of before.
func (r *Ring) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.failure = ""
		return
	}
	r.failed.Inc()
	if err.Error() != r.failure {
		r.failure = err.Error()
		r.log.Error("signing keys cannot be read or changed; they stay as they were", "err", err)
	}
}

// look reads the folder if its manifest is not the one that was read before.
func (r *Ring) look() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.folder.manifestFile())
	if err != nil {
		return explainManifest(r.folder.manifestFile(), err)
	}
	if old := r.info; old != nil && r.settled && os.SameFile(old, info) && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()) {
		return nil
	}
	data, err := readFile(r.folder.manifestFile())
	if err != nil {
		return explainManifest(r.folder.manifestFile(), err)
	}
	m := r.loaded
	first := m == nil
	if first || string(data) != string(r.data) {
		if m, err = r.folder.load(data, r.loaded); err != nil {
			return err
		}
	}
	r.info, r.settled, r.data = info, time.Since(info.ModTime()) > settledAfter, data
	if m == r.loaded {
		return nil
	}
	r.loaded = m
	now := r.folder.now()
	v := r.show(now)
	r.log.Info("signing keys read", "folder", r.folder.Dir, "active", v.active.Public().KeyID(), "keys", len(v.public))
	return nil
}

// explainManifest says what to do about a manifest that cannot be read.
func explainManifest(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing; restore it and the keys beside it from a backup: %w", path, err)
	}
	return fmt.Errorf("the list of signing keys cannot be read: %w", err)
}
