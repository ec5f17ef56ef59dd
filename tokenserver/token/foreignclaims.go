package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// foreignWire is the JSON of an outside issuer's claims, as distribution 3 reads them. Other claims may have any form.
type foreignWire struct {
	unvalidated
	Issuer    string    `json:"iss"`
	Subject   string    `json:"sub"`
	Audience  audiences `json:"aud"`
	Expires   seconds   `json:"exp"`
	NotBefore seconds   `json:"nbf"`
	IssuedAt  seconds   `json:"iat"`
	ID        string    `json:"jti"`
	Access    []Access  `json:"access"`
}

// claims returns what was read for audience, which no later than until may be relied upon, if that is set.
func (w *foreignWire) claims(audience string, until time.Time) (*Claims, error) {
	if !slices.Contains(w.Audience, audience) {
		return nil, errors.New("it is for another audience")
	}
	if w.Expires == 0 {
		return nil, errors.New("it has no expiry")
	}
	c := &Claims{
		Issuer: w.Issuer, Subject: w.Subject, Audience: audience, ID: w.ID, Access: w.Access,
		Expires: fromSeconds(int64(w.Expires)), NotBefore: fromSeconds(int64(w.NotBefore)), IssuedAt: fromSeconds(int64(w.IssuedAt)),
	}
	// Certificates have no leeway, and check adds it to Expires.
	if end := until.Add(-Leeway); !until.IsZero() && end.Before(c.Expires) {
		c.Expires = end
	}
	return c, nil
}

// audiences is aud of RFC 7519 section 4.1.3: one text, or a list of them.
type audiences []string

// UnmarshalJSON is json.Unmarshaler's. Null is no audience.
func (a *audiences) UnmarshalJSON(data []byte) error {
	if data[0] != '"' {
		return json.Unmarshal(data, (*[]string)(a))
	}
	*a = make(audiences, 1)
	return json.Unmarshal(data, &(*a)[0])
}

// seconds is a NumericDate of RFC 7519 section 2 from 1970 to the year 9999, its fraction cut off; null is 0. What is no number
// is refused, and so is a negative one.
type seconds int64

// UnmarshalJSON is json.Unmarshaler's.
func (s *seconds) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	// JSON's numbers begin with a digit or a minus; JSON itself allows no other form that ParseFloat reads.
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil || data[0] < '0' || data[0] > '9' || f > maxTime {
		return errors.New("a time that is none")
	}
	*s = seconds(math.Floor(f))
	return nil
}

// unvalidated makes a type a jwt.Claims, which the parser asks for, without anything that the parser's validator could look at:
// the verifier makes all checks itself.
type unvalidated struct{}

func (unvalidated) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (unvalidated) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (unvalidated) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (unvalidated) GetIssuer() (string, error)                   { return "", nil }
func (unvalidated) GetSubject() (string, error)                  { return "", nil }
func (unvalidated) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }
