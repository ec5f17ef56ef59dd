package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"gatehouse/tokenserver/token"
)

// An upload session is the proof that its URL carries: a MAC over repository, id and account. The id is a UUID of version 7
// (RFC 9562 section 5.7), which begins with the time when it was made, so that the MAC proves the session's age too, to every
// server that shares the secret.

// ContinueFor is how long an upload may go on after the token that began it has run out: the largest layers over the slowest
// lines, and no longer than distribution keeps them.
const ContinueFor = 24 * time.Hour

// newSession returns the id of a session that begins now.
func newSession() string { return uuid.Must(uuid.NewV7()).String() }

// begun returns when a session began, to the millisecond. known is false for ids that do not tell.
func begun(id string) (at time.Time, known bool) {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return time.Time{}, false
	}
	return time.Unix(u.Time().UnixTime()), true
}

// mayUpload checks that the upload which a request is about is the account's own, of which the URL carries proof, and returns
// what its digest will be of.
func (g *Registry) mayUpload(c *call) (digest.Algorithm, error) {
	if !g.began(c, c.account) {
		return "", problem(codeUploadUnknown, "use the Location of the answer before, with its query")
	}
	return c.algorithm()
}

// began reports whether the URL of a request proves that an account began the upload which it is about.
func (g *Registry) began(c *call, account string) bool {
	state, err := base64.RawURLEncoding.DecodeString(c.URL.Query().Get("_state"))
	return err == nil && hmac.Equal(state, g.uploadState(c.name, c.upload, account))
}

// uploadState authenticates the URL of an upload for its repository and account.
func (g *Registry) uploadState(repo, id, account string) []byte {
	mac := hmac.New(sha256.New, g.Secret)
	for _, part := range []string{"upload", repo, id, account} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return mac.Sum(nil)
}

// continued returns who sent a request with a token that has run out, if the request goes on with an upload that this account
// began while the token was good, and nobody otherwise: a push is not broken off because it takes longer than a token lives.
// What the token grants has still to cover what the endpoint needs, and where the rules are ours the account must have the right
// to push there to this day, so that who has lost it does not go on either.
func (g *Registry) continued(c *call, raw string) *token.Claims {
	if c.kind != kindUpload || g.Auth.Expired == nil {
		return nil
	}
	at, known := begun(c.upload)
	if !known || g.Now().Sub(at) > ContinueFor {
		return nil
	}
	who, err := g.Auth.Expired(raw)
	if err != nil || at.After(who.Expires.Add(token.Leeway)) || !g.began(c, who.Subject) {
		return nil
	}
	if g.Auth.May != nil && !g.Auth.May(c.Context(), who)(c.name, "push") {
		return nil
	}
	return who
}
