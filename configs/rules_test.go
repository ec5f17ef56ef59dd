package configs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestRuleChecks tells what is wrong with one rule.
func TestRuleChecks(t *testing.T) {
	const head = "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: /users}}\nhttp: {addr: \"[::1]:5000\"}\ntokenserver:\n  access:\n  - "
	for _, test := range []struct{ rule, want string }{
		{`{account: [alice, ci-*], group: dev, address: [10.0.0.0/8, "::1"], repository: [a, "b/**"], actions: [pull]}`, ""},
		{`{name: ci, account: "*", anonymous: true, repository: "pub/**", actions: [pull], message: "ask ops@example.com"}`, ""},
		{`{anonymous: true, repository: "**", deny: true}`, ""},
		{`{account: "*", repository: "${account}/**", actions: ["*"]}`, ""},
		{`{group: "team-*", repository: "${group}/**", actions: ["*"]}`, ""},
		{`{account: "*", repositoryregexp: "a|b${account}", actions: [pull]}`, ""},
		{`{account: "*", actions: [catalog]}`, ""},
		{`{account: bob, deny: true, actions: [catalog]}`, ""},

		{`{account: [a, ""], repository: a, actions: []}`, `account[1]: empty; "*" stands for any name`},
		{`{account: [a, "b:c"], repository: a, actions: []}`, `account[1]: "b:c" cannot be a user's name: it contains a colon or a control character`},
		{`{group: "a**", repository: a, actions: []}`, `group: "a**" has two stars in a row; here one stands for any text`},
		{`{group: g, anonymous: true, repository: a, actions: []}`, `anonymous: stands beside group, and the anonymous are in no group; write two rules`},
		{`{account: a, address: [10.0.0.0/8, 10.1.2.3/8], repository: a, actions: []}`, `address[1]: "10.1.2.3/8" has bits behind the first 8; write 10.0.0.0/8`},
		{`{account: a, address: 10.0.0, repository: a, actions: []}`, `address: "10.0.0" is neither an address nor a network such as 10.0.0.0/8`},
		{`{account: a, address: 10.0.0.0/33, repository: a, actions: []}`, `address: "10.0.0.0/33" is neither an address nor a network such as 10.0.0.0/8`},
		{`{account: a, address: "::ffff:10.0.0.0/104", repository: a, actions: []}`, `address: "::ffff:10.0.0.0/104" is IPv4 within IPv6; write it as IPv4`},
		{`{account: a, address: "fe80::1%eth0", repository: a, actions: []}`, `address: "fe80::1%eth0" has a zone, which means something on one machine only`},
		{`{account: a, repository: "$account/x", actions: []}`, `repository: "$account/x" has a $ that begins neither ${account} nor ${group}`},
		{`{account: a, repository: "${acount}/x", actions: []}`, `repository: "${acount}/x" has a $ that begins neither ${account} nor ${group}`},
		{`{anonymous: true, repository: "${account}/x", actions: []}`, `repository: "${account}/x" matches nothing: the anonymous have no name and no group`},
		{`{account: a, repository: a, repositoryregexp: b, actions: []}`, `repositoryregexp: stands beside repository: remove one of them`},
		{`{account: a, repositoryregexp: "(a", actions: []}`, `repositoryregexp: missing closing ): "(a"; expressions are RE2's, without look-around and back-references`},
		{`{account: a, repositoryregexp: "a)|(b", actions: []}`, `repositoryregexp: unexpected ): "a)|(b"; expressions are RE2's, without look-around and back-references`},
		{`{account: a, repositoryregexp: '(a)\1', actions: []}`, `repositoryregexp: invalid escape sequence: "\\1"; expressions are RE2's, without look-around and back-references`},
		{`{account: a, repositoryregexp: "[${account}]", actions: []}`, `repositoryregexp: ${account} stands where it is no text of its own, as in brackets or behind a backslash`},
		{`{account: a, repositoryregexp: '\Q${account}\E', actions: []}`, `repositoryregexp: ${account} stands where it is no text of its own, as in brackets or behind a backslash`},
		{`{account: a, repositoryregexp: "${group}/x", actions: []}`, `repositoryregexp: ${group} is for repository only`},
		{`{account: a, actions: [pull]}`, `repository: missing; name a repository, or "**" for all of them`},
		{`{account: a, repository: a, deny: true, actions: [pull]}`, `deny: stands beside actions: remove one of them`},
		{`{account: a, repository: a, actions: [catalog]}`, `actions: catalog lists every repository: only a rule for the repository "**" can grant it`},
		{`{account: a, repository: a}`, `actions: missing; [] denies`},
		{`{account: a, repository: a, actions: [], message: "a\nb"}`, `message: contains a character that cannot be printed; a message is one line of text`},
		{`{account: a, repository: a, actions: [], message: "` + strings.Repeat("x", 301) + `"}`, `message: longer than 300 bytes`},
		{`{name: "tokenserver.access[7]", account: a, repository: a, actions: []}`, `name: "tokenserver.access[7]" begins like what other rules are called; choose another`},
		{`{name: "a=b", account: a, repository: a, actions: []}`, `name: "a=b" has a character other than letters, digits, space, dash, dot and underscore`},
	} {
		_, warnings, err := Parse("config.yml", []byte(head+test.rule), nil)
		want := test.want
		if want != "" {
			want = "error config.yml:7: tokenserver.access[0]." + want
		}
		if got := strings.TrimSuffix(outcome(warnings, err), "\n"); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", test.rule, got, want)
		}
	}
	two := head + "{name: x, account: a, repository: a, actions: []}\n  - {name: x, account: b, repository: a, actions: []}"
	if _, _, err := Parse("config.yml", []byte(two), nil); err == nil || !strings.Contains(err.Error(), "access[1].name: is the name of tokenserver.access[0] too") {
		t.Errorf("twice the same name: %v", err)
	}
}

// TestCovers: an earlier rule that matches all that a later one does is found, and no other is.
func TestCovers(t *testing.T) {
	rule := func(text string) Rule {
		c, _, err := Parse("config.yml", []byte("version: 0.1\nstorage: inmemory\ntokenserver:\n  access:\n  - {"+text+", actions: []}\n"), nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return c.TokenServer.Access[0]
	}
	for _, test := range []struct {
		earlier, later string
		want           bool
	}{
		{`account: "ci-*", repository: "**"`, `account: ci-1, repository: a`, true},
		{`account: "ci-*", repository: "**"`, `account: "ci-a*", repository: a`, true},
		{`account: "ci-*", repository: "**"`, `account: [ci-1, bob], repository: a`, false},
		{`account: "ci-*", repository: "**"`, `account: "*", repository: a`, false},
		{`account: "*", repository: "**"`, `account: a, anonymous: true, repository: a`, false},
		{`account: "*", anonymous: true, repository: "**"`, `account: a, anonymous: true, repository: a`, true},
		{`anonymous: true, repository: "**"`, `account: a, repository: a`, false},
		{`account: "*", repository: "**"`, `group: g, repository: a`, true},
		{`group: "*", repository: "**"`, `account: a, repository: a`, false},
		{`group: "g*", repository: "**"`, `group: g1, account: a, repository: a`, true},
		{`group: g, account: b, repository: "**"`, `group: g, repository: a`, false},
		{`account: "*", address: 10.0.0.0/8, repository: "**"`, `account: a, address: 10.1.0.0/16, repository: a`, true},
		{`account: "*", address: 10.1.0.0/16, repository: "**"`, `account: a, address: 10.0.0.0/8, repository: a`, false},
		{`account: "*", address: 10.0.0.0/8, repository: "**"`, `account: a, repository: a`, false},
		{`account: "*", repository: "a/**"`, `account: a, repository: "a/*/b"`, true},
		{`account: "*", repository: "a/*"`, `account: a, repository: "a/**"`, false},
		{`account: "*", repository: "*/*"`, `account: a, repository: "**"`, false},
		{`account: "*", repository: "*/*"`, `account: a, repository: "${account}/b-*"`, true},
		{`account: "*", repository: "${account}/**"`, `account: a, repository: "${account}/b"`, true},
		{`account: "*", repository: "${account}/**"`, `account: a, repository: "b/**"`, false},
		{`group: "*", repository: "${group}/**"`, `group: g, repository: "${group}/**"`, false},
		{`account: "*", repository: [a, b]`, `account: a, repository: b`, true},
		{`account: "*", repository: b`, `account: a, repository: [a, b]`, false},
		{`account: "*", repositoryregexp: "a.*"`, `account: a, repositoryregexp: "a.*"`, true},
		{`account: "*", repositoryregexp: ".*"`, `account: a, repository: "**"`, false},
		{`account: "*", repository: "**"`, `account: a, repositoryregexp: ".*"`, true},
	} {
		earlier, later := rule(test.earlier), rule(test.later)
		if got := earlier.covers(&later); got != test.want {
			t.Errorf("%s covers %s: %v", test.earlier, test.later, got)
		}
	}
	list, all := Rule{Account: Names{"*"}, Actions: []string{"catalog"}}, rule(`account: "*", repository: "**"`)
	if list.covers(&all) || !all.covers(&list) || !list.covers(&list) {
		t.Error("rules about the catalog alone are not told from others")
	}
}

// TestNamesFromVariables: a text is a list of one, and is made longer by its items.
func TestNamesFromVariables(t *testing.T) {
	text := "version: 0.1\nstorage: inmemory\ntokenserver: {access: [{account: a, repository: b, actions: [pull]}]}\n"
	c, _, err := Parse("config.yml", []byte(text), []string{"REGISTRY_TOKENSERVER_ACCESS_0_ACCOUNT_1=c", "REGISTRY_TOKENSERVER_ACCESS_0_REPOSITORY=d"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.TokenServer.Access[0].Account, c.TokenServer.Access[0].Repository); got != "[a c] [d]" {
		t.Error(got)
	}
}

// FuzzWholeExpression holds it to another way to say the same: the longest match from the left is the whole name.
func FuzzWholeExpression(f *testing.F) {
	for _, e := range []string{"a|b", "(?m)^a$", `\Qa.b\E`, `\Qa`, "a)|(b", "(?i)A", "^a$|^b", "a{2,3}", "(a*)*", `\Aa\z|b`, "", "(?U)a+", "[^a]", "(?s).", "a|"} {
		for _, name := range []string{"a", "b", "ab", "a.b", "aa", "A", ""} {
			f.Add(e, name)
		}
	}
	f.Fuzz(func(t *testing.T, expression, name string) {
		plain, err := regexp.Compile(expression)
		if err != nil || strings.Contains(expression, "${account}") {
			return
		}
		r := Rule{RepositoryRegexp: expression}
		whole, err := r.WholeExpression("")
		if err != nil {
			t.Fatalf("%q: %v", expression, err)
		}
		plain.Longest()
		at := plain.FindStringIndex(name)
		if got, want := whole.MatchString(name), at != nil && at[0] == 0 && at[1] == len(name); got != want {
			t.Errorf("%q matches the whole of %q: %v, want %v", expression, name, got, want)
		}
	})
}

// TestEmptyIsNotAbsent: a rule whose group or address came out empty, as of a template without its value, is no rule for everybody.
func TestEmptyIsNotAbsent(t *testing.T) {
	const head = "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: /users}}\nhttp: {addr: \"[::1]:5000\"}\n"
	for rule, key := range map[string]string{
		`account: "*", group: %s, repository: "**", actions: ["*"]`:                           "group",
		`account: "*", address: %s, repository: "**", actions: ["*"]`:                         "address",
		`group: dev, address: %s, repository: "**", actions: ["*"]`:                           "address",
		`anonymous: true, address: %s, repository: "**", actions: ["*"]`:                      "address",
		`anonymous: true, group: %s, repository: "**", actions: ["*"]`:                        "group",
		`account: %s, group: dev, repository: "**", actions: ["*"]`:                           "account",
		`account: %s, anonymous: true, repository: "**", actions: [pull]`:                     "account",
		`account: %s, repository: "**", actions: ["*"]`:                                       "account",
		`group: %s, repository: "**", actions: ["*"]`:                                         "group",
		`account: a, repository: %s, actions: ["*"]`:                                          "repository",
		`account: a, repository: %s, actions: [catalog]`:                                      "repository",
		`account: a, repositoryregexp: ".*", repository: %s, actions: [pull]`:                 "repository",
		`account: "*", group: %s, address: 10.0.0.0/8, repository: "${account}", actions: []`: "group",
	} {
		for _, empty := range []string{"[]", "null", "~", "", `""`, "[null]", `[""]`} {
			text := fmt.Sprintf(rule, empty)
			at := "tokenserver.access[0]." + key
			_, _, err := Parse("config.yml", []byte(head+"tokenserver:\n  access:\n  - {"+text+"}\n"), nil)
			if err == nil || !strings.Contains(err.Error(), at) {
				t.Errorf("{%s} in a file: %v", text, err)
			}
			_, _, err = Parse("config.yml", []byte(head), []string{"REGISTRY_TOKENSERVER_ACCESS=[{" + text + "}]"})
			if err == nil || !strings.Contains(err.Error(), at) {
				t.Errorf("{%s} in a variable: %v", text, err)
			}
		}
		full := head + "tokenserver:\n  access:\n  - {" + strings.Replace(rule, "%s", "a", 1) + "}\n"
		name := "REGISTRY_TOKENSERVER_ACCESS_0_" + strings.ToUpper(key)
		for _, empty := range []string{"", "[]", "null", `""`, "[null]"} {
			if _, _, err := Parse("config.yml", []byte(full), []string{name + "=" + empty}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("{%s} with %s=%s: %v", rule, name, empty, err)
			}
		}
	}
	denied := head + "tokenserver: {access: [{account: a, deny: true, actions: [catalog]}]}\n"
	if _, _, err := Parse("config.yml", []byte(denied), []string{"REGISTRY_TOKENSERVER_ACCESS_0_DENY="}); err == nil {
		t.Error("a refusal is unset, and so a grant")
	}
	for _, empty := range []string{"", `""`, "null"} {
		text := head + "tokenserver:\n  access:\n  - {account: a, repositoryregexp: " + empty + ", actions: [catalog]}\n"
		if _, _, err := Parse("config.yml", []byte(text), nil); err == nil || !strings.Contains(err.Error(), "access[0].repositoryregexp: empty") {
			t.Errorf("repositoryregexp: %s: %v", empty, err)
		}
	}
}
