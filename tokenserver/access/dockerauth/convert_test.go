package dockerauth

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/token"
)

// house is a configuration of docker_auth beside what it became.
type house struct {
	original original
	result   *Result
	rules    *access.Rules
	lossy    bool // something could not be said
}

// newHouse converts a file; what it became is read as the server reads it.
func newHouse(t testing.TB, text string) *house {
	t.Helper()
	h := new(house)
	if err := yaml.Unmarshal([]byte(text), &h.original.f); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.result, err = Convert([]byte(text)); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	whole := "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: /users}}\n" + h.result.YAML()
	c, _, err := configs.Parse("config.yml", []byte(whole), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, whole)
	}
	if h.rules, err = access.New(c.TokenServer.Access, false); err != nil {
		t.Fatal(err)
	}
	h.lossy = slices.ContainsFunc(h.result.Warnings, func(w string) bool {
		return strings.Contains(w, "Not carried over") || strings.Contains(w, "It refuses") || strings.Contains(w, "left out")
	})
	return h
}

// imported reports whether an account exists on both sides.
func (h *house) imported(account string) bool {
	return account == "" && h.original.admits("") && h.original.f.Users[""].Password == nil ||
		slices.ContainsFunc(h.result.Users, func(line string) bool { return account != "" && strings.HasPrefix(line, account+":") })
}

// compare asks both for everything that may be done with a resource.
func (h *house) compare(t *testing.T, account, typ, name, ip string) {
	t.Helper()
	a := ask{account: account, typ: typ, name: name, ip: net.ParseIP(ip)}
	if u := h.original.f.Users[account]; u != nil {
		a.labels = u.Labels
	}
	actions := []string{"pull", "push", "delete"}
	if typ == "registry" {
		actions = []string{"*"}
	}
	want := h.original.allowed(a, actions)
	decisions, err := h.rules.Authorize(t.Context(), tokenserver.Identity{Account: account, Address: netip.MustParseAddr(ip)},
		[]token.Access{{Type: typ, Name: name, Actions: actions}})
	if err != nil {
		t.Fatal(err)
	}
	got := decisions[0].Actions
	more := slices.ContainsFunc(got, func(x string) bool { return !slices.Contains(want, x) })
	if more || !h.lossy && len(got) != len(want) {
		acl, _ := yaml.Marshal(h.original.f.ACL)
		t.Fatalf("%q from %s asks for %s:%s: docker_auth says %q, we say %q (%s)\n%s\n%s\n%q", account, ip, typ, name, want, got, decisions[0].Rule,
			acl, h.result.YAML(), h.result.Warnings)
	}
}

var (
	someAccounts = []string{"", "alice", "bob", "ci-1", "ci-2", "devops", "team-a", "john.smith", "a_b", "Alice", "john@test.com", "a/b", "catalog", "x*"}
	someNames    = []string{"app", "alice/app", "bob/x/y", "team-a/app", "evil/team-a-x", "team-a", "pub/hello", "hello-world", "catalog", "ci-1/cache",
		"john.smith/a", "johnxsmith/a", "a/b/c", "dev", "trainee/x", "test-1", "test-", "alice", "b", "pubs", "john/test", "a_b/c"}
	someAddresses = []string{"127.0.0.1", "10.1.2.3", "172.17.0.1", "::1", "2001:db8::5", "203.0.113.9"}

	accountParts = []string{"alice", "bob", "", "*", "ci-*", "/.+/", "/.*/", "/^ci-/", "/dev|trainee/", "/^(alice|bob)$/", "/(?i)alice/", "c?-1", "[ab]*", "[^a]*",
		"/^(.+)@test\\.com$/", "/^[a-z]+$/", "${account}", "/-[0-9]$/", "*o*", "/a.*b/", "/^a$|b$/", "admin", "[", "x\\*", "/^$/", "/./", "/^alice/", "/ps$/"}
	nameParts = []string{"app", "*", "*/*", "pub/*", "**", "${account}/*", "${account}", "${account}*", "/team-a/", "/^team-a\\//", "/^(pub|team-a)\\/.*$/", "/.*/", "/.+/",
		"catalog", "c*", "test-*", "test-?", "[a-c]/*", "[^a]*", "/${account}/", "/^${account}/", "/^${account}\\/|^pub/", "/trainee|dev/", "/\\Qteam-a\\E/", "/\\Qteam-a/",
		"${account:1}/*", "${labels:group}-x/*", "${name}", "[", "a\\/b", "/^$/", "team-a/", "/app$/", "/^catalog$/", "/(?m)^b/", "t[]", "[b-a]*", "/a{2,}|p{2}/", "Team/*"}
	typeParts    = []string{"repository", "registry", "/.*/", "/^reg/", "*", "plugin", "${type}"}
	addressParts = []string{"127.0.0.0/8", "10.1.2.3", "10.9.9.9/8", "::1", "2001:db8::/48", "::/0", "0.0.0.0/0"}
	actionParts  = [][]string{{"*"}, {}, {"pull"}, {"push", "pull"}, {"pull", "push", "delete"}, {"pull", "*"}, {"delete"}, {"read"}}
)

// randomFile is a configuration of docker_auth, with more of what is strange than anybody would write.
func randomFile(r *rand.Rand, hash string) string {
	pick := func(list []string) *string {
		if r.IntN(3) == 0 {
			return nil
		}
		return &list[r.IntN(len(list))]
	}
	f := map[string]any{}
	users := map[string]any{}
	for _, a := range someAccounts {
		u := map[string]any{}
		switch {
		case r.IntN(4) == 0 || a == "" && r.IntN(2) == 0:
			continue
		case a != "" && r.IntN(10) > 0:
			u["password"] = hash
		}
		if r.IntN(3) == 0 {
			u["labels"] = map[string][]string{"group": {"team-a", "pub"}}
		}
		users[a] = u
	}
	f["users"] = users
	if r.IntN(4) == 0 {
		f["ldap_auth"] = map[string]any{"addr": "ldap.example.com:636"}
	}
	entries := []map[string]any{}
	for range 1 + r.IntN(6) {
		m := match{Account: pick(accountParts), Name: pick(nameParts)}
		if r.IntN(3) == 0 {
			m.Type = pick(typeParts)
		}
		if r.IntN(4) == 0 {
			m.IP = pick(addressParts)
		}
		if r.IntN(12) == 0 {
			m.Labels = map[string]string{"group": "team-*"}
		}
		if r.IntN(12) == 0 {
			m.Service = pick([]string{"registry", "other", "/.+/"})
		}
		text := map[string]any{}
		for key, value := range map[string]*string{"account": m.Account, "type": m.Type, "name": m.Name, "ip": m.IP, "service": m.Service} {
			if value != nil {
				text[key] = *value
			}
		}
		if m.Labels != nil {
			text["labels"] = m.Labels
		}
		entries = append(entries, map[string]any{"match": text, "actions": actionParts[r.IntN(len(actionParts))], "comment": "a\n# b: [c"})
	}
	f["acl"] = entries
	text, err := yaml.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestConvertedRulesDecideAlike asks docker_auth and us the same, for hundreds of files: where nothing was lost the answers are the
// same, and where something was, we never grant more.
func TestConvertedRulesDecideAlike(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 21))
	faithful, grants := 0, 0
	for range 400 {
		h := newHouse(t, randomFile(r, string(hash)))
		if !h.lossy {
			faithful++
		}
		for _, account := range someAccounts {
			if !h.imported(account) {
				continue
			}
			for range 12 {
				h.compare(t, account, "repository", someNames[r.IntN(len(someNames))], someAddresses[r.IntN(len(someAddresses))])
			}
			h.compare(t, account, "registry", "catalog", someAddresses[r.IntN(len(someAddresses))])
			if h.rules.For(tokenserver.Identity{Account: account, Address: netip.MustParseAddr("127.0.0.1")})("app", "pull") {
				grants++
			}
		}
	}
	if faithful < 50 || grants < 500 {
		t.Errorf("only %d files without a loss, %d grants: too little was compared", faithful, grants)
	}
}

// TestExamples converts configurations as docker_auth's documentation has them, and compares with what is reviewed in testdata.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h := newHouse(t, string(text))
		got := h.result.YAML()
		for _, w := range h.result.Warnings {
			got += "# warning: " + w + "\n"
		}
		golden := strings.TrimSuffix(name, ".yml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s%v", name, got, want, err)
		}
		for _, account := range someAccounts {
			for _, repo := range someNames {
				for _, ip := range someAddresses {
					if h.imported(account) {
						h.compare(t, account, "repository", repo, ip)
						h.compare(t, account, "registry", "catalog", ip)
					}
				}
			}
		}
		for _, account := range []string{"admin", "test", "user"} {
			for _, repo := range append(someNames, account+"/app") {
				h.compare(t, account, "repository", repo, "203.0.113.9")
			}
		}
	}
}

// TestTSEC21 holds the converter to T-SEC-21: an expression that matches parts of names is told of, marked, and means what it meant; a
// user without a password, whom any password would do for, is never carried over, and neither is one whose password is no hash.
func TestTSEC21(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, fmt.Sprintf(`
users:
  alice: {password: %q}
  open: {}
  "": {}
  plain: {password: secret}
  nobody:
acl:
  - {match: {account: alice, name: "/team-a/"}, actions: [pull]}
  - {match: {account: "/dev|ops/", name: "x"}, actions: [pull]}
  - {match: {account: alice, name: "/^team-b\\/.*$/"}, actions: [pull]}
`, hash))
	if got, want := strings.Join(h.result.Users, " "), "alice:"+string(hash); got != want {
		t.Errorf("users are %s", got)
	}
	told := strings.Join(h.result.Warnings, "\n")
	for _, want := range []string{
		`"open" has no password, so any password logs in`, `the password of "plain" is no bcrypt hash`,
		`acl[0] (line 9): name "/team-a/" is not anchored at both ends`, `acl[1] (line 10): account "/dev|ops/" is not anchored at both ends`,
	} {
		if !strings.Contains(told, want) {
			t.Errorf("no warning %q in\n%s", want, told)
		}
	}
	if len(h.result.Warnings) != 4 || strings.Contains(told, "secret") {
		t.Errorf("warnings are\n%s", told)
	}
	text := h.result.YAML()
	if !strings.Contains(text, "repositoryregexp: '.*(?:team-a).*', actions: [pull]}  # unanchored") || strings.Contains(text, "open") {
		t.Errorf("rules are\n%s", text)
	}
	h.compare(t, "alice", "repository", "evil/team-a-x", "127.0.0.1") // pulls it, as it did
	h.compare(t, "alice", "repository", "xteam-b/y", "127.0.0.1")
	// Our own expressions are of whole names.
	whole, err := access.New([]configs.Rule{{Account: configs.Names{"*"}, RepositoryRegexp: "team-a", Actions: []string{"pull"}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"team-a": true, "evil/team-a-x": false, "team-a/x": false} {
		if got := whole.For(tokenserver.Identity{Account: "alice"})(name, "pull"); got != want {
			t.Errorf("team-a matches %s: %v", name, got)
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "",
		"something else": "version: 0.1\nstorage: inmemory\n",
		"no YAML":        "acl: [",
		"no match":       "acl: [{actions: [pull]}]",
		"no actions":     "acl: [{match: {account: a}}]",
		"bad expression": "acl: [{match: {account: \"/(/\"}, actions: []}]",
		"bad address":    "acl: [{match: {ip: 192.168.0.*}, actions: []}]",
		"bad network":    "acl: [{match: {ip: 192.168.0.1/100}, actions: []}]",
		"too long":       "acl: [{match: {name: " + strings.Repeat("a", 300) + "}, actions: []}]",
		"a list":         "acl: {a: b}",
	} {
		if _, err := Convert([]byte(text)); err == nil {
			t.Errorf("%s was converted", name)
		}
	}
	if _, err := Convert([]byte("users: {a: {password: [\"$2y$05$secret\"]}}")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a hash is in the error: %v", err)
	}
}

// FuzzGlobExpression compares a pattern with its expression.
func FuzzGlobExpression(f *testing.F) {
	for _, p := range append(slices.Clone(nameParts), "[a-]", "[\\]]", "[^b-a]", "a[b-c-d]", "[]a]", "*[/]*", "[^", "[a-") {
		for _, n := range []string{"a/b", "team-a", "x", "-", "]"} {
			f.Add(p, n)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if _, is := between(pattern); is || strings.Contains(pattern, "${") || strings.ContainsAny(name, "\x00\n") || !strings.HasPrefix(strings.ToValidUTF8(name, ""), name) {
			return
		}
		expression, ok := globExpression(pattern)
		r := configs.Rule{RepositoryRegexp: expression}
		e, err := r.WholeExpression("")
		if err != nil {
			t.Fatalf("%q became %q: %v", pattern, expression, err)
		}
		if got, want := ok && e.MatchString(name), fits(pattern, name); got != want {
			t.Errorf("%q, as %q (%v), matches %q: %v, want %v", pattern, expression, ok, name, got, want)
		}
	})
}
