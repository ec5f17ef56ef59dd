package token

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// wire is the JSON of Claims. It exists because the JWT library's own claims write aud as a list unless a variable of the
// whole process is changed, and read times from floats and strings. Times are whole seconds; nothing else is read.
type wire struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  string   `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	ID        string   `json:"jti"`
	Access    []Access `json:"access"`
	Source    string   `json:"src,omitempty"`
	Groups    []string `json:"groups,omitempty"`
}

// maxTime is the end of the year 9999 in seconds since 1970: beyond it, sums of times could overflow.
const maxTime = 253402300799

func toWire(c Claims) *wire {
	w := &wire{Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, Expires: c.Expires.Unix(), ID: c.ID, Access: c.Access, Source: c.Source, Groups: c.Groups}
	if !c.NotBefore.IsZero() {
		w.NotBefore = c.NotBefore.Unix()
	}
	if !c.IssuedAt.IsZero() {
		w.IssuedAt = c.IssuedAt.Unix()
	}
	if w.Access == nil {
		w.Access = []Access{} // an empty list, not null: verifiers in other languages iterate over it
	}
	return w
}

// claims returns what was read, or false when a time makes no sense. A token without exp has none that does.
func (w *wire) claims() (*Claims, bool) {
	for _, t := range [...]int64{w.Expires, w.NotBefore, w.IssuedAt} {
		if t < 0 || t > maxTime {
			return nil, false
		}
	}
	if w.Expires == 0 {
		return nil, false
	}
	return &Claims{
		Issuer: w.Issuer, Subject: w.Subject, Audience: w.Audience, ID: w.ID, Access: w.Access, Source: w.Source, Groups: w.Groups,
		Expires: fromSeconds(w.Expires), NotBefore: fromSeconds(w.NotBefore), IssuedAt: fromSeconds(w.IssuedAt),
	}, true
}

// fromSeconds returns the zero time for a claim that was not there.
func fromSeconds(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// What follows makes wire a jwt.Claims, which the parser asks for. The parser's validator is not used: the Verifier has to
// make the same checks again each time it finds a token in its cache, so there is one place for them.

func (w *wire) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(w.Expires), nil }
func (w *wire) GetNotBefore() (*jwt.NumericDate, error)      { return numericDate(w.NotBefore), nil }
func (w *wire) GetIssuedAt() (*jwt.NumericDate, error)       { return numericDate(w.IssuedAt), nil }
func (w *wire) GetIssuer() (string, error)                   { return w.Issuer, nil }
func (w *wire) GetSubject() (string, error)                  { return w.Subject, nil }
func (w *wire) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{w.Audience}, nil }

func numericDate(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(seconds, 0))
}
