package guard

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/token"
)

// oneKey is tokenserver.Keys with one.
type oneKey struct{ key *token.Key }

func (o oneKey) Active() *token.Key        { return o.key }
func (o oneKey) Public() []token.PublicKey { return []token.PublicKey{o.key.Public()} }

// newServer returns a token server behind b, with twenty accounts, user-0 to user-19, whose password is right.
func newServer(t *testing.T, b *bench) *tokenserver.Server {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(right), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	for i := range 20 {
		fmt.Fprintf(&file, "user-%d:%s\n", i, hash)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	users, err := tokenserver.OpenHtpasswd(path, tokenserver.HtpasswdOptions{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := access.New(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := tokenserver.New(tokenserver.Options{Users: users, Rules: rules, Keys: oneKey{key}, Guard: b.Guard,
		Auth: configs.NewValue(configs.Token{Service: "registry.example", Issuer: "house"}), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// login is a request for a token.
func login(s *tokenserver.Server, account, password, from string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/token?account="+account, nil)
	r.RemoteAddr = from + ":40000"
	r.SetBasicAuth(account, password)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// TestFleetIsServed: a thousand clients behind one address log in at once with twenty accounts, half of them with the wrong password of
// before. Nobody is held up.
func TestFleetIsServed(t *testing.T) {
	s := newServer(t, newBench(t, Options{}))
	var all sync.WaitGroup
	for i := range 1000 {
		password, want := right, 200
		if i/20%2 == 1 {
			password, want = "the stale one", 401
		}
		all.Go(func() {
			if w := login(s, fmt.Sprint("user-", i%20), password, home); w.Code != want {
				t.Errorf("client %d: %d %s, want %d", i, w.Code, w.Body, want)
			}
		})
	}
	all.Wait()
}

// TestHeldUpAnswersAreAlike is T-SEC-15: for accounts that are there and for those that are not, 401 and 429 come at the same attempts,
// with the same body, and a right password makes no difference while it is not looked at.
func TestHeldUpAnswersAreAlike(t *testing.T) {
	b := newBench(t, Options{})
	s := newServer(t, b)
	var codes []int
	for i := range 20 {
		known, unknown := login(s, "user-1", fmt.Sprint("guess ", i), home), login(s, "nobody", fmt.Sprint("guess ", i), office)
		if known.Code != unknown.Code || known.Body.String() != unknown.Body.String() ||
			fmt.Sprint(known.Header()) != fmt.Sprint(unknown.Header()) {
			t.Errorf("attempt %d:\n%d %v %s\n%d %v %s", i, known.Code, known.Header(), known.Body, unknown.Code, unknown.Header(), unknown.Body)
		}
		if wait := known.Header().Get("Retry-After"); (known.Code == 429) != (wait != "") {
			t.Errorf("attempt %d: %d, Retry-After %q", i, known.Code, wait)
		}
		codes = append(codes, known.Code)
	}
	if codes[5] != 401 || codes[6] != 429 || codes[19] != 429 {
		t.Errorf("answers %v", codes)
	}
	if w := login(s, "user-1", right, home); w.Code != 429 {
		t.Errorf("the right password while held up: %d", w.Code)
	}
	if w := login(s, "user-1", right, office); w.Code != 200 {
		t.Errorf("the right password elsewhere: %d", w.Code)
	}
	b.at = b.at.Add(firstDelay)
	if w := login(s, "user-1", right, home); w.Code != 200 {
		t.Errorf("the right password in its turn: %d", w.Code)
	}
}
