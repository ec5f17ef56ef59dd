package keyring

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/tokenserver/token"
)

const (
	// rememberGone is how long a key that is gone is listed.
	rememberGone = 30 * 24 * time.Hour
	// selfSignedLife is how long a key's own certificate is good: longer than any key signs. Registries look at dates only where
	// a token carries certificates.
	selfSignedLife = 20 * 365 * 24 * time.Hour
	// clockSkew is how far ahead of a verifier's clock ours may be: certificates are good from so long ago.
	clockSkew = 24 * time.Hour
)

// ErrPending is a rotation while the key of another one waits to sign.
var ErrPending = errors.New("a new key is published and does not sign yet")

// Rotation says how the key that signs is replaced.
type Rotation struct {
	// Now has the new key sign at once, and not Options.Prepublish later: verifiers that keep a copy of the keys refuse its
	// tokens until they ask again.
	Now bool
	// Revoke, which implies Now, ends every other key at once: their tokens are refused from then on. It is for keys that
	// somebody else may have.
	Revoke bool
	// RenewCA, with Options.X5C, makes another token CA. Verifiers that know the old one accept what it signed until its
	// certificates end, and nothing of the new one before they are told of it.
	RenewCA bool
	// Algorithm of the new key. Default Options.Algorithm.
	Algorithm string
}

// Rotate publishes a new key and plans when it signs. A key that waits already is ErrPending; with Now it signs at once.
func (f *Folder) Rotate(r Rotation) error {
	oldCA := ""
	err := f.update(false, func(m *manifest) error {
		now := f.now()
		pending := m.last()
		if pending.state(now) != Published {
			pending = nil
		}
		r.Algorithm = cmp.Or(r.Algorithm, f.Algorithm)
		if r.RenewCA && m.CA != nil {
			oldCA, m.CA = m.CA.File, nil
		}
		var err error
		switch {
		case r.Revoke:
			err = f.revoke(m, r.Algorithm, now)
		case !r.Now && pending != nil:
			return fmt.Errorf("%w: %s signs from %s on; --now has it sign at once", ErrPending, pending.KeyID, pending.Signs.Format(time.RFC3339))
		case !r.Now:
			err = f.generate(m, r.Algorithm, now.Add(f.Prepublish))
		case pending != nil && pending.Algorithm == r.Algorithm:
			f.signFrom(m, pending, now)
		default:
			if pending != nil {
				pending.Gone = now // it has signed nothing
			}
			err = f.generate(m, r.Algorithm, now)
		}
		if err != nil {
			return err
		}
		return f.upkeep(m)
	})
	if err == nil && oldCA != "" {
		err = f.remove(f.path(oldCA))
	}
	return err
}

// signFrom has a published key sign from at on, and no other.
func (f *Folder) signFrom(m *manifest, e *entry, at time.Time) {
	m.endBy(at, f.Retire)
	e.Signs, e.Retires = at, time.Time{}
}

// revoke has a new key sign at now, and ends all others.
func (f *Folder) revoke(m *manifest, algorithm string, now time.Time) error {
	old := m.Keys
	if err := f.generate(m, algorithm, now); err != nil {
		return err
	}
	for _, e := range old {
		if e.Gone.IsZero() {
			e.Gone, e.Revoked = now, true
		}
	}
	return nil
}

// generate makes a key that signs from at on.
func (f *Folder) generate(m *manifest, algorithm string, at time.Time) error {
	key, err := token.GenerateKeyFor(algorithm)
	if err != nil {
		return err
	}
	return f.add(m, key, nil, at)
}

// add writes a key to the folder and has it sign from at on, in place of the last one.
func (f *Folder) add(m *manifest, key *token.Key, certificate []byte, at time.Time) error {
	file := strings.ReplaceAll(key.Public().KeyID(), ":", "-") + ".pem"
	if err := f.keepKey(file, key); err != nil {
		return err
	}
	e, err := f.newEntry(key, file, certificate, at)
	if err != nil {
		return err
	}
	m.endBy(at, f.Retire)
	m.Keys = append(m.Keys, e)
	f.Logger.Info("signing key published", "kid", e.KeyID, "algorithm", e.Algorithm, "signs", at)
	return nil
}

// newEntry describes a key that signs from at on. Without a certificate it gets one of its own.
func (f *Folder) newEntry(key *token.Key, file string, certificate []byte, at time.Time) (*entry, error) {
	now := f.now()
	if certificate == nil {
		var err error
		if certificate, err = key.SelfSigned(now.Add(-clockSkew), now.Add(selfSignedLife)); err != nil {
			return nil, err
		}
	}
	p := key.Public()
	e := &entry{KeyID: p.KeyID(), Thumbprint: p.Thumbprint(), Algorithm: p.Algorithm(), File: file,
		Published: now, Signs: at, Certificate: certificate, key: key}
	e.keepFor(f.Retire)
	return e, nil
}

// rotationDue reports whether the schedule wants a new key to be published.
func (f *Folder) rotationDue(m *manifest, now time.Time) bool {
	last := m.last()
	return f.Options.Rotate > 0 && last.state(now) == Active && !now.Before(last.Signs.Add(f.Options.Rotate-f.Prepublish))
}

// due reports whether upkeep would change something.
func (f *Folder) due(m *manifest, now time.Time) bool {
	for _, e := range m.Keys {
		if e.state(now) == Gone && (e.Gone.IsZero() || e.Gone.Add(rememberGone).Before(now)) || f.X5C && f.leafDue(m.CA, e, now) {
			return true
		}
	}
	return f.rotationDue(m, now)
}

// upkeep does what is due now: keys whose time is over go, the schedule's next key is published, certificates are renewed. The
// caller has the lock, and writes the manifest.
func (f *Folder) upkeep(m *manifest) error {
	now := f.now()
	kept := m.Keys[:0]
	for _, e := range m.Keys {
		switch e.state(now) {
		case Gone:
			if e.Gone.IsZero() {
				e.Gone = now
				f.Logger.Info("signing key gone", "kid", e.KeyID)
			}
			e.Leaf = nil
			if e.Gone.Add(rememberGone).Before(now) {
				continue // its file went when it was marked
			}
		case Published, Active:
			e.keepFor(f.Retire)
		}
		kept = append(kept, e)
	}
	m.Keys = kept
	if f.rotationDue(m, now) {
		at := m.last().Signs.Add(f.Options.Rotate)
		if soonest := now.Add(f.Prepublish); at.Before(soonest) {
			at = soonest
		}
		if err := f.generate(m, f.Algorithm, at); err != nil {
			return err
		}
	}
	if f.X5C {
		return f.certify(m, now)
	}
	return nil
}
