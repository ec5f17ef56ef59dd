package configs

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// LDAP is tokenserver.ldap: users and groups of a directory, OpenLDAP's or Active Directory's.
type LDAP struct {
	// URLs of the servers, ldaps://host or ldap://host, each with a port or the protocol's own. They are tried in this order. Required.
	URLs []string `yaml:"urls"`
	// StartTLS encrypts connections to ldap:// URLs (RFC 4511 section 4.14).
	StartTLS bool `yaml:"starttls"`
	// CAFile is a PEM file of roots to trust for the servers' certificates. Default: the system's roots.
	CAFile string `yaml:"cafile"`
	// Insecure allows passwords to travel unencrypted to another machine.
	Insecure bool `yaml:"insecure"`
	// BindDN is whom searches are made as. Empty: the anonymous.
	BindDN string `yaml:"binddn"`
	// Password is BindDN's; PasswordFile is a file with it instead, which is read for each connection.
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"passwordfile"`
	// BaseDN is the entry below which users are. Required.
	BaseDN string `yaml:"basedn"`
	// Filter finds the one entry of who logs in as {account} (RFC 4515). Default "(uid={account})".
	Filter string `yaml:"filter"`
	// AccountAttribute has the name that access rules and logs know the user by, however he wrote it. Default uid.
	AccountAttribute string `yaml:"accountattribute"`
	// Groups says how a user's groups are found.
	Groups LDAPGroups `yaml:"groups"`
	// Timeout of each step: to connect, to bind, to search. Default 5s.
	Timeout time.Duration `yaml:"timeout"`
	// Connections is how many logins the directory is asked about at once. Default 8.
	Connections int `yaml:"connections"`
}

// LDAPGroups is tokenserver.ldap.groups. With neither MemberOf nor Filter users have no groups.
type LDAPGroups struct {
	// MemberOf takes the groups that the user's entry lists in the attribute memberOf.
	MemberOf bool `yaml:"memberof"`
	// Filter finds groups instead, such as (member={dn}) or (memberUid={account}), where {account} is the value of accountattribute.
	Filter string `yaml:"filter"`
	// BaseDN is the entry below which groups are: others do not count. Required where groups are searched for; else, by default, all
	// count.
	BaseDN string `yaml:"basedn"`
	// Nested takes the groups that those groups are in, too: "chain" has Active Directory follow them (rule
	// 1.2.840.113556.1.4.1941), "search" looks for them step by step, in any directory. Default: none.
	Nested string `yaml:"nested"`
	// Name is what access rules know a group by: "cn", which is the default, or "dn". Where groups of one cn can be in several
	// places, and others than you may make them, use dn or Map.
	Name string `yaml:"name"`
	// Map names groups by their DN. Where there is any, groups that it does not name do not count.
	Map map[string]string `yaml:"map"`
}

// ldap checks tokenserver.ldap. What takes a parser of filters and names is checked where they are used.
func (k *checker) ldap() {
	l := k.c.TokenServer.LDAP
	if l == nil {
		return
	}
	k.needsRules("tokenserver.ldap")
	if len(l.URLs) == 0 {
		k.errorf("tokenserver.ldap.urls", "missing; name the servers, like ldaps://ldap.example.com")
	}
	for i, text := range l.URLs {
		if fault := l.urlFault(text); fault != "" {
			k.errorf(fmt.Sprintf("tokenserver.ldap.urls[%d]", i), "%s", fault)
		}
	}
	if l.BaseDN == "" {
		k.errorf("tokenserver.ldap.basedn", "missing; name the entry below which users are, such as ou=people,dc=example,dc=com")
	}
	switch {
	case l.Password != "" && l.PasswordFile != "":
		k.errorf("tokenserver.ldap.passwordfile", "stands beside tokenserver.ldap.password: remove one of them")
	case l.BindDN != "" && l.Password == "" && l.PasswordFile == "":
		k.errorf("tokenserver.ldap.binddn", "has no password: without one a directory takes anybody for it (RFC 4513 section 5.1.2)")
	case l.BindDN == "" && (l.Password != "" || l.PasswordFile != ""):
		k.errorf("tokenserver.ldap.binddn", "missing; a password for it is set")
	}
	if l.Filter != "" && !strings.Contains(l.Filter, "{account}") {
		k.errorf("tokenserver.ldap.filter", "does not say {account}: it would find the same users whoever logs in")
	}
	if l.Timeout < 0 {
		k.errorf("tokenserver.ldap.timeout", "%s; it must be more than nothing", l.Timeout)
	}
	if l.Connections < 0 || l.Connections > 1000 {
		k.errorf("tokenserver.ldap.connections", "%d is not between 1 and 1000", l.Connections)
	}
	k.ldapGroups(l)
}

// needsRules reports a section of accounts that others keep, where no rules say what they may do: everything, as the users of
// auth.htpasswd may then, is not meant for whoever is in a directory, or has a token of a public issuer.
func (k *checker) needsRules(section string) {
	if k.c.TokenServer.Access == nil {
		k.errorf(section, "tokenserver.access is missing: write rules for what these accounts may do")
	}
}

// ldapGroups checks tokenserver.ldap.groups.
func (k *checker) ldapGroups(l *LDAP) {
	g, at := l.Groups, "tokenserver.ldap.groups"
	if g.MemberOf && g.Filter != "" {
		k.errorf(at+".filter", "stands beside memberof: remove one of them")
	}
	if g.Filter != "" && !strings.Contains(g.Filter, "{dn}") && !strings.Contains(g.Filter, "{account}") {
		k.errorf(at+".filter", "says neither {dn} nor {account}: everybody would be in the same groups")
	}
	if g.Name != "" && g.Name != "cn" && g.Name != "dn" {
		k.errorf(at+".name", "%s is neither cn nor dn", quoteText(g.Name))
	}
	if g.BaseDN == "" && (g.Filter != "" || g.Nested == "chain") {
		k.errorf(at+".basedn", "missing; name the entry below which groups are, such as ou=groups,dc=example,dc=com")
	}
	switch {
	case g.Nested != "" && g.Nested != "chain" && g.Nested != "search":
		k.errorf(at+".nested", "%s is neither chain nor search", quoteText(g.Nested))
	case g.Nested != "" && !g.MemberOf && g.Filter == "":
		k.errorf(at+".nested", "no groups are looked for: set memberof or filter, or remove the key")
	case g.Nested == "chain" && !g.MemberOf && !strings.Contains(g.Filter, "={dn}"):
		k.errorf(at+".nested", "chain needs a filter such as (member={dn})")
	case g.Nested == "search" && g.Filter != "" && !strings.Contains(g.Filter, "{dn}"):
		k.errorf(at+".nested", "search needs a filter that says {dn}: groups are in groups by their DN")
	}
	for dn, name := range g.Map {
		if name == "" {
			k.errorf(at+".map."+quoteKey(dn), "no name")
		}
	}
}

// urlFault says why a directory cannot be asked at text, or "".
func (l *LDAP) urlFault(text string) string {
	if fault := urlFault(text, "ldap", "ldaps"); fault != "" {
		return fault + "; write it like ldaps://ldap.example.com"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "":
		return "a URL with more than scheme, host and port"
	case u.Scheme == "ldaps" && l.StartTLS:
		return "begins with ldaps://, which is TLS from the start: write ldap://, or remove starttls"
	case u.Scheme == "ldap" && !l.StartTLS && !l.Insecure && !loopback(u.Hostname()):
		return "begins with ldap://: passwords would travel unencrypted; write ldaps://, or set starttls: true (insecure: true allows it)"
	}
	return ""
}
