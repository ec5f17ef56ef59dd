package robots

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/token"
)

// yard has robots in a folder of its own, and a clock that is moved by hand.
type yard struct {
	*Robots
	t   *testing.T
	dir string
	at  time.Time
}

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{t: t, dir: filepath.Join(t.TempDir(), "robots"), at: time.Unix(1_800_000_000, 0)}
	y.Robots = y.open()
	return y
}

// open is another process with the same folder.
func (y *yard) open() *Robots {
	return Open(y.dir, func() time.Time { return y.at }, slog.New(slog.DiscardHandler))
}

// add adds a robot that may push to a repository.
func (y *yard) add(name, repository string, expires time.Time) (secret string) {
	y.t.Helper()
	grants := []access.Grant{{Repository: repository, Actions: []string{"pull", "push"}}}
	secret, err := y.Add(Robot{Name: name, Grants: grants, Expires: expires})
	if err != nil {
		y.t.Fatal(err)
	}
	return secret
}

// in must be a login.
func (y *yard) in(account, secret string) tokenserver.Identity {
	y.t.Helper()
	who, err := y.Authenticate(y.t.Context(), account, secret)
	if err != nil || who.Account != account || who.Own == nil || who.Revision == "" {
		y.t.Fatalf("login of %q: %+v, %v", account, who, err)
	}
	return who
}

// out must be none.
func (y *yard) out(what, account, secret string) {
	y.t.Helper()
	who, err := y.Authenticate(y.t.Context(), account, secret)
	if !errors.Is(err, tokenserver.ErrBadCredentials) || who.Account != "" || who.Own != nil {
		y.t.Errorf("%s: %+v, %v", what, who, err)
	} else if err.Error() != tokenserver.ErrBadCredentials.Error() {
		y.t.Errorf("%s: the error says %q", what, err)
	}
}

func TestSecrets(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		s := newSecret()
		if len(s) != 43 || !strings.HasPrefix(s, "ghb_") || !wellFormed(s) || seen[s] {
			t.Fatalf("a secret of %d characters, well formed: %v, seen: %v", len(s), wellFormed(s), seen[s])
		}
		seen[s] = true
	}
	s := newSecret()
	for i := range s {
		for _, c := range []byte("a7_A") {
			if typo := s[:i] + string(c) + s[i+1:]; typo != s && wellFormed(typo) {
				t.Errorf("a typo at %d is not seen", i)
			}
		}
	}
	for _, typo := range []string{"", "ghb_", s[:42], s + "a", s[1:], strings.ToUpper(s), " " + s, s[:5] + s[6:7] + s[5:6] + s[7:] + "x"} {
		if wellFormed(typo) {
			t.Errorf("%d characters are well formed", len(typo))
		}
	}
}

func TestRobot(t *testing.T) {
	y := newYard(t)
	end := y.at.Add(90 * 24 * time.Hour)
	secret := y.add("ci", "team-a/**", end)
	who := y.in("robot$ci", secret)
	if !who.Until.Equal(end) || !y.Owns("robot$ci", "x") || !y.Owns("alice", secret) ||
		y.Owns("alice", "password") || y.Owns("robot", "ghb_x") {
		t.Errorf("%+v", who)
	}
	decisions, err := who.Own.Authorize(t.Context(), who, []token.Access{
		{Type: "repository", Name: "team-a/app", Actions: []string{"pull", "push", "delete"}},
		{Type: "repository", Name: "team-b/app", Actions: []string{"pull"}},
		{Type: "registry", Name: "catalog", Actions: []string{"*"}}})
	if err != nil || !slices.Equal(decisions[0].Actions, []string{"pull", "push"}) || decisions[0].Rule != "robot ci" ||
		len(decisions[1].Actions)+len(decisions[2].Actions) > 0 {
		t.Errorf("%+v, %v", decisions, err)
	}
	err = filepath.WalkDir(y.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), secret[4:20]) {
			t.Errorf("the secret is in %s", path)
		}
		if info, e := d.Info(); e != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), e)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(hashOf(secret), who.Revision) {
		t.Error("the revision is a part of the digest")
	}
}

func TestHostileLogins(t *testing.T) {
	y := newYard(t)
	ci, cd := y.add("ci", "a", time.Time{}), y.add("cd", "b", time.Time{})
	outside := `{"name":"../outside","sha256":"` + hashOf(ci) + `"}`
	if err := os.WriteFile(filepath.Join(filepath.Dir(y.dir), "outside.json"), []byte(outside), 0o600); err != nil {
		t.Fatal(err)
	}
	y.in("robot$ci", ci)
	for what, c := range map[string][2]string{
		"another robot's secret":        {"robot$ci", cd},
		"a person's name":               {"alice", ci},
		"no name":                       {"", ci},
		"the name alone":                {"ci", ci},
		"no robot":                      {"robot$", ci},
		"unknown":                       {"robot$nobody", ci},
		"well formed, but unknown":      {"robot$ci", newSecret()},
		"well formed, unknown, no name": {"alice", newSecret()},
		"a typo":                        {"robot$ci", ci[:10] + "x" + ci[11:]},
		"empty":                         {"robot$ci", ""},
		"the digest":                    {"robot$ci", hashOf(ci)},
		"upper case":                    {"robot$CI", ci},
		"upper-case prefix":             {"ROBOT$ci", ci},
		"traversal":                     {"robot$../outside", ci},
		"traversal within":              {"robot$../robots/ci", ci},
		"dots":                          {"robot$..", ci},
		"the folder of uses":            {"robot$used/ci", ci},
		"slash":                         {"robot$./ci", ci},
		"NUL":                           {"robot$ci\x00", ci},
		"with the suffix":               {"robot$ci.json", ci},
		"space":                         {"robot$ci ", ci},
		"long":                          {"robot$" + strings.Repeat("a", 1<<16), ci},
	} {
		y.out(what, c[0], c[1])
		if _, err := y.Identify(c[0]); c[0] != "robot$ci" && !errors.Is(err, tokenserver.ErrBadCredentials) {
			t.Errorf("%s: Identify: %v", what, err)
		}
	}
}

// TestFileOfAnotherRobot: who can name a file does not name a robot, and a damaged one is nobody's.
func TestFileOfAnotherRobot(t *testing.T) {
	y := newYard(t)
	secret := y.add("ci", "a", time.Time{})
	data, err := os.ReadFile(filepath.Join(y.dir, "ci.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(y.dir, "copy.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	y.out("a copy", "robot$copy", secret)
	for name, text := range map[string]string{
		"damaged": `{"name":"damaged","sha256":"` + hashOf(secret) + `","gra`,
		"scope":   `{"name":"scope","sha256":"` + hashOf(secret) + `","grants":[{"repository":"[","actions":["pull"]}]}`,
	} {
		if err := os.WriteFile(filepath.Join(y.dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		who, err := y.Authenticate(t.Context(), "robot$"+name, secret)
		if err == nil || errors.Is(err, tokenserver.ErrBadCredentials) || who.Account != "" || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	var names []string
	if err := y.All(func(r Robot, err error) error {
		if err != nil {
			r.Name = "bad " + r.Name
		}
		names = append(names, r.Name)
		return nil
	}); err != nil || !slices.Equal(names, []string{"ci", "bad copy", "bad damaged", "scope"}) {
		t.Errorf("%q, %v", names, err)
	}
	if err := y.Remove("damaged"); err != nil {
		t.Error(err)
	}
}

func TestEnds(t *testing.T) {
	y := newYard(t)
	secret, forEver := y.add("ci", "a", y.at.Add(time.Hour)), y.add("old", "a", time.Time{})
	ci, old := y.in("robot$ci", secret), y.in("robot$old", forEver)
	check := func(what string, who tokenserver.Identity, ok bool) {
		t.Helper()
		for name, ask := range map[string]func() (tokenserver.Identity, error){
			"Recheck":  func() (tokenserver.Identity, error) { return y.Recheck(t.Context(), who) },
			"Identify": func() (tokenserver.Identity, error) { return y.Identify(who.Account) },
		} {
			now, err := ask()
			if ok && (err != nil || now.Account != who.Account || now.Own == nil || now.Revision != who.Revision || !now.Until.Equal(who.Until)) {
				t.Errorf("%s: %s: %+v, %v", what, name, now, err)
			}
			if !ok && !errors.Is(err, tokenserver.ErrBadCredentials) {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
	}
	check("there", ci, true)
	check("for ever", old, true)
	y.at = y.at.Add(time.Hour)
	y.out("expired", "robot$ci", secret)
	check("expired", ci, false)
	check("for ever", old, true)

	past := y.at.Add(-1)
	if _, err := y.open().Rotate("ci", &past); err == nil {
		t.Error("an end in the past is accepted")
	}
	again, err := y.open().Rotate("ci", nil)
	if err != nil || again == secret {
		t.Fatal(err)
	}
	y.out("the old secret", "robot$ci", secret)
	if now, err := y.Recheck(t.Context(), ci); !errors.Is(err, tokenserver.ErrBadCredentials) {
		t.Errorf("the identity of the old secret: %+v, %v", now, err)
	}
	if ci = y.in("robot$ci", again); !ci.Until.Equal(y.at.Add(time.Hour)) {
		t.Errorf("rotated, it lives until %v", ci.Until)
	}
	never := time.Time{}
	if _, err = y.Rotate("ci", &never); err != nil {
		t.Fatal(err)
	}
	if again, err = y.Rotate("ci", nil); err != nil {
		t.Fatal(err)
	}
	if ci = y.in("robot$ci", again); !ci.Until.IsZero() {
		t.Errorf("rotated for ever, it lives until %v", ci.Until)
	}
	check("rotated", ci, true)

	found, err := y.folder.Get("ci")
	found.Disabled = true
	if err := errors.Join(err, y.folder.Put("ci", found)); err != nil {
		t.Fatal(err)
	}
	y.out("disabled", "robot$ci", again)
	check("disabled", ci, false)

	if err := y.open().Remove("old"); err != nil {
		t.Fatal(err)
	}
	y.out("removed", "robot$old", forEver)
	check("removed", old, false)
	for _, err := range []error{y.Remove("old"), y.Remove("../robots/ci")} {
		if !errors.Is(err, ErrNoRobot) {
			t.Errorf("Remove of nothing: %v", err)
		}
	}
	if _, err := y.Rotate("old", nil); !errors.Is(err, ErrNoRobot) {
		t.Errorf("Rotate of nothing: %v", err)
	}
	y.in("robot$old", y.add("old", "a", time.Time{}))
	if now, err := y.Recheck(t.Context(), old); !errors.Is(err, tokenserver.ErrBadCredentials) {
		t.Errorf("made anew: the identity of the one before: %+v, %v", now, err)
	}
}

func TestUseIsWrittenOnceAnHour(t *testing.T) {
	y := newYard(t)
	secret := y.add("ci", "a", time.Time{})
	used := func(want time.Time) {
		t.Helper()
		if err := y.open().All(func(r Robot, err error) error {
			if err != nil || !r.Used.Equal(want) {
				t.Errorf("used %v, %v, want %v", r.Used, err, want)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	used(time.Time{})
	y.out("wrong", "robot$ci", newSecret())
	used(time.Time{})
	first := y.at
	y.in("robot$ci", secret)
	used(first)
	y.at = y.at.Add(usedEvery - 1)
	y.in("robot$ci", secret)
	used(first)
	y.Robots = y.open() // started again
	y.in("robot$ci", secret)
	used(first)
	y.at = y.at.Add(1)
	y.in("robot$ci", secret)
	used(y.at)
	again, err := y.Rotate("ci", nil)
	if err != nil {
		t.Fatal(err)
	}
	used(time.Time{}) // the new secret was not
	y.in("robot$ci", again)
	used(y.at)
}

// TestUseDoesNotUndo: a use that is written while verbs give the robot other secrets does not bring an old one back.
func TestUseDoesNotUndo(t *testing.T) {
	y := newYard(t)
	secret := y.add("ci", "a", time.Time{})
	var last atomic.Pointer[string]
	last.Store(&secret)
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			default: // wrong when it was replaced meanwhile
				_, _ = y.open().Authenticate(t.Context(), "robot$ci", *last.Load())
			}
		}
	})
	for range 20 {
		next, err := y.Rotate("ci", nil)
		if err != nil {
			t.Fatal(err)
		}
		last.Store(&next)
	}
	close(stop)
	all.Wait()
	y.in("robot$ci", *last.Load())
	y.out("the first secret", "robot$ci", secret)
}

func TestAddRefuses(t *testing.T) {
	y := newYard(t)
	y.add("taken", "a", time.Time{})
	grants := []access.Grant{{Repository: "a", Actions: []string{"pull"}}}
	for what, r := range map[string]Robot{
		"taken": {Name: "taken", Grants: grants}, "no name": {Grants: grants}, "upper case": {Name: "CI", Grants: grants},
		"traversal": {Name: "../ci", Grants: grants}, "hidden": {Name: ".ci", Grants: grants}, "dash": {Name: "ci-", Grants: grants},
		"slash": {Name: "team/ci", Grants: grants}, "colon": {Name: "a:b", Grants: grants}, "prefix": {Name: "robot$ci", Grants: grants},
		"long": {Name: strings.Repeat("a", maxName+1), Grants: grants}, "no grant": {Name: "ci"},
		"no action":      {Name: "ci", Grants: []access.Grant{{Repository: "a"}}},
		"no glob":        {Name: "ci", Grants: []access.Grant{{Repository: "A[", Actions: []string{"pull"}}}},
		"unknown action": {Name: "ci", Grants: []access.Grant{{Repository: "a", Actions: []string{"fly"}}}},
		"past":           {Name: "ci", Grants: grants, Expires: y.at}, "control": {Name: "ci", Grants: grants, Description: "a\x1b[2J"},
	} {
		if secret, err := y.Add(r); err == nil || secret != "" {
			t.Errorf("%s: accepted", what)
		} else if what == "taken" && !errors.Is(err, ErrExists) {
			t.Errorf("%s: %v", what, err)
		}
	}
	y.in("robot$a.b-c_9", y.add("a.b-c_9", "a", time.Time{}))
}
