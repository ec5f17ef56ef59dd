package tokenserver

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// What package clientcert reads from a certificate is its own test. Here it is what the server makes of it.
func TestPeer(t *testing.T) {
	h := newHouse(t)
	who, ok, fault := Identity{Account: "bob", Source: "certificate"}, true, error(nil)
	h.peer = func(*http.Request) (Identity, bool, error) { return who, ok, fault }
	pull := "scope=repository:pub/x:pull"

	c, _ := h.claims(t, h.serve(get(pull)))
	if c.Subject != "bob" || access(c) != "repository:pub/x:pull" {
		t.Errorf("with a certificate: %q may %q", c.Subject, access(c))
	}
	if !slices.Equal(h.observed, []string{"bob"}) {
		t.Errorf("observed %q", h.observed)
	}
	if c, _ := h.claims(t, h.serve(get(pull, "alice", "wonder:land"))); c.Subject != "alice" {
		t.Errorf("with a certificate and a password it is %q", c.Subject)
	}
	refused(t, h.serve(get(pull, "alice", "wrong")), 401, "invalid_grant")
	refused(t, h.serve(post("", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"wrong"}})), 401, "invalid_grant")

	who.Until = h.at.Add(30 * time.Second)
	if c, body := h.claims(t, h.serve(get(pull))); !c.Expires.Equal(who.Until) || body["expires_in"] != 30.0 {
		t.Errorf("the token ends at %v, the certificate at %v", c.Expires, who.Until)
	}
	who.Until = h.at
	refused(t, h.serve(get(pull)), 401, "invalid_grant")

	fault = ErrBadCredentials // never as anonymous
	refused(t, h.serve(get(pull)), 401, "invalid_grant")
	fault = errors.New("cannot tell")
	refused(t, h.serve(get(pull)), 503, "temporarily_unavailable")
	who, fault = Identity{}, nil
	refused(t, h.serve(get(pull)), 503, "temporarily_unavailable")
	ok = false
	if c, _ := h.claims(t, h.serve(get(pull))); c.Subject != "" || access(c) != "" {
		t.Errorf("without a certificate: %q may %q", c.Subject, access(c))
	}
}

func TestNamesOfOthers(t *testing.T) {
	for _, good := range []string{"alice", "github/octo-org/octo-repo", "system:serviceaccount:a:b", "Bob Smith", "é", "a@example.com"} {
		if err := CheckAccount(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "*", "a*", " a", "a ", "a\n", "a\x00", "a\x7f", "\u202ea", "a\u2028b", "\ufeffa", "a\xff", "unix:root",
		"robot$ci", "robot$", "<token>"} {
		if err := CheckAccount(bad); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}
