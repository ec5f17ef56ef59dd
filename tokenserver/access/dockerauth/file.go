// Package dockerauth reads the configuration of cesanta/docker_auth, and says in access rules what its ACL and its static users mean.
//
// There an entry of the ACL matches an account, a type, a name, an address, a service and labels; the first that matches decides. Its
// patterns are those of path.Match, or, between slashes, regular expressions that need to match a part of the text only
// (examples/reference.yml and auth_server/authz/acl.go of its source).
package dockerauth

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"gatehouse/configs"
	"gatehouse/tokenserver"
)

// maxFile bounds a configuration in bytes.
const maxFile = 4 << 20

// file is what is read of a configuration. Other keys are looked at by name only.
type file struct {
	Server struct {
		RealIPHeader string `yaml:"real_ip_header"`
	} `yaml:"server"`
	Users map[string]*user `yaml:"users"`
	ACL   []entry          `yaml:"acl"`
}

// user is one of users. Without a password any will do, there.
type user struct {
	Password *string             `yaml:"password"`
	Labels   map[string][]string `yaml:"labels"`
}

// entry is one of acl.
type entry struct {
	Match   *match   `yaml:"match"`
	Actions []string `yaml:"actions"`
	Comment string   `yaml:"comment"`

	line int
}

// match is what an entry asks for; what is nil it does not ask for.
type match struct {
	Account *string           `yaml:"account"`
	Type    *string           `yaml:"type"`
	Name    *string           `yaml:"name"`
	IP      *string           `yaml:"ip"`
	Service *string           `yaml:"service"`
	Labels  map[string]string `yaml:"labels"`
}

// UnmarshalYAML reads an entry, and remembers its line.
func (e *entry) UnmarshalYAML(n *yaml.Node) error {
	type plain entry
	e.line = n.Line
	return n.Decode((*plain)(e))
}

// Result is a configuration in our words.
type Result struct {
	// Rules are in the order of the ACL.
	Rules []Rule
	// Users are lines of an htpasswd file, sorted by name.
	Users []string
	// Warnings are all that could not be said as it was, or is not what it seems.
	Warnings []string
}

// Rule is an access rule, or something to tell at its place.
type Rule struct {
	// Comments are lines to put above.
	Comments []string
	// Rule is nil where there are comments only.
	Rule *configs.Rule
	// Marks are what to put behind it, on its line.
	Marks []string
}

// elsewhere are the keys that decide about accounts or access and have no counterpart in an access rule.
var elsewhere = []struct {
	key      string
	accounts bool // it knows accounts
}{
	{"google_auth", true}, {"github_auth", true}, {"oidc_auth", true}, {"gitlab_auth", true}, {"ldap_auth", true}, {"mongo_auth", true},
	{"xorm_auth", true}, {"ext_auth", true}, {"plugin_authn", true},
	{"acl_mongo", false}, {"acl_xorm", false}, {"ext_authz", false}, {"plugin_authz", false}, {"casbin_authz", false},
}

// Convert reads data, a configuration of docker_auth. An error means that it is none, or one that docker_auth would refuse, or one that
// has more in it than a rule can. What the result grants was granted there to the same account: what cannot be said is refused, and a
// warning tells. Not told apart are accounts with a slash in their names that other sources than users know, which matter to none.
func Convert(data []byte) (*Result, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	var f file
	if err := yaml.Unmarshal(data, &f); err != nil {
		return nil, readError(err)
	}
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return nil, readError(err)
	}
	if f.ACL == nil && f.Users == nil {
		return nil, errors.New("there is neither acl nor users: is it the configuration of docker_auth?")
	}
	c := converter{f: f, out: new(Result), known: true}
	if f.Server.RealIPHeader != "" && slices.ContainsFunc(f.ACL, func(e entry) bool { return e.Match != nil && e.Match.IP != nil }) {
		c.warn("server.real_ip_header has no counterpart here: the address of a rule is that of the connection, never what a header says")
	}
	for _, e := range elsewhere {
		if _, there := keys[e.key]; there {
			c.known = c.known && !e.accounts
			what := "accounts that it knows are not carried over"
			if !e.accounts {
				what = "what it decides is not carried over"
			}
			c.warn("%s has no counterpart here: %s", e.key, what)
		}
	}
	c.users()
	for i := range f.ACL {
		if err := c.entry(i); err != nil {
			return nil, fmt.Errorf("acl[%d] (line %d): %w", i, f.ACL[i].line, err)
		}
	}
	return c.out, c.out.check()
}

// check looks at the rules as the server will.
func (r *Result) check() error {
	var rules []configs.Rule
	var from []string
	for _, one := range r.Rules {
		if one.Rule != nil {
			rules, from = append(rules, *one.Rule), append(from, one.Comments[0])
		}
	}
	var faults []error
	configs.RuleFaults(rules, func(path, fault string) {
		var i int
		if _, err := fmt.Sscanf(path, "[%d]", &i); err == nil {
			path = from[i]
		}
		faults = append(faults, fmt.Errorf("%s cannot be said as a rule: %s", path, fault))
	})
	return errors.Join(faults...)
}

// readError is an error of package yaml without what may be the file's own text: a hash, say.
func readError(err error) error {
	text := err.Error()
	if at := strings.IndexAny(text, "`\"\n"); at >= 0 {
		text = strings.TrimSpace(text[:at])
	}
	return fmt.Errorf("it cannot be read: %s", text)
}

// converter makes a Result of a file.
type converter struct {
	f         file
	out       *Result
	known     bool     // all accounts are among users
	accounts  []string // those that are carried over
	anonymous bool     // those without credentials get tokens
	limits    []limit  // of rules to come
}

// warn adds something to tell. Hashes are never part of it.
func (c *converter) warn(format string, args ...any) {
	c.out.Warnings = append(c.out.Warnings, fmt.Sprintf(format, args...))
}

// users carries over who has a password.
func (c *converter) users() {
	names := make([]string, 0, len(c.f.Users))
	for name := range c.f.Users {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		u := c.f.Users[name]
		if u != nil && len(u.Labels) > 0 {
			c.warn("users: %q has labels, which have no counterpart here", name)
		}
		switch {
		case u == nil: // to docker_auth there is no such user
		case name == "" && u.Password == nil:
			c.anonymous = true
		case name == "":
			c.warn("users: the one without a name has a password, and is not carried over: nobody can log in without a name")
		case u.Password == nil:
			c.warn("users: %q has no password, so any password logs in as this user there; not carried over", name)
		case strings.ContainsAny(name, ":\r\n\x00"):
			c.warn("users: %q has a name that Basic authentication cannot carry; not carried over", name)
		case tokenserver.CheckUser(name) != nil:
			c.warn("users: %q: %s; not carried over", name, tokenserver.CheckUser(name))
		default:
			if _, err := bcrypt.Cost([]byte(*u.Password)); err != nil || strings.ContainsAny(*u.Password, "\r\n") {
				c.warn("users: the password of %q is no bcrypt hash, so nobody can log in as this user; not carried over", name)
				continue
			}
			c.accounts = append(c.accounts, name)
			c.out.Users = append(c.out.Users, name+":"+*u.Password)
		}
	}
}

// fits is docker_auth's own way to match a text with a pattern that has no variables.
func fits(pattern, text string) bool {
	if expression, ok := between(pattern); ok {
		e, err := regexp.Compile(expression)
		return err == nil && e.MatchString(text)
	}
	ok, err := path.Match(pattern, text)
	return err == nil && ok
}

// between returns the regular expression of a pattern that is one.
func between(pattern string) (expression string, ok bool) {
	if len(pattern) > 2 && pattern[0] == '/' && pattern[len(pattern)-1] == '/' {
		return pattern[1 : len(pattern)-1], true
	}
	return "", false
}

// network reads match.ip; an address with bits behind the network's is the network, there.
func network(text string) (string, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		n, err := configs.Network(text)
		if err != nil {
			return "", fmt.Errorf("ip %q %w", text, err)
		}
		return n.Addr().String(), nil
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return "", fmt.Errorf("ip %q is a network of IPv4 and IPv6 at once", text)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked().String(), nil
}

// onlyKnown are the actions of an entry that the registry knows.
func onlyKnown(list []string) (known, unknown []string) {
	for _, action := range list {
		if slices.Contains([]string{"pull", "push", "delete"}, action) {
			known = append(known, action)
		} else {
			unknown = append(unknown, action)
		}
	}
	slices.Sort(known)
	return slices.Compact(known), unknown
}
