package refresh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/tokenserver"
)

// clock is a time that tests set.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time { return c.at }

const service = "registry.example"

func alice() tokenserver.Identity {
	return tokenserver.Identity{Account: "alice", Source: "htpasswd", Revision: "r1"}
}

func newTokens(t testing.TB, dir string, c *clock, logged *bytes.Buffer) *Tokens {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if logged != nil {
		log = slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	tokens, err := New(Options{Dir: dir, Now: c.now, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func issue(t testing.TB, tokens *Tokens, who tokenserver.Identity) (secret, id string) {
	t.Helper()
	secret, id, err := tokens.Issue(t.Context(), who, service, "docker")
	if err != nil {
		t.Fatal(err)
	}
	return secret, id
}

// refuses checks that a token is refused, as bad credentials and nothing else.
func refuses(t testing.TB, tokens *Tokens, secret, service string) {
	t.Helper()
	who, _, err := tokens.Redeem(t.Context(), secret, service)
	if !errors.Is(err, tokenserver.ErrBadCredentials) || who.Account != "" {
		t.Errorf("%+v, %v; want it refused", who, err)
	}
	if err != nil && strings.Contains(err.Error(), Prefix) {
		t.Errorf("the error says %q", err)
	}
}

func accepts(t testing.TB, tokens *Tokens, secret string) {
	t.Helper()
	if who, _, err := tokens.Redeem(t.Context(), secret, service); err != nil || who.Account == "" {
		t.Errorf("%+v, %v; want it accepted", who, err)
	}
}

func TestRedeem(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	tokens := newTokens(t, dir, c, nil)
	secret, id := issue(t, tokens, alice())
	for range 3 { // reusable, and after a restart
		who, name, err := tokens.Redeem(t.Context(), secret, service)
		if err != nil || who.Account != "alice" || who.Source != "htpasswd" || who.Revision != "r1" || name != id {
			t.Errorf("%+v, %q, %v", who, name, err)
		}
		tokens = newTokens(t, dir, c, nil)
	}
	other, _ := issue(t, tokens, alice())
	if other == secret || !tokens.Owns(secret) || tokens.Owns("ghr_short") || tokens.Owns(strings.TrimPrefix(secret, Prefix)) {
		t.Error("tokens are not told apart")
	}
	refuses(t, tokens, secret, "another.example")
	if err := tokens.Revoke(id); err != nil {
		t.Fatal(err)
	}
	refuses(t, tokens, secret, service)
	accepts(t, tokens, other)
	if _, _, err := tokens.Issue(t.Context(), tokenserver.Identity{}, service, ""); err == nil {
		t.Error("the anonymous get a refresh token")
	}
}

// TestOnDisk: what is kept is for its owner alone, and tells nobody a secret.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "refresh")
	tokens := newTokens(t, dir, newClock(), nil)
	secret, id := issue(t, tokens, alice())
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		info, infoErr := e.Info()
		if err := errors.Join(err, infoErr); err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if e.IsDir() {
			return nil
		}
		files++
		data, err := os.ReadFile(path)
		random := secret[len(Prefix)+idLength : tokenLength-checksumLength]
		if bytes.Contains(data, []byte(random[:10])) || bytes.Contains(data, []byte(random[20:])) || strings.Contains(path, "alice") {
			t.Errorf("%s: %s", path, data)
		}
		return err
	})
	if err != nil || files != 1 {
		t.Errorf("%d files, %v", files, err)
	}
	if len(secret) != tokenLength || !strings.Contains(secret, id) || encoding.DecodedLen(secretLength)*8 < 256 {
		t.Errorf("%d characters", len(secret))
	}
}

func TestEnds(t *testing.T) {
	c := newClock()
	tokens := newTokens(t, t.TempDir(), c, nil)
	idle, _ := issue(t, tokens, alice())
	used, id := issue(t, tokens, alice())
	begun := c.at
	for c.at.Before(begun.Add(tokens.absolute)) {
		accepts(t, tokens, used)
		list, err := tokens.List(t.Context(), "")
		if err != nil || !slices.ContainsFunc(list, func(one Token) bool { return one.ID == id && one.Used.Equal(c.at) }) {
			t.Fatalf("%+v, %v", list, err)
		}
		c.at = c.at.Add(29 * 24 * time.Hour)
	}
	c.at = begun.Add(tokens.idle - time.Second)
	if list, err := tokens.List(t.Context(), ""); err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	c.at = begun.Add(tokens.idle)
	refuses(t, tokens, idle, service)
	c.at = begun.Add(tokens.absolute - time.Second)
	accepts(t, tokens, used)
	c.at = begun.Add(tokens.absolute)
	refuses(t, tokens, used, service)
}

// TestUsesAreWrittenRarely counts files: one use an hour is written down, and none of a token that was just made.
func TestUsesAreWrittenRarely(t *testing.T) {
	var logged bytes.Buffer
	c, dir := newClock(), t.TempDir()
	tokens := newTokens(t, dir, c, &logged)
	secret, id := issue(t, tokens, alice())
	note := filepath.Join(dir, "used", id[:groupLength], id+".json")
	stamp := func() string {
		data, err := os.ReadFile(note)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(data)
	}
	var seen []string
	for range 4 * 60 { // a use a minute, for four hours
		accepts(t, tokens, secret)
		if now := stamp(); !slices.Contains(seen, now) {
			seen = append(seen, now)
		}
		c.at = c.at.Add(time.Minute)
	}
	if len(seen) != 4 || seen[0] != "" {
		t.Errorf("written: %q", seen)
	}
	// A folder that cannot be written to ends no login.
	folder := filepath.Dir(note)
	if err := errors.Join(os.RemoveAll(folder), os.Symlink(filepath.Join(dir, "nowhere"), folder)); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(2 * time.Hour)
	accepts(t, tokens, secret)
	if text := logged.String(); !strings.Contains(text, "could not be written down") || strings.Contains(text, Prefix) {
		t.Errorf("logged: %s", text)
	}
}

// TestRevokedStaysRevoked: a use that runs while the token is revoked does not bring it back.
func TestRevokedStaysRevoked(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	verb := newTokens(t, dir, c, nil)
	for range 50 {
		tokens := newTokens(t, dir, c, nil)
		secret, id := issue(t, tokens, alice())
		c.at = c.at.Add(2 * time.Hour) // so that every use is written down
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, _, err := tokens.Redeem(context.Background(), secret, service); err != nil && !errors.Is(err, tokenserver.ErrBadCredentials) {
					t.Error(err)
				}
			})
		}
		if err := verb.Revoke(id); err != nil {
			t.Fatal(err)
		}
		refuses(t, tokens, secret, service)
		all.Wait()
		refuses(t, tokens, secret, service)
	}
	if err := verb.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := 0
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, _ error) error {
		if !e.IsDir() {
			left++
		}
		return nil
	})
	if left != 0 {
		t.Errorf("%d files are left", left)
	}
}

func TestManyPerAccount(t *testing.T) {
	var logged bytes.Buffer
	c := newClock()
	tokens := newTokens(t, t.TempDir(), c, &logged)
	neighbour := tokenserver.Identity{Account: sameGroup(t, "alice"), Source: "htpasswd"}
	kept, _ := issue(t, tokens, neighbour)
	first, _ := issue(t, tokens, alice())
	second, _ := issue(t, tokens, alice())
	for range maxPerAccount - 2 {
		c.at = c.at.Add(time.Second)
		issue(t, tokens, alice())
	}
	accepts(t, tokens, first)
	// All of them were made just now: none is taken from whoever may need it.
	issue(t, tokens, alice())
	if list, err := tokens.List(t.Context(), "alice"); err != nil || len(list) != maxPerAccount+1 {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	c.at = c.at.Add(3 * time.Hour)
	accepts(t, tokens, first)
	issue(t, tokens, alice())
	if list, err := tokens.List(t.Context(), "alice"); err != nil || len(list) != maxPerAccount {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	accepts(t, tokens, first)
	refuses(t, tokens, second, service)
	accepts(t, tokens, kept)
	if text := logged.String(); !strings.Contains(text, "too many") || strings.Contains(text, Prefix) {
		t.Errorf("logged: %s", text)
	}
	c.at = c.at.Add(tokens.absolute)
	fresh, _ := issue(t, tokens, alice())
	if list, err := tokens.List(t.Context(), ""); err != nil || len(list) != 1 {
		t.Errorf("%d tokens, %v", len(list), err)
	}
	if ids, err := tokens.IDs(t.Context(), ""); err != nil || len(ids) != 1 {
		t.Errorf("%d are kept, %v", len(ids), err)
	}
	accepts(t, tokens, fresh)
}

// TestBoundOfTokensInUse: however many log in at once, the disk does not fill.
func TestBoundOfTokensInUse(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	tokens := newTokens(t, dir, c, nil)
	for range maxInUse {
		secret, id := newToken("alice")
		// Without the wait for the disk that Issue has.
		file := filepath.Join(dir, "tokens", id[:groupLength], id+".json")
		text := fmt.Sprintf(`{"sha256":%q,"account":"alice","source":"htpasswd","service":%q,"created":%q}`,
			hash(secret), service, c.at.Format(time.RFC3339))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	secret, _ := issue(t, tokens, alice())
	accepts(t, tokens, secret)
	if list, err := tokens.List(t.Context(), "alice"); err != nil || len(list) != maxInUse {
		t.Errorf("%d tokens, %v", len(list), err)
	}
}

// sameGroup returns another account whose tokens are in the same folder.
func sameGroup(t testing.TB, account string) string {
	t.Helper()
	for i := range 1_000_000 {
		if other := fmt.Sprintf("user%d", i); group(other) == group(account) {
			return other
		}
	}
	t.Fatal("no account shares the folder")
	return ""
}

func TestSweep(t *testing.T) {
	var logged bytes.Buffer
	c, dir := newClock(), t.TempDir()
	tokens := newTokens(t, dir, c, &logged)
	if err := tokens.Sweep(t.Context()); err != nil {
		t.Fatalf("of a folder that is not there: %v", err)
	}
	_, old := issue(t, tokens, alice())
	c.at = c.at.Add(tokens.idle)
	fresh, _ := issue(t, tokens, tokenserver.Identity{Account: "bob", Source: "ldap"})
	damaged := filepath.Join(dir, "tokens", "aa", "aaaaaaaaaaaaaaaa.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(damaged), 0o700), os.WriteFile(damaged, []byte(`{"sha256":"hunter2`), 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tokens.Run(ctx); err != nil {
		t.Errorf("Run that is to end: %v", err)
	}
	if err := tokens.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids, err := tokens.IDs(t.Context(), "")
	if err != nil || len(ids) != 2 || slices.Contains(ids, old) {
		t.Errorf("%v, %v", ids, err)
	}
	accepts(t, tokens, fresh)
	list, err := tokens.List(t.Context(), "")
	if err != nil || len(list) != 2 || list[0].Problem == "" || strings.Contains(list[0].Problem+logged.String(), "hunter2") {
		t.Errorf("%+v, %v\n%s", list, err, logged.String())
	}
	if err := tokens.Revoke("aaaaaaaaaaaaaaaa"); err != nil {
		t.Errorf("a damaged one is revoked: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, o := range map[string]Options{"no folder": {Logger: log}, "no logger": {Dir: "x"}, "idle": {Dir: "x", Logger: log, Idle: -1},
		"absolute": {Dir: "x", Logger: log, Absolute: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
