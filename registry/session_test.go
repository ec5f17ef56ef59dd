package registry

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/tokenserver/token"
)

// issued is an Auth over a real Verifier, the key that it believes, and a clock that the registry shares.
type issued struct {
	testing.TB
	key   *token.Key
	later atomic.Int64 // how far the clock is ahead, in nanoseconds
}

// lifetime is how long tokens of the tests live.
const lifetime = 5 * time.Minute

// withTokens gives a harness an Auth that believes real tokens, and the clock they are checked by.
func (h *harness) withTokens() *issued {
	h.Helper()
	key, err := token.GenerateKey()
	if err != nil {
		h.Fatal(err)
	}
	i := &issued{TB: h, key: key}
	verifier := token.NewVerifier(func() []token.PublicKey { return []token.PublicKey{key.Public()} },
		func() (string, string, bool) { return "issuer", "service", true }, i.now)
	h.Auth = grantAll(true)
	h.Auth.Verify = verifier.Verify
	h.Auth.Expired = func(raw string) (*token.Claims, error) { return verifier.VerifyExpired(raw, ContinueFor) }
	h.Now = i.now
	return i
}

func (i *issued) now() time.Time { return time.Now().Add(time.Duration(i.later.Load())) }

// advance sets the clock to so long after the test's begin.
func (i *issued) advance(d time.Duration) { i.later.Store(int64(d)) }

// bearer returns the header with a token for an account that is made now.
func (i *issued) bearer(account string, scopes ...string) string {
	return i.bearerBy(i.key, account, i.now(), scopes...)
}

// bearerBy is bearer with a token that a key signed at some time.
func (i *issued) bearerBy(key *token.Key, account string, at time.Time, scopes ...string) string {
	i.Helper()
	access, err := token.ParseScopes(scopes)
	if err != nil {
		i.Fatal(err)
	}
	raw, err := key.Sign(token.Claims{Issuer: "issuer", Audience: "service", Subject: account, Access: access,
		IssuedAt: at, NotBefore: at.Add(-token.Leeway), Expires: at.Add(lifetime)})
	if err != nil {
		i.Fatal(err)
	}
	return "Authorization: Bearer " + raw
}

// beginAs begins an upload and returns its Location.
func (h *harness) beginAs(repo, authorization string) string {
	h.Helper()
	return h.want(h.do("POST", "/v2/"+repo+"/blobs/uploads/", nil, authorization), 202).Header.Get("Location")
}

// TestUploadOutlivesItsToken: each request of an upload goes on with the token that began it, until it is a day old.
func TestUploadOutlivesItsToken(t *testing.T) {
	for _, account := range []string{"alice", ""} {
		h := newHarness(t, nil)
		i := h.withTokens()
		old := i.bearer(account, "repository:a:pull,push")
		location, given := h.beginAs("a", old), h.beginAs("a", old)
		for n, d := range []time.Duration{lifetime + token.Leeway, 10 * lifetime, ContinueFor - time.Minute} {
			i.advance(d)
			h.want(h.do("GET", "/v2/a/tags/list", nil, old), 401, codeUnauthorized)
			a := h.want(h.do("PATCH", location, strings.NewReader("x"), old), 202)
			location = a.Header.Get("Location")
			for _, method := range []string{"GET", "HEAD"} {
				h.wantHeader(h.want(h.do(method, location, nil, old), 204), "Range", []string{"0-0", "0-1", "0-2"}[n])
			}
		}
		h.want(h.do("PUT", location+"&digest="+string(digest.FromString("xxx")), nil, old), 201)
		h.want(h.do("PATCH", location, strings.NewReader("x"), old), 404, codeUploadUnknown) // it has ended
		h.want(h.do("GET", "/v2/a/blobs/"+string(digest.FromString("xxx")), nil, old), 401, codeUnauthorized)
		h.want(h.do("GET", "/v2/a/blobs/"+string(digest.FromString("xxx")), nil, i.bearer("alice", "repository:a:pull")), 200)
		h.want(h.do("DELETE", given, nil, old), 204)

		last := h.beginAs("a", i.bearer(account, "repository:a:pull,push"))
		began := time.Duration(i.later.Load())
		i.advance(began + ContinueFor + time.Minute)
		h.want(h.do("PATCH", last, strings.NewReader("x"), old), 401, codeUnauthorized)
		h.want(h.do("PATCH", last, strings.NewReader("x"), i.bearer(account, "repository:a:pull,push")), 202)
	}
}

// TestUploadIsAsOldAsItsID: the session's age bounds what an expired token may go on with, whatever Expired would take; and a
// token that had run out before the session began did not begin it.
func TestUploadIsAsOldAsItsID(t *testing.T) {
	h := newHarness(t, nil)
	i := h.withTokens()
	old := i.bearer("alice", "repository:a:pull,push")
	location := h.beginAs("a", old)
	before := i.bearerBy(i.key, "alice", i.now().Add(-lifetime-token.Leeway-time.Second), "repository:a:pull,push")
	h.want(h.do("PATCH", location, strings.NewReader("x"), before), 401, codeUnauthorized)

	verify := h.Auth.Expired
	var asked atomic.Int64
	h.Auth.Expired = func(raw string) (*token.Claims, error) {
		asked.Add(1)
		c, err := verify(raw)
		if err != nil {
			return &token.Claims{Subject: "alice", Access: repository("a", "*"), Expires: i.now()}, nil
		}
		return c, err
	}
	i.advance(ContinueFor - time.Minute)
	h.want(h.do("PATCH", location, strings.NewReader("x"), old), 202)
	i.advance(ContinueFor + time.Minute)
	h.want(h.do("PATCH", location, strings.NewReader("x"), old), 401, codeUnauthorized)
	someones := "/v2/a/blobs/uploads/" + someUUID + "?" + strings.SplitN(location, "?", 2)[1]
	h.want(h.do("PATCH", someones, strings.NewReader("x"), old), 401, codeUnauthorized)
	if asked.Load() != 1 {
		t.Errorf("Expired was asked %d times, want 1: the others are no sessions, or old ones", asked.Load())
	}
}

// attempt is something that an expired token does not do.
type attempt struct{ what, method, url, authorization string }

// refuseExpired checks that an attempt is refused, on an upload by every method that changes it, and where it is only for its
// time that the token is refused, that the client is told to get another.
func (h *harness) refuseExpired(try attempt, onlyTime bool) {
	h.Helper()
	methods := []string{try.method}
	if try.method == "PATCH" {
		methods = []string{"PATCH", "PUT", "DELETE", "GET"}
	}
	for _, method := range methods {
		a := h.do(method, try.url, strings.NewReader("x"), try.authorization)
		if a.StatusCode != 401 {
			h.Errorf("%s: %s %s, want 401: %s", try.what, method, a.Status, a.body)
		}
		if onlyTime && !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			h.Errorf("%s: challenge %s", try.what, a.Header.Get("WWW-Authenticate"))
		}
	}
}

// TestExpiredTokenElsewhere: an expired token continues its own account's session and does nothing else.
func TestExpiredTokenElsewhere(t *testing.T) {
	h := newHarness(t, nil)
	h.image("a", "v1", "layer")
	i := h.withTokens()
	const all = "repository:a:*"
	old, mallorys, nobodys := i.bearer("alice", all, "repository:b:*", "registry:catalog:*"), i.bearer("mallory", all), i.bearer("", all)
	mine, theirs, anonymous := h.beginAs("a", old), h.beginAs("a", mallorys), h.beginAs("a", nobodys)
	pulls, others := i.bearer("alice", "repository:a:pull,delete"), i.bearer("alice", "repository:b:*")
	stranger, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	forged := i.bearerBy(stranger, "alice", i.now(), all)
	spliced := old[:strings.LastIndex(old, ".")] + forged[strings.LastIndex(forged, "."):]
	i.advance(lifetime + token.Leeway)

	layer := string(digest.FromString("layer"))
	query := strings.SplitN(mine, "?", 2)[1]
	id := mine[strings.LastIndex(mine, "/")+1 : strings.Index(mine, "?")]
	for _, test := range []attempt{
		{"a new session", "POST", "/v2/a/blobs/uploads/", old},
		{"a new session with the proof of another", "POST", "/v2/a/blobs/uploads/?" + query, old},
		{"a blob at once", "POST", "/v2/a/blobs/uploads/?digest=" + string(digest.FromString("x")), old},
		{"a mount", "POST", "/v2/b/blobs/uploads/?from=a&mount=" + layer, old},
		{"a manifest", "PUT", "/v2/a/manifests/v2?" + query, old},
		{"a pull", "GET", "/v2/a/blobs/" + layer + "?" + query, old},
		{"a deletion", "DELETE", "/v2/a/blobs/" + layer, old},
		{"the tags", "GET", "/v2/a/tags/list", old},
		{"the catalog", "GET", "/v2/_catalog", old},
		{"the base", "GET", "/v2/", old},
		{"a session of nobody's", "PATCH", "/v2/a/blobs/uploads/" + newSession(), old},
		{"a session with the proof of another", "PATCH", "/v2/a/blobs/uploads/" + newSession() + "?" + query, old},
		{"a session without its proof", "PATCH", "/v2/a/blobs/uploads/" + id, old},
		{"a session of another repository", "PATCH", "/v2/b/blobs/uploads/" + id + "?" + query, old},
		{"another account's session", "PATCH", theirs, old},
		{"the anonymous account's session", "PATCH", anonymous, old},
		{"one's own, anonymously", "PATCH", mine, nobodys},
		{"one's own, without a token", "PATCH", mine, "Authorization: "},
		{"another's, by that account", "PATCH", mine, mallorys},
		{"a token without push", "PATCH", mine, pulls},
		{"a token for another repository", "PATCH", mine, others},
		{"a token of another key", "PATCH", mine, forged}, // T-SEC-24: expired and forged is forged
		{"a token with another signature", "PATCH", mine, spliced},
		{"no token", "PATCH", mine, "Authorization: Bearer x"},
		{"the token as a password", "PATCH", mine, "Authorization: Basic " + strings.TrimPrefix(old, "Authorization: Bearer ")},
	} {
		h.refuseExpired(test, test.authorization == old)
	}
	h.wantHeader(h.want(h.do("GET", mine, nil, old), 204), "Range", "0-0") // after all that, still as it was begun
	h.Auth.Expired = nil
	h.want(h.do("GET", mine, nil, old), 401, codeUnauthorized)
}

// TestRemovedAccountEndsItsUploads: who may no longer push does not go on with an expired token; the same upload goes on when
// they may again.
func TestRemovedAccountEndsItsUploads(t *testing.T) {
	h := newHarness(t, nil)
	i := h.withTokens()
	var allowed, asked atomic.Bool
	h.Auth.May = func(_ context.Context, who *token.Claims) func(repo, action string) bool {
		asked.Store(true)
		return func(repo, action string) bool {
			return who.Subject == "alice" && repo == "a" && action == "push" && allowed.Load()
		}
	}
	old := i.bearer("alice", "repository:a:pull,push")
	location := h.beginAs("a", old)
	h.want(h.do("PATCH", location, strings.NewReader("x"), old), 202)
	if asked.Load() {
		t.Error("the rules were asked about an upload whose token was good")
	}
	i.advance(lifetime + token.Leeway)
	for _, method := range []string{"PATCH", "PUT", "GET", "DELETE"} {
		h.want(h.do(method, location, strings.NewReader("x"), old), 401, codeUnauthorized)
	}
	allowed.Store(true)
	h.want(h.do("PATCH", location, strings.NewReader("x"), old), 202)
	h.want(h.finishAs(location, "xx", old), 201)
}

// finishAs commits an upload of content, all of which is there.
func (h *harness) finishAs(location, content, authorization string) answer {
	h.Helper()
	return h.do("PUT", location+"&digest="+string(digest.FromString(content)), nil, authorization)
}

// TestTokenExpiresDuringABody: a body that is being received when the token runs out is received to its end.
func TestTokenExpiresDuringABody(t *testing.T) {
	h := newHarness(t, nil)
	i := h.withTokens()
	h.Auth.Expired = nil // nothing but what authorized the request at its begin
	old := i.bearer("alice", "repository:a:pull,push")
	location := h.beginAs("a", old)
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write([]byte("hel")) // returns once the server has read it
		i.advance(10 * lifetime)
		_, _ = w.Write([]byte("lo"))
		w.Close()
	}()
	a := h.want(h.do("PATCH", location, r, old), 202)
	h.wantHeader(a, "Range", "0-4")
	h.want(h.do("PATCH", location, http.NoBody, old), 401, codeUnauthorized)
	h.want(h.finishAs(a.Header.Get("Location"), "hello", i.bearer("alice", "repository:a:pull,push")), 201)
}
