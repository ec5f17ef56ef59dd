package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"gatehouse/configs"
	"gatehouse/durable"
	"gatehouse/tokenserver/regular"
)

const (
	// freshFor is the age of keys from which they are fetched again, beside the requests; from twice this age, requests wait for it.
	freshFor = time.Hour
	// freshFileFor is both for keys in a file.
	freshFileFor = 10 * time.Second
	// fetchEvery is the time between two fetches at least, however many unknown keys are asked for, and retryEvery when it
	// failed and the keys are only old.
	fetchEvery = 10 * time.Second
	retryEvery = 5 * time.Minute
	// maxKeys bounds the keys of an issuer.
	maxKeys = 100
)

// keys are an issuer's: fetched when they are needed, and kept when it cannot be reached, on disk too. They last until the issuer says
// otherwise, however long that takes.
type keys struct {
	issuer string
	fetch  func(context.Context) ([]byte, error)
	file   string // where they are kept; "" for nowhere
	fresh  time.Duration
	waits  time.Duration // from this age on requests wait
	now    func() time.Time
	met    *metrics
	log    *slog.Logger

	flights singleflight.Group

	mu      sync.Mutex
	known   []jose.JSONWebKey
	fetched time.Time // when known was; zero for those from disk
	tried   time.Time
	failure error // of the last try
}

// newKeys reads keys that are in a file, or were kept; an issuer is not asked. It fails for a file that the operator named.
func newKeys(c configs.OIDC, o Options, m *metrics, log *slog.Logger) (*keys, error) {
	k := &keys{issuer: c.Issuer, fresh: freshFor, waits: 2 * freshFor, now: o.Now, met: m, log: log}
	if c.JWKSFile != "" {
		k.fresh, k.waits = freshFileFor, freshFileFor
		k.fetch = func(context.Context) ([]byte, error) { return readFile(c.JWKSFile) }
		if err := k.refresh(); err != nil {
			return nil, fmt.Errorf("jwksfile: %w", err)
		}
		return k, nil
	}
	client, err := newClient(c.CAFile)
	if err != nil {
		return nil, err
	}
	k.fetch = func(ctx context.Context) ([]byte, error) { return discover(ctx, client, c.Issuer) }
	if o.Dir != "" {
		sum := sha256.Sum256([]byte(c.Issuer))
		k.file = filepath.Join(o.Dir, hex.EncodeToString(sum[:16])+".json")
		k.load()
	}
	return k, nil
}

// find returns the keys that a token with this kid may be signed with; without one, all. A refusal: the issuer has no such key. Another
// error: what keys it has is not known.
func (k *keys) find(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	found, age := k.look(kid)
	switch {
	case len(found) > 0 && age < k.fresh:
		return found, nil
	case len(found) > 0 && age < k.waits:
		k.flights.DoChan("old", k.renew(true)) // it ends by its own timeout
		return found, nil
	}
	flight := "missing"
	if len(found) > 0 {
		flight = "old"
	}
	select {
	case <-k.flights.DoChan(flight, k.renew(len(found) > 0)):
	case <-ctx.Done():
		return nil, fmt.Errorf("the issuer has not answered yet: %w", ctx.Err())
	}
	k.mu.Lock()
	failure := k.failure
	k.mu.Unlock()
	if found, _ = k.look(kid); len(found) > 0 {
		return found, nil
	}
	if failure != nil {
		return nil, failure
	}
	return nil, refuse("its key is none of the issuer's")
}

// look is find in what is known, with the age of that.
func (k *keys) look(kid string) (found []jose.JSONWebKey, age time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.known {
		if kid == "" || key.KeyID == kid {
			found = append(found, key)
		}
	}
	return found, k.now().Sub(k.fetched)
}

// renew is a refresh if it is time for one. old says that there are keys, which are only old.
func (k *keys) renew(old bool) func() (any, error) {
	return func() (any, error) {
		k.mu.Lock()
		wait := fetchEvery
		if old && k.failure != nil {
			wait = retryEvery
		}
		passed := k.now().Sub(k.tried)
		due := k.tried.IsZero() || passed >= wait || passed < 0
		k.mu.Unlock()
		if !due {
			return nil, nil
		}
		return nil, k.refresh()
	}
}

// refresh gets the keys. What cannot be used leaves those that are known as they are.
func (k *keys) refresh() error {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	at := k.now()
	data, err := k.fetch(ctx)
	var set []jose.JSONWebKey
	if err == nil {
		set, err = parseKeys(data)
	}
	k.mu.Lock()
	k.tried, k.failure = at, err
	if err == nil {
		k.known, k.fetched = set, at
	}
	known := len(k.known)
	k.mu.Unlock()
	if err != nil {
		k.met.fetches.WithLabelValues(k.issuer, "error").Inc()
		k.log.Warn("keys of an issuer cannot be had; those that are known stay", "issuer", k.issuer, "keys", known, "err", err)
		return err
	}
	k.met.fetches.WithLabelValues(k.issuer, "ok").Inc()
	k.met.fetched.WithLabelValues(k.issuer).Set(float64(at.Unix()))
	k.save(data)
	return nil
}

// kept is the file of an issuer's keys.
type kept struct {
	Issuer string          `json:"issuer"`
	JWKS   json.RawMessage `json:"jwks"`
}

// save keeps data. That it could not is logged; the keys are used all the same.
func (k *keys) save(data []byte) {
	if k.file == "" {
		return
	}
	text, err := json.Marshal(kept{Issuer: k.issuer, JWKS: data})
	if err == nil {
		err = durable.WriteFile(k.file, text, 0o600)
	}
	if err != nil {
		k.log.Warn("keys of an issuer cannot be kept for the time that it is away", "issuer", k.issuer, "err", err)
	}
}

// load takes the keys that were kept. They count as old, so that the issuer is asked before they are used.
func (k *keys) load() {
	data, err := readFile(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var file kept
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err == nil && file.Issuer != k.issuer {
		err = errors.New("they are another's")
	}
	if err == nil {
		k.known, err = parseKeys(file.JWKS)
	}
	if err != nil {
		k.log.Warn("keys that were kept of an issuer cannot be used", "issuer", k.issuer, "file", k.file, "err", err)
	}
}

// readFile reads a regular file of a sensible size.
func readFile(path string) ([]byte, error) {
	data, _, err := regular.Read(path, maxDocument)
	return data, err
}
