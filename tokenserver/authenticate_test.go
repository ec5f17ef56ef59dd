package tokenserver

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/tokenserver/token"
)

// down is an Authenticator and an Authorizer whose backend cannot tell.
type down struct{ err error }

func (d down) Authenticate(context.Context, string, string) (Identity, error) {
	return Identity{}, d.err
}
func (d down) Authorize(context.Context, Identity, []token.Access) ([]Decision, error) {
	return []Decision{{Asked: token.Access{Type: "repository", Name: "a"}, Actions: []string{"*"}}}, d.err
}

// login is Authenticate for a request of its own.
func (h *house) login(t testing.TB, account, password string, wanted []token.Access) ([]token.Access, error) {
	t.Helper()
	_, granted, err := h.Authenticate(httptest.NewRequest("GET", "/v2/", nil).WithContext(t.Context()), account, password, wanted)
	return granted, err
}

func TestBackendDown(t *testing.T) {
	secret := errors.New("directory at 10.0.0.1 is down")
	for _, tt := range []struct {
		name   string
		change func(*Server)
		err    error
	}{
		{"users", func(s *Server) { s.users = down{secret} }, secret},
		{"rules", func(s *Server) { s.rules = down{secret} }, secret},
		{"busy", func(s *Server) { s.users = down{ErrBusy} }, ErrBusy},
		{"users without a name", func(s *Server) { s.users = down{nil} }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			tt.change(h.Server)
			w := h.serve(get("scope=repository:a:pull", "alice", "wonder:land"))
			message := refused(t, w, 503, "temporarily_unavailable")
			if strings.Contains(message, "10.0.0.1") || w.Header().Get("Retry-After") == "" {
				t.Errorf("%q, %v", message, w.Header())
			}
			granted, err := h.login(t, "alice", "wonder:land", nil)
			if err == nil || tt.err != nil && !errors.Is(err, tt.err) || errors.Is(err, ErrBadCredentials) || granted != nil {
				t.Errorf("Basic: %v, %v", granted, err)
			}
		})
	}
}

func TestAuthenticate(t *testing.T) {
	h := newHouse(t)
	wanted := scopes(t, "repository:pub/a:pull,push repository:a:pull")
	granted, err := h.login(t, "bob", "builder", wanted)
	if err != nil || len(granted) != 1 || granted[0].String() != "repository:pub/a:pull" || !slices.Equal(h.observed, []string{"bob"}) {
		t.Errorf("%v, %v, observed %v", granted, err, h.observed)
	}
	for _, c := range [][2]string{{"bob", "wrong"}, {"nobody", "builder"}, {"", ""}, {"bob", ""}, {"", "builder"}} {
		if granted, err := h.login(t, c[0], c[1], wanted); !errors.Is(err, ErrBadCredentials) || granted != nil {
			t.Errorf("%q: %v, %v", c[0], granted, err)
		}
	}
	if len(h.observed) != 1 {
		t.Errorf("observed %v", h.observed)
	}
}

// TestSameAnswerByPasswordAndByToken is T-SEC-20 on this side: what Basic on the registry allows is what the token says.
func TestSameAnswerByPasswordAndByToken(t *testing.T) {
	h := newHouse(t)
	for _, c := range [][2]string{{"alice", "wonder:land"}, {"bob", "builder"}} {
		for _, scope := range []string{"repository:pub/a:pull,push,delete", "repository:a:*", "registry:catalog:*", "other:x:pull", "repository:pub:pull"} {
			basic, err := h.login(t, c[0], c[1], scopes(t, scope))
			if err != nil {
				t.Fatal(err)
			}
			byGet, _ := h.claims(t, h.serve(get("scope="+scope, c[0], c[1])))
			byPost, _ := h.claims(t, h.serve(post("", url.Values{"grant_type": {"password"}, "username": {c[0]}, "password": {c[1]}, "scope": {scope}})))
			if want := access(&token.Claims{Access: basic}); access(byGet) != want || access(byPost) != want {
				t.Errorf("%s, %s: Basic %q, GET %q, POST %q", c[0], scope, want, access(byGet), access(byPost))
			}
		}
	}
}
