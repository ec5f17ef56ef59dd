package ldap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"gatehouse/tokenserver"
)

const (
	// provenFor is how long credentials that the directory accepted are taken as proven: clients send the password again for each
	// token.
	provenFor = time.Minute
	// maxProven bounds how many are remembered.
	maxProven = 4096
)

// credential stands for account and password together: their HMAC under a key that only this Directory has.
type credential [sha256.Size]byte

// proven remembers what was proven, and nothing of what was not.
type proven struct {
	secret [sha256.Size]byte
	now    func() time.Time

	mu   sync.Mutex
	list map[credential]remembered
}

// remembered is who was proven, and until when that counts.
type remembered struct {
	who   tokenserver.Identity
	until time.Time
}

// newProven has a key of its own, so that nothing of it is worth anything elsewhere.
func newProven(now func() time.Time) *proven {
	p := &proven{now: now, list: make(map[credential]remembered)}
	rand.Read(p.secret[:])
	return p
}

// credential writes the length before the account, so that moving a character from one text to the other makes another credential.
func (p *proven) credential(account, password string) (sum credential) {
	mac := hmac.New(sha256.New, p.secret[:])
	text := binary.BigEndian.AppendUint64(make([]byte, 0, 256), uint64(len(account)))
	mac.Write(append(append(text, account...), password...))
	mac.Sum(sum[:0])
	return sum
}

// get returns who was proven by a credential. The groups are shared, and must not be modified.
func (p *proven) get(id credential) (tokenserver.Identity, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, found := p.list[id]
	if !found || !p.now().Before(r.until) {
		return tokenserver.Identity{}, false
	}
	return r.who, true
}

// put makes room if there is none: first what has expired goes, then any one.
func (p *proven) put(id credential, who tokenserver.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if len(p.list) >= maxProven {
		for old, r := range p.list {
			if !now.Before(r.until) {
				delete(p.list, old)
			}
		}
	}
	for old := range p.list {
		if len(p.list) < maxProven {
			break
		}
		delete(p.list, old)
	}
	p.list[id] = remembered{who: who, until: now.Add(provenFor)}
}
