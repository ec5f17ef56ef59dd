package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/tokenserver/token"
)

// ruled returns an Auth whose tokens are "<account>;<scope>;<scope>" in plain text, and whose rules are what each account may
// pull.
func ruled(rules map[string][]string) *Auth {
	a := grantAll(true)
	a.Verify = func(raw string) (*token.Claims, error) {
		account, scopes, _ := strings.Cut(raw, ";")
		access, err := token.ParseScopes(strings.Split(scopes, ";"))
		return &token.Claims{Subject: account, Access: access}, err
	}
	a.May = func(_ context.Context, who *token.Claims) func(repo, action string) bool {
		return func(repo, action string) bool { return action == "pull" && slices.Contains(rules[who.Subject], repo) }
	}
	return a
}

// mountFromNowhere asks for a mount into the repository to, and returns the answer's status; what is not mounted must look the
// same whether the blob is somewhere or not.
func (h *harness) mountFromNowhere(to, bearer string, d digest.Digest) int {
	h.Helper()
	a := h.do("POST", "/v2/"+to+"/blobs/uploads/?mount="+string(d), nil, "Authorization: Bearer "+bearer)
	if a.StatusCode == 202 {
		nowhere := h.do("POST", "/v2/"+to+"/blobs/uploads/?mount="+string(digest.FromString("no such blob")), nil, "Authorization: Bearer "+bearer)
		h.wantSameButForIDs(a, nowhere)
		h.want(h.do("HEAD", "/v2/"+to+"/blobs/"+string(d), nil, "Authorization: Bearer "+bearer), 404, codeBlobUnknown)
	}
	return a.StatusCode
}

// wantSameButForIDs compares two answers, but for the names of the uploads in them.
func (h *harness) wantSameButForIDs(a, b answer) {
	h.Helper()
	if a.StatusCode != b.StatusCode || string(a.body) != string(b.body) || len(a.Header) != len(b.Header) {
		h.Errorf("%s %v, and of a blob that is nowhere %s %v", a.Status, a.Header, b.Status, b.Header)
	}
	for name := range a.Header {
		if name != "Location" && name != "Docker-Upload-Uuid" && a.Header.Get(name) != b.Header.Get(name) {
			h.Errorf("%s: %q, and of a blob that is nowhere %q", name, a.Header.Get(name), b.Header.Get(name))
		}
	}
}

// TestMountFromNowhere: a mount without "from" finds a blob where the access rules let the account pull, and nowhere else; and
// it lets nobody know of another.
func TestMountFromNowhere(t *testing.T) {
	h := newHarness(t, nil)
	needed, bare := digest.FromString("needed"), h.blob("secret", "bare")
	h.image("secret", "v1", "needed")
	h.blob("secret", "public too")
	public := h.blob("public", "public too")
	h.Auth = ruled(map[string][]string{
		"alice": {"secret", "public"}, "bob": {"public", "to"}, "": {"public"}, "*": {"secret"}, "secret": {"public"},
	})
	const to = ";repository:to:pull,push"
	for _, test := range []struct {
		name, bearer string
		d            digest.Digest
		want         int
	}{
		{"the rules allow it", "alice" + to, bare, 201},
		{"the rules allow it, and a manifest needs it", "alice" + to, needed, 201},
		{"the rules allow another repository", "bob" + to, bare, 202},
		{"the rules allow another repository, and a manifest needs it", "bob" + to, needed, 202},
		{"there is one in a repository that the rules allow", "bob" + to, public, 201},
		{"nobody in particular, what everybody may pull", to, public, 201},
		{"nobody in particular", to, bare, 202},
		{"an account without rules", "carol" + to, needed, 202},
		{"an account that is called like a repository", "secret" + to, bare, 202},
		{"a grant to push is none to pull", "bob" + to + ";repository:secret:push,delete", bare, 202},
		{"a grant for what is called alike", "bob" + to + ";repository:secret/x:pull;registry:secret:pull", bare, 202},
		{"a grant beyond the rules", "bob" + to + ";repository:secret:pull", bare, 201},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := h.mountFromNowhere("to", test.bearer, test.d); got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
			h.Index.UnlinkBlob(t.Context(), "to", test.d)
		})
	}
}

// TestMountOfAnOutsideIssuer: whose accounts are not ours is not looked up in our rules.
func TestMountOfAnOutsideIssuer(t *testing.T) {
	h := newHarness(t, nil)
	d := h.blob("secret", "layer")
	h.Auth = ruled(nil)
	h.Auth.May = nil
	if got := h.mountFromNowhere("to", "alice;repository:to:pull,push", d); got != 202 {
		t.Errorf("status %d, want 202", got)
	}
	if got := h.mountFromNowhere("to", "alice;repository:to:pull,push;repository:secret:pull", d); got != 201 {
		t.Errorf("with a grant: status %d, want 201", got)
	}
}

// TestMountNeedsPush: the rules add sources, never the right to push to the target.
func TestMountNeedsPush(t *testing.T) {
	h := newHarness(t, nil)
	d := string(h.blob("secret", "layer"))
	h.Auth = ruled(map[string][]string{"alice": {"secret", "to"}})
	for _, scope := range []string{"", ";repository:to:pull", ";repository:other:pull,push"} {
		for _, query := range []string{"mount=" + d, "from=secret&mount=" + d} {
			h.want(h.do("POST", "/v2/to/blobs/uploads/?"+query, nil, "Authorization: Bearer alice"+scope), 401, codeUnauthorized)
		}
	}
}

// TestMountFromANamedRepository: clients that keep a token for the target alone get the mount that a new token would get them.
func TestMountFromANamedRepository(t *testing.T) {
	h := newHarness(t, nil)
	d := h.blob("secret", "layer")
	h.Auth = ruled(map[string][]string{"alice": {"secret", "../x"}, "bob": {"public"}})
	nowhere := string(digest.FromString("no such blob"))
	const to = "Authorization: Bearer bob;repository:to:pull,push"
	for _, from := range []string{"secret", "no/such/repository", "../x", "SECRET", "secret/"} {
		a := h.want(h.do("POST", "/v2/to/blobs/uploads/?from="+from+"&mount="+string(d), nil, to), 202)
		h.wantSameButForIDs(a, h.do("POST", "/v2/to/blobs/uploads/?from="+from+"&mount="+nowhere, nil, to))
	}
	const alice = "Authorization: Bearer alice;repository:to:pull,push"
	h.want(h.do("POST", "/v2/to/blobs/uploads/?from=../x&mount="+string(d), nil, alice), 202)
	h.want(h.do("POST", "/v2/to/blobs/uploads/?from=public&mount="+string(d), nil, alice), 202)
	h.want(h.do("POST", "/v2/to/blobs/uploads/?from=secret&mount="+string(d), nil, alice), 201)
}

// TestMountByPassword: the account that Basic proves counts as one that a token names.
func TestMountByPassword(t *testing.T) {
	h := newHarness(t, nil)
	d := string(h.blob("secret", "layer"))
	h.Auth = ruled(map[string][]string{"carol": {"secret"}})
	for account, want := range map[string]int{"carol:right": 201, "dave:right": 202} {
		basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(account))
		if a := h.do("POST", "/v2/to/blobs/uploads/?mount="+d, nil, basic); a.StatusCode != want {
			t.Errorf("%s: %s, want %d", account, a.Status, want)
		}
		h.Index.UnlinkBlob(t.Context(), "to", digest.Digest(d))
	}
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("carol:wrong"))
	h.want(h.do("POST", "/v2/to/blobs/uploads/?mount="+d, nil, basic), 401, codeUnauthorized)
}

// TestMountPastWhatCannotBeRead: a repository of distribution's tree that cannot be read, and that nobody named, refuses no push
// to another one.
func TestMountPastWhatCannotBeRead(t *testing.T) {
	h := newHarness(t, nil)
	d := string(h.blob("bad", "layer"))
	h.Adopt = func(_ context.Context, repo string, _ bool) error {
		if repo == "bad" {
			return errors.New("input/output error")
		}
		return nil
	}
	h.want(h.do("POST", "/v2/to/blobs/uploads/?mount="+d, nil), 202)
	h.blob("good", "layer")
	h.want(h.do("POST", "/v2/to/blobs/uploads/?mount="+d, nil), 201)
	h.want(h.do("POST", "/v2/to/blobs/uploads/?from=bad&mount="+d, nil), http.StatusServiceUnavailable, codeUnavailable)
}
