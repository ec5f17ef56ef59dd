// Package refresh keeps refresh tokens: secrets that docker and others store in place of a password, and that get new tokens
// until they expire, are revoked, or their account changes.
//
// Each is a record in a folder, which holds the SHA-256 of the secret and not the secret; so a verb that removes the file has
// revoked the token, with a server that runs and without one. When it was last used is in a file of its own beside it: if that
// were written into the record, a use at the wrong moment would bring a revoked token back.
package refresh

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatehouse/tokenserver"
	"gatehouse/tokenserver/records"
)

const (
	defaultIdle     = 30 * 24 * time.Hour
	defaultAbsolute = 180 * 24 * time.Hour
	// maxPerAccount is how many an account may have that are not in use: who logs in again with docker has one more, and so has
	// each job of a pipeline.
	maxPerAccount = 100
	// maxInUse is how many it may have at all. Beyond it, the one that was not used for the longest time goes.
	maxInUse = 1000
	// noteEvery is how often at most the last use of a token is written down.
	noteEvery = time.Hour
	// sweepEvery is how often Run removes what has expired.
	sweepEvery = 6 * time.Hour
)

// Options is where refresh tokens are kept, and for how long. Dir and Logger are required.
type Options struct {
	// Dir is the folder. It is made with the first token.
	Dir string
	// Idle is after how long a token ends that nobody uses, to the hour. Default 30 days.
	Idle time.Duration
	// Absolute is after how long every token ends. Default 180 days. Both are counted when a token is used, so that a change of them
	// is one for those that there are, too.
	Absolute time.Duration
	// Now is the clock. Default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Tokens are the refresh tokens of a folder. They may be used from many goroutines, while verbs in other processes list and revoke
// them.
type Tokens struct {
	dir            string
	idle, absolute time.Duration
	now            func() time.Time
	log            *slog.Logger
	noting         sync.Map // by id: its last use is being written
}

var _ tokenserver.Refresher = (*Tokens)(nil)

// New returns the Tokens that o describes. It reads nothing.
func New(o Options) (*Tokens, error) {
	o.Idle, o.Absolute = cmp.Or(o.Idle, defaultIdle), cmp.Or(o.Absolute, defaultAbsolute)
	switch {
	case o.Dir == "" || o.Logger == nil:
		return nil, errors.New("refresh tokens need a folder and a logger")
	case o.Idle < 0 || o.Absolute < 0:
		return nil, fmt.Errorf("refresh tokens cannot end after %v or %v; use durations above zero", o.Idle, o.Absolute)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Tokens{dir: o.Dir, idle: o.Idle, absolute: o.Absolute, now: o.Now, log: o.Logger}, nil
}

// record is what is kept of a token. It does not change.
type record struct {
	Hash     string    `json:"sha256"`
	Account  string    `json:"account"`
	Source   string    `json:"source"`
	Revision string    `json:"revision"`
	Service  string    `json:"service"`
	Client   string    `json:"client,omitempty"`
	Created  time.Time `json:"created"`
}

// use is when a token was used last.
type use struct {
	At time.Time `json:"at"`
}

func (t *Tokens) records(group string) *records.Folder[record] {
	return records.Open[record](filepath.Join(t.dir, "tokens", group))
}

func (t *Tokens) uses(group string) *records.Folder[use] {
	return records.Open[use](filepath.Join(t.dir, "used", group))
}

// Owns reports whether secret begins as refresh tokens do and is as long as a good part of one: no password of a person is.
func (t *Tokens) Owns(secret string) bool {
	return strings.HasPrefix(secret, Prefix) && len(secret) >= tokenLength/2
}

// Issue is tokenserver.Refresher's. It also removes what has expired of the account's tokens, and those that are too many.
func (t *Tokens) Issue(ctx context.Context, who tokenserver.Identity, service, client string) (secret, name string, err error) {
	if who.Account == "" {
		return "", "", errors.New("a refresh token needs an account")
	}
	if err := t.makeRoom(ctx, who.Account); err != nil {
		return "", "", err
	}
	secret, name = newToken(who.Account)
	err = t.records(name[:groupLength]).Put(name, record{Hash: hash(secret), Account: who.Account, Source: who.Source, Revision: who.Revision,
		Service: service, Client: client, Created: t.now().UTC().Truncate(time.Second)})
	if err != nil {
		return "", "", err
	}
	return secret, name, nil
}

// Redeem is tokenserver.Refresher's. Nothing is remembered: a token that is revoked is refused by the next call. It reads two small
// files, and writes one at most once an hour for each token.
func (t *Tokens) Redeem(ctx context.Context, secret, service string) (who tokenserver.Identity, name string, err error) {
	id, ok := parse(secret)
	if !ok {
		return who, "", tokenserver.ErrNoRefreshToken
	}
	r, err := t.records(id[:groupLength]).Get(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return who, id, fmt.Errorf("unknown or revoked: %w", tokenserver.ErrBadCredentials)
	case err != nil:
		return who, id, err
	case subtle.ConstantTimeCompare([]byte(r.Hash), []byte(hash(secret))) != 1:
		return who, id, fmt.Errorf("another secret: %w", tokenserver.ErrBadCredentials)
	case r.Service != service:
		return who, id, fmt.Errorf("for another service: %w", tokenserver.ErrBadCredentials)
	}
	now := t.now()
	used, err := t.lastUse(id, r)
	if err != nil {
		return who, id, err
	}
	if !now.Before(t.ends(r, used)) {
		return who, id, fmt.Errorf("expired: %w", tokenserver.ErrBadCredentials)
	}
	if now.Sub(used) >= min(noteEvery, t.idle/10) {
		t.note(ctx, id, now)
	}
	return tokenserver.Identity{Account: r.Account, Source: r.Source, Revision: r.Revision}, id, nil
}

// lastUse is when a token was used last, as far as that was written down, or made.
func (t *Tokens) lastUse(id string, r record) (time.Time, error) {
	u, err := t.uses(id[:groupLength]).Get(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r.Created, nil
	case err != nil:
		return time.Time{}, err
	}
	return u.At, nil
}

// ends is when a token ends that is not used any more.
func (t *Tokens) ends(r record, used time.Time) time.Time {
	idle, absolute := used.Add(t.idle), r.Created.Add(t.absolute)
	if idle.Before(absolute) {
		return idle
	}
	return absolute
}

// note writes down that a token is used. Of several at once one does. Where it fails the token may end too early, and no login
// fails because of it.
func (t *Tokens) note(ctx context.Context, id string, now time.Time) {
	if _, busy := t.noting.LoadOrStore(id, true); busy {
		return
	}
	defer t.noting.Delete(id)
	if err := t.uses(id[:groupLength]).Put(id, use{now.UTC().Truncate(time.Second)}); err != nil {
		t.log.ErrorContext(ctx, "use of a refresh token could not be written down; it may end too early", "id", id, "err", err)
	}
}
