package registry

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"gatehouse/tokenserver/token"
)

// Auth is how the registry learns who may do what. Tokens may come from anybody whose keys Verify knows.
type Auth struct {
	// Verify returns what a bearer token says, or an error when it proves nothing.
	Verify func(raw string) (*token.Claims, error)
	// Basic returns what of wanted an account with this password may do: ErrCredentials when they prove nothing, another error
	// when that could not be found out.
	Basic func(ctx context.Context, account, password string, wanted []token.Access) ([]token.Access, error)
	// Challenge returns where a client of this request gets tokens, and for which service. known is false while that has not
	// been configured yet: then nobody is served.
	Challenge func(r *http.Request) (realm, service string, known bool)
	// May says whether an account, "" for the anonymous, may do an action on a repository that its token does not name: a token
	// is for the repositories that the client thought of, and a blob to be mounted may lie in others. nil where accounts are an
	// outside issuer's: then a token's grants are all there is.
	May func(ctx context.Context, account, repo, action string) bool
}

// ErrCredentials is Basic's word for an unknown account or a wrong password.
var ErrCredentials = errors.New("wrong account or password")

// need is what an endpoint asks of an account: all of must, and may as well for the best answer.
type need func(*call) (must, may []token.Access)

func needsAccount(*call) (must, may []token.Access) { return nil, nil }

func needsPull(c *call) (must, may []token.Access) { return repository(c.name, "pull"), nil }

func needsPush(c *call) (must, may []token.Access) { return repository(c.name, "pull", "push"), nil }

func needsDelete(c *call) (must, may []token.Access) { return repository(c.name, "delete"), nil }

func needsCatalog(*call) (must, may []token.Access) {
	return []token.Access{{Type: "registry", Name: "catalog", Actions: []string{"*"}}}, nil
}

// needsPushOrMount does not insist on pull from the source of a mount: without it the blob is uploaded. A client that is
// refused here (containerd, go-containerregistry) gives the push up instead.
func needsPushOrMount(c *call) (must, may []token.Access) {
	must, _ = needsPush(c)
	if from := c.URL.Query().Get("from"); validName(from) {
		may = repository(from, "pull")
	}
	return must, may
}

func repository(name string, actions ...string) []token.Access {
	return []token.Access{{Type: "repository", Name: name, Actions: actions}}
}

// grants is what a request may do.
type grants struct {
	everything bool
	access     []token.Access
}

// allow reports whether all of wanted is granted.
func (g grants) allow(wanted []token.Access) bool {
	if g.everything {
		return true
	}
	for _, a := range wanted {
		for _, action := range a.Actions {
			if !token.Allows(g.access, a.Type, a.Name, action) {
				return false
			}
		}
	}
	return true
}

// authorize finds out who sent the request and what they may do, and refuses it with a challenge unless that covers what
// the endpoint needs. It looks at the header and the URL, never at the body.
func (g *Registry) authorize(c *call, e *endpoint) error {
	if g.Auth == nil {
		c.grants.everything = true
		return nil
	}
	must, may := e.need(c)
	realm, service, known := g.Auth.Challenge(c.Request)
	if !known {
		return problem(codeUnavailable, "the registry does not know its token server yet").retryAfter("10")
	}
	refuse := func(reason string) error {
		scope := append(must, may...)
		if reason == "insufficient_scope" { // RFC 6750: the scope that is necessary; skopeo cannot read two here
			scope = must
		}
		return &challenge{realm: realm, service: service, scope: scope, must: must, reason: reason}
	}
	header := c.Header.Get("Authorization")
	scheme, credentials, _ := strings.Cut(header, " ")
	switch {
	case header == "":
		return refuse("")
	case strings.EqualFold(scheme, "Bearer"):
		claims, err := g.Auth.Verify(strings.TrimSpace(credentials))
		if err != nil {
			return refuse("invalid_token")
		}
		c.account, c.grants.access = claims.Subject, claims.Access
	case strings.EqualFold(scheme, "Basic"):
		account, password, ok := c.BasicAuth()
		if !ok || account == "" {
			return refuse("")
		}
		granted, err := g.Auth.Basic(c.Context(), account, password, append(must, may...))
		if errors.Is(err, ErrCredentials) {
			return refuse("")
		}
		if err != nil {
			return unavailable(err, "the account could not be checked")
		}
		c.account, c.grants.access = account, granted
	default:
		return refuse("")
	}
	g.Observe(c.Context(), c.account)
	if !c.grants.allow(must) {
		return refuse("insufficient_scope")
	}
	return nil
}

// challenge is the error of a request that must be sent again with a token: always 401, never 403, or clients give up.
type challenge struct {
	realm, service string
	scope, must    []token.Access
	reason         string // of RFC 6750 section 3.1; "" when there were no credentials to judge
}

func (c *challenge) Error() string { return "authentication required" }

// header returns the WWW-Authenticate value, with no space after commas, as distribution writes it.
func (c *challenge) header() string {
	var b strings.Builder
	b.WriteString(`Bearer realm="` + quoted(c.realm) + `",service="` + quoted(c.service) + `"`)
	for i, a := range c.scope {
		if i == 0 {
			b.WriteString(`,scope="`)
		} else {
			b.WriteByte(' ')
		}
		b.WriteString(quoted(a.String()))
	}
	if len(c.scope) > 0 {
		b.WriteByte('"')
	}
	if c.reason != "" {
		b.WriteString(`,error="` + c.reason + `"`)
	}
	return b.String()
}

// quoted escapes text for a quoted-string (RFC 9110 section 5.6.4).
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", "", "\n", "").Replace(s)
}

// detail lists what was needed, as distribution does.
func (c *challenge) detail() any {
	type access struct{ Type, Class, Name, Action string }
	var list []access
	for _, a := range c.must {
		for _, action := range a.Actions {
			list = append(list, access{a.Type, a.Class, a.Name, action})
		}
	}
	if list == nil {
		return nil
	}
	return list
}
