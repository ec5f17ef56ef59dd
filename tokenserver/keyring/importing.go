package keyring

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"gatehouse/tokenserver/token"
)

// Import brings a key from elsewhere, so that registries that trust it need not be told of another, and returns its libtrust id. It
// signs after Options.Prepublish, or with now at once, as with Rotate; in a folder without keys it signs at once in any case. The
// certificate, which may be nil, is what is exported for it. A key that is there already gets the certificate, and signs at
// once if it was waiting for that. A key that does not belong to the certificate, or that was revoked, is an error.
func (f *Folder) Import(key *token.Key, certificate *x509.Certificate, now bool) (string, error) {
	var der []byte
	if certificate != nil {
		if !key.Public().Matches(certificate) {
			return "", errors.New("the certificate is not one for the key; give the one that was made for it")
		}
		der = certificate.Raw
	}
	id := key.Public().KeyID()
	if err := f.makeFolder(); err != nil {
		return "", fmt.Errorf("the folder of signing keys could not be made: %w", err)
	}
	unlock, err := f.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	m, data, err := f.read()
	if errors.Is(err, ErrNoKeys) && f.hasFirst() {
		m, data, err = f.first()
	}
	if errors.Is(err, ErrNoKeys) {
		if err = f.keepKey(firstFile, key); err == nil {
			m, data, err = f.begin(key, firstFile, der, f.now())
		}
	} else if err == nil {
		err = f.adopt(m, key, der, now)
	}
	if err != nil {
		return "", err
	}
	if err := f.upkeep(m); err != nil {
		return "", err
	}
	_, err = f.commit(m, data)
	return id, err
}

// adopt puts a key from elsewhere into a manifest with keys.
func (f *Folder) adopt(m *manifest, key *token.Key, certificate []byte, atOnce bool) error {
	now, known := f.now(), m.find(key.Public().KeyID())
	at := now.Add(f.Prepublish)
	if atOnce {
		at = now
	}
	switch state := stateOf(known, now); {
	case state == Gone && known.Revoked:
		return fmt.Errorf("key %s was revoked; import another one", known.KeyID)
	case state == Gone || state == "":
		if err := f.clearWay(m, atOnce, now); err != nil {
			return err
		}
		if state == Gone {
			m.drop(known)
		}
		return f.add(m, key, certificate, at)
	}
	if certificate != nil {
		known.Certificate = certificate
	}
	if atOnce && known.state(now) != Active {
		if known.state(now) == Retiring {
			return fmt.Errorf("key %s is retiring; let it go, then import it again", known.KeyID)
		}
		f.signFrom(m, known, now)
	}
	return nil
}

// stateOf is the state of a key that may be none: "".
func stateOf(e *entry, now time.Time) State {
	if e == nil {
		return ""
	}
	return e.state(now)
}

// clearWay makes a key that waits to sign give way to another one that is to sign at once; else it is ErrPending.
func (f *Folder) clearWay(m *manifest, atOnce bool, now time.Time) error {
	pending := m.last()
	switch {
	case pending.state(now) != Published:
		return nil
	case !atOnce:
		return fmt.Errorf("%w: %s signs from %s on; import this one after that, or with --active", ErrPending, pending.KeyID,
			pending.Signs.Format(time.RFC3339))
	}
	pending.Gone = now // it has signed nothing
	return nil
}

// drop takes a key out of the manifest.
func (m *manifest) drop(e *entry) {
	for i := range m.Keys {
		if m.Keys[i] == e {
			m.Keys = append(m.Keys[:i], m.Keys[i+1:]...)
			return
		}
	}
}
