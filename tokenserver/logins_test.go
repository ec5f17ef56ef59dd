package tokenserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// TestThousandClientsAtOnce: they log in over TLS, a connection each, with twenty accounts, before any password is compared. All are
// served, and each password is compared once: in the second run half of them have a wrong one.
func TestThousandClientsAtOnce(t *testing.T) {
	const clients, accounts = 1000, 20
	for name, passwords := range map[string][]string{"right": {"right"}, "right and wrong": {"right", "wrong"}} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.observe = func(context.Context, string) {}
			var file strings.Builder
			for i := range accounts {
				fmt.Fprintf(&file, "user-%d:%s\n", i, cheapHash(t, "right"))
			}
			path := filepath.Join(t.TempDir(), "htpasswd")
			writeFile(t, path, file.String())
			users, err := OpenHtpasswd(path, HtpasswdOptions{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			h.Server.users = users
			var arrived, runs atomic.Int64
			all := make(chan struct{})
			users.checker.compare = func(hash, password []byte) error {
				<-all
				runs.Add(1)
				return bcrypt.CompareHashAndPassword(hash, password)
			}
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if arrived.Add(1) == clients {
					close(all)
				}
				h.ServeHTTP(w, r)
			}))
			defer server.Close()
			var waiting sync.WaitGroup
			for i := range clients {
				account, password := fmt.Sprint("user-", i%accounts), passwords[i/accounts%len(passwords)]
				want := map[string]int{"right": 200, "wrong": 401}[password]
				waiting.Go(func() {
					if status, err := loginTo(server, account, password); err != nil || status != want {
						t.Errorf("%s with the %s password: %d, %v, want %d", account, password, status, err, want)
					}
				})
			}
			waiting.Wait()
			if n := runs.Load(); n != int64(accounts*len(passwords)) {
				t.Errorf("%d comparisons, want %d", n, accounts*len(passwords))
			}
		})
	}
}

// loginTo asks a server for a token, over a connection of its own.
func loginTo(server *httptest.Server, account, password string) (status int, err error) {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	r, err := http.NewRequest("GET", server.URL+"/token?account="+account, nil)
	if err != nil {
		return 0, err
	}
	r.SetBasicAuth(account, password)
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// TestAddressReachesTheQueue: what waits is told apart by where its request came from.
func TestAddressReachesTheQueue(t *testing.T) {
	h := newHouse(t)
	release := make(chan struct{})
	h.users.checker.compare = func([]byte, []byte) error { <-release; return bcrypt.ErrMismatchedHashAndPassword }
	queue := h.users.checker.turns
	for range queue.free {
		queue.take(party{})
	}
	var all sync.WaitGroup
	r := get("", "alice", "x")
	r.RemoteAddr = "192.0.2.77:1234"
	all.Go(func() { h.serve(r) })
	until(t, func() bool { return waiting(queue) == 1 })
	queue.mu.Lock()
	if got := queue.queue[0].party; got != (party{netip.MustParsePrefix("192.0.2.77/32"), "alice"}) {
		t.Errorf("who waits is %v", got)
	}
	queue.mu.Unlock()
	close(release)
	queue.give()
	all.Wait()
}

// TestUnknownAccountIsAnsweredAsAWrongPassword is T-SEC-15: the same status, header and body, and the same work.
func TestUnknownAccountIsAnsweredAsAWrongPassword(t *testing.T) {
	h := newHouse(t)
	runs := counting(h.users.checker)
	answer := func(account, password string) string {
		before := runs.Load()
		byGet, basic := h.serve(get("scope=repository:a:pull", account, password)), error(nil)
		_, basic = h.login(t, account, password, nil)
		return fmt.Sprint(byGet.Code, byGet.Header(), byGet.Body, errors.Is(basic, ErrBadCredentials), basic, runs.Load()-before, " comparisons")
	}
	want := answer("alice", "wrong")
	for _, account := range []string{"nobody", "bob", "ALICE", "", "*", "a:b"} {
		if got := answer(account, "wrong"); got != want {
			t.Errorf("%q: %s\nwant %s", account, got, want)
		}
	}
	if !strings.Contains(want, "true") || !strings.Contains(want, " 2 comparisons") {
		t.Errorf("a wrong password: %s", want)
	}
}

func TestHtpasswdRechecks(t *testing.T) {
	one := cheapHash(t, "one")
	h, path, at, _ := openUsers(t, "alice:"+one+"\nbob:"+one+"\nbroken:plain\n")
	alice, err := h.Authenticate(t.Context(), "alice", "one")
	if err != nil || alice.Revision == "" || strings.Contains(one, alice.Revision) {
		t.Fatalf("%+v, %v", alice, err)
	}
	if now, err := h.Recheck(t.Context(), alice); err != nil || now.Account != "alice" || now.Revision != alice.Revision {
		t.Errorf("unchanged: %+v, %v", now, err)
	}
	gone := func(what string, who Identity) {
		t.Helper()
		if now, err := h.Recheck(t.Context(), who); !errors.Is(err, ErrBadCredentials) || now.Account != "" {
			t.Errorf("%s: %+v, %v", what, now, err)
		}
	}
	gone("nobody", Identity{Account: "nobody", Revision: alice.Revision})
	gone("no account", Identity{Revision: alice.Revision})
	gone("no revision", Identity{Account: "alice"})
	gone("not usable", Identity{Account: "broken", Revision: revisionOf("plain")})
	for account, want := range map[string]bool{"alice": true, "bob": true, "broken": false, "nobody": false, "": false, "ALICE": false} {
		if h.Knows(account) != want {
			t.Errorf("Knows(%q) is %v", account, !want)
		}
	}

	writeFile(t, path, "alice:"+cheapHash(t, "one")+"\n") // the same password, set again
	*at = at.Add(lookEvery)
	gone("another password", alice)
	gone("removed", Identity{Account: "bob", Revision: revisionOf(one)})
	*at = at.Add(time.Hour)
	again, err := h.Authenticate(t.Context(), "alice", "one")
	if err != nil || again.Revision == alice.Revision {
		t.Errorf("%+v, %v", again, err)
	}
	if now, err := h.Recheck(t.Context(), again); err != nil || now.Account != "alice" {
		t.Errorf("the new one: %+v, %v", now, err)
	}
}
