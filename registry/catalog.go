package registry

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// maxAsked is how many repositories one request for the catalog asks the access rules about; askedAtOnce how many of them are
// read from the index together, once the first few were not enough.
const (
	maxAsked    = 5000
	askedAtOnce = 1000
)

// getCatalog lists the repositories in byte order, a page at a time. What asks for more than a page is refused, as by
// distribution (registry/handlers/catalog.go). Where the access rules are ours, an account sees what it may pull.
//
// A page costs what is in it, or maxAsked where most is not for this account: then it is shorter, even empty, and its Link goes
// on.
func (g *Registry) getCatalog(w http.ResponseWriter, c *call) error {
	n, last, err := pagination(c.URL.Query(), min(catalogPage, g.MaxRepositories))
	if err != nil {
		return err
	}
	if n > g.MaxRepositories {
		return problem(codePagination, fmt.Sprintf("n is at most %d here", g.MaxRepositories))
	}
	if last, err = g.unseal(last, c.account); err != nil {
		return err
	}
	list := g.visible
	if c.grants.everything || g.Auth.May == nil {
		list = g.all
	}
	names, at, err := list(c, last, n)
	if err != nil {
		return err
	}
	switch {
	case at == "" || n == 0:
	case len(names) > 0 && names[len(names)-1] == at:
		link(w.Header(), c.URL.Path, n, at)
	default:
		link(w.Header(), c.URL.Path, n, g.seal(at, c.account))
	}
	return writeJSON(w, http.StatusOK, struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// all returns at most n repositories behind last, and behind which one there are more: "" for none.
func (g *Registry) all(c *call, last string, n int) (names []string, at string, err error) {
	names, more, err := g.Index.Repositories(c.Context(), last, n)
	if more && len(names) > 0 {
		at = names[len(names)-1]
	}
	return names, at, err
}

// visible is all for what the account may pull. Whether those behind at are for this account is not looked up: the last page
// may be empty.
func (g *Registry) visible(c *call, last string, n int) (names []string, at string, err error) {
	names = []string{}
	for asked, batch := 0, n; asked < maxAsked && len(names) < n; batch = askedAtOnce {
		found, more, err := g.Index.Repositories(c.Context(), last, min(batch, maxAsked-asked))
		if err != nil {
			return nil, "", err
		}
		for i, name := range found {
			if last = name; !g.mayPull(c, name) {
				continue
			}
			names = append(names, name)
			if len(names) == n {
				more = more || i < len(found)-1
				break
			}
		}
		if !more {
			return names, "", nil
		}
		asked += len(found)
	}
	return names, last, nil
}

// sealed is what a last begins with that is no name: the place where a request stopped to look, which is at a repository that
// the account must not know of. No name begins so.
const sealed = "~"

// catalogSeal encrypts places in the catalog, under a key that nothing else has.
func (g *Registry) catalogSeal() cipher.AEAD {
	mac := hmac.New(sha256.New, g.Secret)
	mac.Write([]byte("catalog"))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size of GCM
	}
	return aead
}

// seal hides a place in the catalog in the "last" of a Link, for one account.
func (g *Registry) seal(place, account string) string {
	return sealed + base64.RawURLEncoding.EncodeToString(g.catalogSeal().Seal(nil, nil, []byte(place), []byte(account)))
}

// unseal returns what seal hid. A last that is no seal is returned as it is.
func (g *Registry) unseal(last, account string) (string, error) {
	text, found := strings.CutPrefix(last, sealed)
	if !found {
		return last, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		b, err = g.catalogSeal().Open(nil, nil, b, []byte(account))
	}
	if err != nil {
		return "", problem(codePagination, "this page is not known here; begin again with the first")
	}
	return string(b), nil
}
