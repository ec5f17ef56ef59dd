package registry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/tokenserver/token"
)

// Auth is how the registry learns who may do what. Tokens may come from anybody whose keys Verify knows. Who somebody is, is
// always a token's claims: the account, its groups, and what was granted. They are shared and never modified.
type Auth struct {
	// Verify returns what a bearer token says, or an error when it proves nothing.
	Verify func(raw string) (*token.Claims, error)
	// Expired returns what a token says that Verify would take but that its time ran out, ContinueFor ago at most. It is asked for
	// uploads that are under way, and for nothing else. nil: what has expired proves nothing anywhere.
	Expired func(raw string) (*token.Claims, error)
	// Basic returns who an account with this password is, and as their grants what of wanted they may do: ErrCredentials when the
	// password proves nothing, a WaitError when it was not looked at, another error when that could not be found out. The request
	// tells where it comes from.
	Basic func(r *http.Request, account, password string, wanted []token.Access) (*token.Claims, error)
	// Challenge returns where a client of this request gets tokens, and for which service. known is false while that has not
	// been configured yet: then nobody is served.
	Challenge func(r *http.Request) (realm, service string, known bool)
	// May returns what decides whether somebody may, by today's rules, do an action on a repository, whatever their token says: a
	// token is for the repositories that the client thought of, and a blob to be mounted may lie in others, the catalog lists
	// all, and an upload that outlives its token outlives the rules of then. It is called once for a request, and what it
	// returns perhaps thousands of times. nil where accounts are an outside issuer's: then a token's grants are all there is.
	May func(ctx context.Context, who *token.Claims) func(repo, action string) bool
	// Why returns what a client is told that is known and may not do all of must, or "" for nothing in particular. nil: nothing.
	Why func(ctx context.Context, who *token.Claims, must []token.Access) string
}

// ErrCredentials is Basic's word for an unknown account or a wrong password.
var ErrCredentials = errors.New("wrong account or password")

// WaitError is Basic's word for credentials that are not looked at before so long, because there were too many wrong ones.
type WaitError time.Duration

func (WaitError) Error() string { return "too many wrong passwords" }

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
// the endpoint needs. It looks at the method, the URL and the Authorization header, and at nothing else.
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
	wanted := slices.Concat(must, may)
	who, reason, err := g.identify(c, wanted)
	if wait := WaitError(0); errors.As(err, &wait) {
		seconds := (time.Duration(wait) + time.Second - 1) / time.Second
		return problem(codeTooMany, "").retryAfter(strconv.FormatInt(int64(max(seconds, 1)), 10))
	}
	if err != nil {
		return unavailable(err, "the account could not be checked")
	}
	if who == nil {
		return &challenge{realm: realm, service: service, scope: wanted, must: must, reason: reason}
	}
	c.who, c.account, c.grants.access = who, who.Subject, who.Access
	g.Observe(c.Context(), c.account)
	if c.grants.allow(must) {
		return nil
	}
	// RFC 6750: the scope that is necessary; skopeo cannot read two here.
	refused := &challenge{realm: realm, service: service, scope: must, must: must, reason: "insufficient_scope"}
	if g.Auth.Why != nil {
		refused.message = printable(g.Auth.Why(c.Context(), who, must))
	}
	return refused
}

// identify returns who sent the request and what they were granted, of wanted where it was a password that proved it. Without
// credentials that prove something it returns nobody, and for the challenge the error of RFC 6750 section 3.1. An error of its
// own means that it could not be told.
func (g *Registry) identify(c *call, wanted []token.Access) (who *token.Claims, reason string, err error) {
	scheme, credentials, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		raw := strings.TrimSpace(credentials)
		who, err := g.Auth.Verify(raw)
		if err == nil {
			return who, "", nil
		}
		if who := g.continued(c, raw); who != nil {
			return who, "", nil
		}
		// Whose it is, is not known: nothing in it is proven.
		if g.Log.Enabled(c.Context(), slog.LevelDebug) {
			g.Log.DebugContext(c.Context(), "token refused", "err", whyRefused(err, raw))
		}
		return nil, "invalid_token", nil
	case strings.EqualFold(scheme, "Basic") && len(credentials) <= maxBasic:
		account, password, ok := c.BasicAuth()
		if !ok || account == "" {
			return nil, "", nil
		}
		who, err := g.Auth.Basic(c.Request, account, password, wanted)
		if errors.Is(err, ErrCredentials) {
			return nil, "", nil
		}
		return who, "", err
	}
	return nil, "", nil
}

// whyRefused is why a token proves nothing, in a line for the log, without anything of the token: who can read that could try it elsewhere.
func whyRefused(err error, raw string) string {
	const telling = 8 // bytes; shorter pieces are words that may be in any message
	text := err.Error()
	if len(raw) > token.MaxSize { // it was not even taken apart
		return printable(strings.ReplaceAll(text, raw, "…"))
	}
	for _, part := range append([]string{raw}, strings.SplitN(raw, ".", 4)...) {
		if len(part) >= telling {
			text = strings.ReplaceAll(text, part, "…")
		}
	}
	return printable(text)
}

// maxBasic is the length in bytes of the longest credentials that are decoded. A password may be somebody's token.
const maxBasic = 64 << 10

// mayPull reports whether the account may pull from a repository, by what it was granted or by the access rules.
func (g *Registry) mayPull(c *call, name string) bool {
	if !validName(name) {
		return false
	}
	if c.grants.allow(repository(name, "pull")) {
		return true
	}
	if c.may == nil && g.Auth.May != nil {
		c.may = g.Auth.May(c.Context(), c.who)
	}
	return c.may != nil && c.may(name, "pull")
}

// challenge is the error of a request that must be sent again with a token: always 401, never 403, or clients give up.
type challenge struct {
	realm, service string
	scope, must    []token.Access
	reason         string // of RFC 6750 section 3.1; "" when there were no credentials to judge
	message        string // for who reads the client's output; "" for what every refusal says
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
	if c.message != "" {
		// docker, skopeo and podman show it in place of the body's message. Section 3 has it in ASCII without quotes.
		b.WriteString(`,error_description="` + strings.Map(described, c.message) + `"`)
	}
	return b.String()
}

// described replaces what may not be in an error_description (RFC 6750 section 3).
func described(r rune) rune {
	switch {
	case r == '"' || r == '\\':
		return '\''
	case r < ' ' || r > '~':
		return '?'
	}
	return r
}

// maxMessage bounds what a client is told of a refusal, in bytes.
const maxMessage = 200

// printable returns a message as one line of at most maxMessage bytes that does nothing to a terminal.
func printable(message string) string {
	message = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, message))
	if len(message) <= maxMessage {
		return message
	}
	end := maxMessage
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end]
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
