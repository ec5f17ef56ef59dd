package keyring

import (
	"crypto/x509"
	"time"

	"gatehouse/tokenserver/token"
)

// Info is a key as it is now, for people and programmes.
type Info struct {
	KeyID      string    `json:"kid"`
	Thumbprint string    `json:"thumbprint"`
	Algorithm  string    `json:"algorithm"`
	State      State     `json:"state"`
	Since      time.Time `json:"since"`
	// Next is when it goes into NextState; the zero time when nothing is planned.
	Next      time.Time `json:"next,omitzero"`
	NextState State     `json:"next_state,omitempty"`
	Revoked   bool      `json:"revoked,omitempty"`
}

// List returns the keys, the oldest first, and those that have gone in the last 30 days.
func (f *Folder) List() ([]Info, error) {
	var list []Info
	err := f.update(false, func(m *manifest) error {
		list = f.infos(m, f.now())
		return nil
	})
	return list, err
}

// infos returns the keys of a manifest as they are at now.
func (f *Folder) infos(m *manifest, now time.Time) []Info {
	list := make([]Info, 0, len(m.Keys))
	for _, e := range m.Keys {
		i := Info{KeyID: e.KeyID, Thumbprint: e.Thumbprint, Algorithm: e.Algorithm, State: e.state(now), Revoked: e.Revoked}
		switch i.State {
		case Published:
			i.Since, i.Next, i.NextState = e.Published, e.Signs, Active
		case Active:
			i.Since, i.Next = e.Signs, e.Retires
			if i.Next.IsZero() && f.Options.Rotate > 0 {
				i.Next = e.Signs.Add(f.Options.Rotate)
			}
			if !i.Next.IsZero() {
				i.NextState = Retiring
			}
		case Retiring:
			i.Since, i.Next, i.NextState = e.Retires, e.end(), Gone
		case Gone:
			if i.Since = e.Gone; i.Since.IsZero() {
				i.Since = e.end()
			}
		}
		list = append(list, i)
	}
	return list
}

// Export returns what a verifier's rootcertbundle needs, as PEM: the token CA where tokens carry certificates, which is made if
// there is none, else a certificate for each key that is not gone. Algorithms are those of the keys in it: registry 2.x does not
// start on a bundle with an EdDSA key.
func (f *Folder) Export() (bundle []byte, algorithms []string, err error) {
	var certificates [][]byte
	err = f.update(false, func(m *manifest) error {
		if f.X5C {
			if err := f.certify(m, f.now()); err != nil {
				return err
			}
		}
		certificates = m.viewAt(f.now(), f.X5C).bundle
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, der := range certificates {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, err
		}
		p, err := token.NewPublicKey(c.PublicKey)
		if err != nil {
			return nil, nil, err
		}
		algorithms = append(algorithms, p.Algorithm())
	}
	return token.MarshalPEM(certificates...), algorithms, nil
}
