package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// newServer returns a token server with a user, alice, with the password "canary-password", and four rules, whose audit log is l.
func newServer(t *testing.T, l *Log) *tokenserver.Server {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("canary-password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte("alice:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	users, err := tokenserver.OpenHtpasswd(path, tokenserver.HtpasswdOptions{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := access.New([]configs.Rule{
		{Account: configs.Names{"bob"}, Repository: configs.Names{"**"}, Actions: []string{"*"}},
		{Account: configs.Names{"alice"}, Repository: configs.Names{"team-a/**"}, Actions: []string{"pull", "push"}},
		{Account: configs.Names{"*"}, Repository: configs.Names{"pub/**"}, Actions: []string{"pull"}},
		{Account: configs.Names{"*"}, Repository: configs.Names{"team-b/**"}, Deny: true},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := tokenserver.New(tokenserver.Options{
		Users: tokenserver.NewSources(tokenserver.Source{Name: "htpasswd", Authenticator: users}), Rules: rules, Keys: oneKey{key},
		Auth:      configs.NewValue(configs.Token{Service: "registry.example", Issuer: "house"}),
		Audit:     l.Record,
		RequestID: func(context.Context) string { return "request-1" },
		Logger:    quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask asks s for a token and returns the status.
func ask(s *tokenserver.Server, query, account, password string) int {
	r := httptest.NewRequest("GET", "/token?"+query, nil)
	r.RemoteAddr = "192.0.2.7:40000"
	if account != "" {
		r.SetBasicAuth(account, password)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}

// open opens a log in a file, and returns what the server's log says.
func open(t *testing.T) (l *Log, path string, logged *bytes.Buffer, metrics *prometheus.Registry) {
	t.Helper()
	path, logged, metrics = filepath.Join(t.TempDir(), "audit.log"), new(bytes.Buffer), prometheus.NewRegistry()
	l, err := Open(Options{File: path, Metrics: metrics, Logger: slog.New(slog.NewTextHandler(logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, path, logged, metrics
}

// lines reads a file of which each line must be JSON.
func lines(t *testing.T, path string) (text []string, parsed []map[string]any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("line %q: %v", line, err)
		}
		text, parsed = append(text, line), append(parsed, m)
	}
	return text, parsed
}

// TestDeniedPushInOneLook is through the real server: one line says what was asked, that it was not granted, and why.
func TestDeniedPushInOneLook(t *testing.T) {
	l, path, logged, _ := open(t)
	s := newServer(t, l)
	if status := ask(s, "scope=repository:team-b/app:pull,push&service=registry.example", "alice", "canary-password"); status != 200 {
		t.Fatal(status)
	}
	text, parsed := lines(t, path)
	if len(text) != 1 || !strings.Contains(text[0],
		`"asked":["repository:team-b/app:pull,push"],"granted":[],"rule":"tokenserver.access[3]"`) {
		t.Fatalf("the log says %s", text)
	}
	line := parsed[0]
	for key, want := range map[string]string{"way": "token", "account": "alice", "source": "htpasswd",
		"address": "192.0.2.7", "request": "request-1"} {
		if line[key] != want {
			t.Errorf("%s is %v, want %s", key, line[key], want)
		}
	}
	for _, key := range []string{"kid", "jti", "expires", "time"} {
		if text, _ := line[key].(string); text == "" {
			t.Errorf("%s is missing: %s", key, text)
		}
	}
	if line["refused"] != nil || line["claimed"] != nil || logged.Len() > 0 {
		t.Errorf("%v; the server's log says %s", line, logged)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestEveryRequestHasALine(t *testing.T) {
	l, path, _, _ := open(t)
	s := newServer(t, l)
	ask(s, "scope=repository:team-a/x:pull+repository:pub/y:pull,push&scope=repository:team-b/z:pull", "alice", "canary-password")
	ask(s, "scope=repository:pub/y:pull", "", "")
	ask(s, "", "mallory", "canary-wrong")
	ask(s, "scope=nonsense", "", "")
	r := httptest.NewRequest("GET", "/v2/", nil)
	if _, _, err := s.Authenticate(r, "alice", "canary-wrong", nil); !errors.Is(err, tokenserver.ErrBadCredentials) {
		t.Error(err)
	}
	if _, _, err := s.Authenticate(r, "alice", "canary-password",
		[]token.Access{{Type: "repository", Name: "team-a/x", Actions: []string{"pull"}}}); err != nil {
		t.Error(err)
	}
	text, parsed := lines(t, path)
	if len(parsed) != 6 {
		t.Fatalf("%d lines:\n%s", len(parsed), text)
	}
	for i, want := range []string{
		`"asked":["repository:team-a/x:pull","repository:pub/y:pull,push","repository:team-b/z:pull"],` +
			`"granted":["repository:team-a/x:pull","repository:pub/y:pull"],` +
			`"rule":"tokenserver.access[1], tokenserver.access[2], tokenserver.access[3]",` +
			`"decisions":[{"asked":"repository:team-a/x:pull","granted":["pull"],"rule":"tokenserver.access[1]"},` +
			`{"asked":"repository:pub/y:pull,push","granted":["pull"],"rule":"tokenserver.access[2]"},` +
			`{"asked":"repository:team-b/z:pull","granted":[],"rule":"tokenserver.access[3]"}]`,
		`"asked":["repository:pub/y:pull"],"granted":[]`,
		`"claimed":"mallory"`,
		`"refused":"scope"`,
		`"refused":"credentials"`,
		`"granted":["repository:team-a/x:pull"],"rule":"tokenserver.access[1]"`,
	} {
		if !strings.Contains(text[i], want) {
			t.Errorf("line %d is %s, want %s", i, text[i], want)
		}
	}
	if parsed[2]["account"] != nil || parsed[2]["refused"] != "credentials" || parsed[4]["way"] != "basic" || parsed[4]["claimed"] != "alice" {
		t.Errorf("refusals: %s%s", text[2], text[4])
	}
	if all := strings.Join(text, ""); strings.Contains(all, "canary") || strings.Contains(all, "eyJ") {
		t.Errorf("a secret is in the log:\n%s", all)
	}
}

// hostile is an event of which a client chose every text that it can.
func hostile() tokenserver.Event {
	text := "x\n{\"account\":\"admin\"}\r\x1b[2J\u202e\u0085\x00\xff\",\"granted\":[\"*\"]" + strings.Repeat("A", 1000)
	return tokenserver.Event{Time: time.Unix(1_800_000_000, 0), Way: "token", Account: text, Claimed: text + "!",
		Client: text, Groups: []string{text},
		Address: netip.MustParseAddr("2001:db8::1"), Refresh: text, RequestID: text,
		Decisions: []tokenserver.Decision{{Asked: token.Access{Type: text, Name: text, Actions: []string{text}}, Rule: text}}}
}

// TestDecisions: they are told only where one rule is not all, and are bounded.
func TestDecisions(t *testing.T) {
	of := func(rules ...string) entry {
		var e tokenserver.Event
		for _, rule := range rules {
			e.Decisions = append(e.Decisions, tokenserver.Decision{Rule: rule, Asked: token.Access{Type: "repository", Name: "a", Actions: []string{"pull"}}})
		}
		return newEntry(e)
	}
	for _, one := range []entry{of(), of("a"), of("a", "a"), of("")} {
		if one.Decisions != nil {
			t.Errorf("%q has %v", one.Rule, one.Decisions)
		}
	}
	if two := of("a", ""); len(two.Decisions) != 2 || two.Decisions[1].Rule != noRule || two.Rule != "a, none" {
		t.Errorf("%+v", two)
	}
	many := of(slices.Repeat([]string{"a", "b"}, 500)...)
	if len(many.Decisions) != maxDecisions || len(many.Asked) != 1000 {
		t.Errorf("%d decisions", len(many.Decisions))
	}
}

// TestSecretInPlaceOfAName: what somebody pasted into the wrong field is not kept.
func TestSecretInPlaceOfAName(t *testing.T) {
	for claimed, want := range map[string]string{"ghb_canary-canary": "ghb_cana…", "ghr_canary-canary": "ghr_cana…", "ghr_": "ghr_", "ghx_canary-canary": "ghx_canary-canary"} {
		if got := newEntry(tokenserver.Event{Claimed: claimed}).Claimed; got != want {
			t.Errorf("%s is %s", claimed, got)
		}
	}
}

func TestInjection(t *testing.T) {
	l, path, _, _ := open(t)
	l.Record(t.Context(), hostile())
	var logged bytes.Buffer
	plain, err := Open(Options{Logger: slog.New(slog.NewJSONHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	plain.Record(t.Context(), hostile())
	text, parsed := lines(t, path)
	if len(text) != 1 || parsed[0]["account"] == "admin" || fmt.Sprint(parsed[0]["granted"]) != "[]" {
		t.Fatalf("the log says %s", text)
	}
	for name, line := range map[string]string{"file": text[0], "server's log": logged.String()} {
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"),
			func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x202e }); i >= 0 {
			t.Errorf("%s: there is %q in %q", name, line[i], line)
		}
		if len(line) > 10*4*maxText {
			t.Errorf("%s: the line has %d bytes", name, len(line))
		}
		if strings.Count(line, "\n") != 1 || strings.Contains(line, "\\u001b") || strings.Contains(line, "\\u202e") {
			t.Errorf("%s: %q", name, line)
		}
	}
}

func TestWithoutAFile(t *testing.T) {
	var logged bytes.Buffer
	l, err := Open(Options{Logger: slog.New(slog.NewJSONHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ask(newServer(t, l), "scope=repository:team-b/app:push&client_id=docker", "alice", "canary-password")
	var line map[string]any
	if err := json.Unmarshal(logged.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["msg"] != "audit" || line["level"] != "INFO" || line["account"] != "alice" || line["rule"] != "tokenserver.access[3]" ||
		fmt.Sprint(line["asked"]) != "[repository:team-b/app:push]" || line["jti"] == nil || line["expires"] == nil {
		t.Errorf("the log says %s", &logged)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestRotation: the file is renamed, removed, and cut by copytruncate; no line is lost and none is in a file that nobody has.
func TestRotation(t *testing.T) {
	l, path, logged, _ := open(t)
	record := func(account string) {
		l.Record(t.Context(), tokenserver.Event{Way: "token", Account: account})
	}
	has := func(path, want string) {
		t.Helper()
		var got []string
		_, parsed := lines(t, path)
		for _, p := range parsed {
			got = append(got, p["account"].(string))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s has %q, want %q", path, got, want)
		}
	}
	record("a")
	record("b")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record("c")
	has(path+".1", "a b")
	has(path, "c")
	if err := errors.Join(os.Rename(path, path+".2"), os.WriteFile(path, nil, 0o600)); err != nil { // as logrotate's create
		t.Fatal(err)
	}
	record("x")
	has(path, "x")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	record("d")
	has(path, "d")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	record("e")
	has(path, "e")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	record("f")
	has(path, "e f")
	if logged.Len() > 0 {
		t.Errorf("the server's log says %s", logged)
	}
}

// TestTornLineIsEnded: a line that a crash or a full disk cut does not spoil the next.
func TestTornLineIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte("{\"time\":\"2026"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{File: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l.Record(t.Context(), tokenserver.Event{Account: "a"})
	l.Record(t.Context(), tokenserver.Event{Account: "b"})
	data, err := os.ReadFile(path)
	if got := strings.Split(string(data), "\n"); err != nil || len(got) != 4 ||
		!strings.Contains(got[1], `"account":"a"`) || !json.Valid([]byte(got[2])) {
		t.Errorf("%q, %v", data, err)
	}
}

// TestFailureIsSeen: what cannot be written is counted, and in the server's log; when it can, it is again.
func TestFailureIsSeen(t *testing.T) {
	l, path, logged, metrics := open(t)
	moved := filepath.Dir(path) + "-moved"
	if err := os.Rename(filepath.Dir(path), moved); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, l)
	if status := ask(s, "scope=repository:team-b/app:push", "alice", "canary-password"); status != 200 {
		t.Errorf("status %d", status)
	}
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() != 1 {
		t.Errorf("%v, %v", families, err)
	}
	if !strings.Contains(logged.String(), "audit log could not be written") || !strings.Contains(logged.String(), "account=alice") ||
		strings.Contains(logged.String(), "canary") {
		t.Errorf("the server's log says %s", logged)
	}
	if err := os.Rename(moved, filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	ask(s, "", "alice", "canary-password")
	if text, _ := lines(t, path); len(text) != 1 {
		t.Errorf("%q", text)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	_, err := Open(Options{File: filepath.Join(dir, "none", "audit.log"), Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "make the folder") {
		t.Errorf("no folder: %v", err)
	}
	for name, path := range map[string]string{"folder": dir, "device": os.DevNull} {
		if _, err := Open(Options{File: path, Logger: quiet}); err == nil {
			t.Errorf("a %s is opened", name)
		}
	}
	_, path, _, metrics := open(t)
	if _, err := Open(Options{File: path, Metrics: metrics, Logger: quiet}); err == nil {
		t.Error("metrics were registered twice")
	}
}

// TestManyAtOnce: lines of many goroutines, and of two logs in one file, are whole.
func TestManyAtOnce(t *testing.T) {
	l, path, _, _ := open(t)
	second, err := Open(Options{File: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 200 {
		for _, one := range []*Log{l, second} {
			all.Go(func() {
				one.Record(t.Context(), tokenserver.Event{Account: fmt.Sprint(i), Client: strings.Repeat("c", 300)})
			})
		}
	}
	all.Wait()
	if text, _ := lines(t, path); len(text) != 400 {
		t.Errorf("%d lines", len(text))
	}
}
