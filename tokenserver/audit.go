package tokenserver

import (
	"net/netip"
	"time"
)

// Event is what the audit log says of one request for a token, or of one login with Basic on the registry itself. There is no
// secret in it.
type Event struct {
	Time time.Time
	// Account is who was proven, and Claimed who the client said it was; both are empty for the anonymous.
	Account, Claimed string
	Source           string
	Groups           []string
	Address          netip.Addr
	// Client is what OAuth2 clients call themselves (client_id).
	Client string
	// Way is "token" for a token, "refresh" for one by a refresh token, "basic" for a login on the registry itself.
	Way string
	// Decisions are what was asked and granted, each with its rule.
	Decisions []Decision
	// KeyID and TokenID are those of the token, if one was made.
	KeyID, TokenID string
	// Expires is when that token ends.
	Expires time.Time
	// Refresh is the name of the refresh token that was made or used; it is not the secret.
	Refresh string
	// Refused is why there was no token: the label of the metric; "" when there was one.
	Refused string
	// RequestID is the access log's.
	RequestID string
}
