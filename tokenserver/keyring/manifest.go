package keyring

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/tokenserver/token"
)

// manifestVersion is the only form of a manifest that is read.
const manifestVersion = 1

// State is what a key is used for.
type State string

// The states in their order. Each but Gone verifies.
const (
	Published State = "published" // known to verifiers, signs nothing yet
	Active    State = "active"    // signs
	Retiring  State = "retiring"  // signed until a while ago
	Gone      State = "gone"      // what it signed is refused
)

// States are all of them, in their order.
var States = []State{Published, Active, Retiring, Gone}

// manifest is ring.json: every key, the oldest first, and the token CA. It holds no secret. Exactly one key, the last to sign, has
// no end; every other ends when the next begins.
type manifest struct {
	Version int       `json:"version"`
	Keys    []*entry  `json:"keys"`
	CA      *caRecord `json:"ca,omitempty"`
}

// entry is a key. Its state follows from its times, so that nobody has to be there when one comes.
type entry struct {
	KeyID      string `json:"kid"`
	Thumbprint string `json:"thumbprint"`
	Algorithm  string `json:"algorithm"`
	File       string `json:"file"` // in the folder; PKCS #8
	// Published, Signs and Retires are when it was made known, and when it begins and ends to sign: no end is planned while
	// Retires is zero.
	Published time.Time `json:"published"`
	Signs     time.Time `json:"signs"`
	Retires   time.Time `json:"retires,omitzero"`
	// Keep is how many seconds it verifies after that.
	Keep int64 `json:"keep"`
	// Gone is set before the file is removed, so that it is gone for good, however the clock is set.
	Gone    time.Time `json:"gone,omitzero"`
	Revoked bool      `json:"revoked,omitempty"`
	// Certificate is one of the key alone, self-signed or imported, and Leaf one that the token CA signed, in DER.
	Certificate []byte `json:"certificate,omitempty"`
	Leaf        []byte `json:"leaf,omitempty"`

	key *token.Key // nil when it is gone
}

// end is when the key is gone by plan; the zero time for never.
func (e *entry) end() time.Time {
	if e.Retires.IsZero() {
		return e.Retires
	}
	return e.Retires.Add(time.Duration(e.Keep) * time.Second)
}

// state is what the key is used for at now.
func (e *entry) state(now time.Time) State {
	switch end := e.end(); {
	case !e.Gone.IsZero(), !end.IsZero() && !now.Before(end):
		return Gone
	case !e.Retires.IsZero() && !now.Before(e.Retires):
		return Retiring
	case !now.Before(e.Signs):
		return Active
	}
	return Published
}

// keepFor makes the key verify for d after it has signed its last token, if that is longer than before.
func (e *entry) keepFor(d time.Duration) { e.Keep = max(e.Keep, int64((d+time.Second-1)/time.Second)) }

// last returns the key without an end.
func (m *manifest) last() *entry {
	for _, e := range m.Keys {
		if e.Gone.IsZero() && e.Retires.IsZero() {
			return e
		}
	}
	return nil // check refuses such a manifest
}

// find returns the key with an id, or nil.
func (m *manifest) find(id string) *entry {
	for _, e := range m.Keys {
		if e.KeyID == id {
			return e
		}
	}
	return nil
}

// signer returns the key that signs at now: the last that has begun to. Where the clock says that none has, it is the first.
func (m *manifest) signer(now time.Time) *entry {
	var found *entry
	for _, e := range m.Keys {
		if e.state(now) == Gone {
			continue
		}
		begun := !now.Before(e.Signs)
		if found == nil || begun && (now.Before(found.Signs) || !e.Signs.Before(found.Signs)) || !begun && e.Signs.Before(found.Signs) {
			found = e
		}
	}
	return found
}

// endBy plans the end of every key that signs after at, for at: the next one begins then.
func (m *manifest) endBy(at time.Time, keep time.Duration) {
	for _, e := range m.Keys {
		if e.Gone.IsZero() && (e.Retires.IsZero() || at.Before(e.Retires)) {
			e.Retires = at
			e.keepFor(keep)
		}
	}
}

// viewAt returns the keys as they are at now, until the next change of a state.
func (m *manifest) viewAt(now time.Time, x5c bool) *view {
	v := &view{}
	for _, e := range m.Keys {
		for _, at := range [...]time.Time{e.Signs, e.Retires, e.end()} {
			switch {
			case at.IsZero() || !e.Gone.IsZero():
			case now.Before(at):
				if v.until.IsZero() || at.Before(v.until) {
					v.until = at
				}
			case v.from.Before(at):
				v.from = at
			}
		}
		if e.state(now) != Gone {
			v.public = append(v.public, e.key.Public())
			v.bundle = append(v.bundle, e.Certificate)
		}
	}
	signer := m.signer(now)
	v.active = signer.key
	if x5c && len(signer.Leaf) > 0 {
		v.active = v.active.WithChain(signer.Leaf)
	}
	if x5c && m.CA != nil {
		v.bundle = [][]byte{m.CA.Certificate}
	}
	return v
}

// check says what is wrong with a manifest by itself.
func (m *manifest) check() error {
	if m.Version != manifestVersion {
		return fmt.Errorf("version %d is not known; another version of gatehouse wrote it", m.Version)
	}
	seen, open := make(map[string]bool), 0
	for _, e := range m.Keys {
		switch {
		case e == nil || e.KeyID == "" || seen[e.KeyID]:
			return errors.New("a key has no kid, or one that is there twice")
		case e.File == "" || e.File != filepath.Base(e.File) || strings.HasPrefix(e.File, "."):
			return fmt.Errorf("key %s is in a file that is not in the folder", e.KeyID)
		case e.Keep < 0 || e.Keep > int64(maxKeep/time.Second) || e.Signs.IsZero():
			return fmt.Errorf("key %s has times that make no sense", e.KeyID)
		case e.Gone.IsZero() && e.Retires.IsZero():
			open++
		}
		seen[e.KeyID] = true
	}
	if open != 1 {
		return fmt.Errorf("%d keys are without an end, and it must be one", open)
	}
	return nil
}

// maxKeep bounds Options.Retire.
const maxKeep = 10 * 365 * 24 * time.Hour

// decodeManifest reads a manifest, without what its keys' files hold.
func decodeManifest(data []byte) (*manifest, error) {
	m := new(manifest)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields() // what is not understood would be lost at the next change
	if err := d.Decode(m); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is text behind it")
	}
	return m, m.check()
}

// load reads a manifest and the keys that it names. Keys that known has are taken from there. It is all or nothing.
func (f *Folder) load(data []byte, known *manifest) (*manifest, error) {
	m, err := decodeManifest(data)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged; restore it from a backup: %w", f.manifestFile(), err)
	}
	for _, e := range m.Keys {
		if !e.Gone.IsZero() {
			continue
		}
		if known != nil {
			if old := known.find(e.KeyID); old != nil && old.File == e.File {
				e.key = old.key
			}
		}
		if e.key == nil {
			if e.key, err = f.loadKey(e.File); err != nil {
				return nil, err
			}
		}
		if p := e.key.Public(); p.KeyID() != e.KeyID || p.Thumbprint() != e.Thumbprint || p.Algorithm() != e.Algorithm {
			return nil, fmt.Errorf("signing key %s is not the key %s that ring.json names; restore both from the same backup",
				f.path(e.File), e.KeyID)
		}
		c, err := x509.ParseCertificate(e.Certificate)
		if err != nil || !e.key.Public().Matches(c) {
			return nil, fmt.Errorf("%s is damaged; restore it from a backup: the certificate of key %s is not one for it", f.manifestFile(), e.KeyID)
		}
	}
	if m.CA == nil {
		return m, nil
	}
	return m, f.loadCA(m.CA)
}
