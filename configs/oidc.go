package configs

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// OIDC is one of tokenserver.oidc: an issuer of tokens that stand for a workload (OpenID Connect Core), such as GitHub Actions, GitLab
// or a Kubernetes cluster. Who logs in gives its token as the password.
type OIDC struct {
	// Issuer is what the claim iss must be, to the letter: an https:// URL. Required.
	Issuer string `yaml:"issuer"`
	// Audience must be in the claim aud. Required: tokens for others are no logins here.
	Audience string `yaml:"audience"`
	// Login is the account that clients must give beside the token. Empty: any will do.
	Login string `yaml:"login"`
	// JWKSFile is a file with the issuer's keys (RFC 7517), read again when it changes. Default: they are fetched as the issuer's
	// /.well-known/openid-configuration says, and kept for when the issuer is away.
	JWKSFile string `yaml:"jwksfile"`
	// CAFile is a PEM file of roots to trust for the issuer's own TLS. Default: the system's roots.
	CAFile string `yaml:"cafile"`
	// Rules say who a token is. The first whose claims all match decides; without a match the token is no login. Required.
	Rules []OIDCRule `yaml:"rules"`
}

// OIDCRule is one of tokenserver.oidc[].rules.
type OIDCRule struct {
	// Claims that the token must have, each with its value or a glob: * within a component, ** across slashes. A claim in a
	// claim is written with a slash: kubernetes.io/namespace. Of a claim that is a list, one value has to match.
	Claims map[string]string `yaml:"claims"`
	// Account is the name that it logs in as; ${claim} stands for the claim's value. Begin it with something that no user's
	// name begins with. Required.
	Account string `yaml:"account"`
	// Groups that it is in, with ${claim} likewise; one that is ${claim} and nothing else may be a list.
	Groups []string `yaml:"groups"`
}

// Placeholder is ${name} in an account or a group, where something of a token or a certificate is put in. Its group is the name.
var Placeholder = regexp.MustCompile(`\$\{([^{}$]+)\}`)

// oidc checks tokenserver.oidc.
func (k *checker) oidc() {
	if len(k.c.TokenServer.OIDC) > 0 {
		k.needsRules("tokenserver.oidc")
	}
	seen := make(map[string]int)
	for i, o := range k.c.TokenServer.OIDC {
		at := fmt.Sprintf("tokenserver.oidc[%d]", i)
		if fault := issuerFault(o.Issuer); fault != "" {
			k.errorf(at+".issuer", "%s", fault)
		} else if j, ok := seen[o.Issuer]; ok {
			k.errorf(at+".issuer", "tokenserver.oidc[%d] is the same issuer: write one list of rules", j)
		}
		seen[o.Issuer] = i
		if o.Audience == "" {
			k.errorf(at+".audience", "missing; name what tokens must be made for, such as the registry's own URL")
		}
		if o.JWKSFile != "" && o.CAFile != "" {
			k.errorf(at+".cafile", "no effect beside jwksfile: the issuer is not asked; remove one of them")
		}
		if len(o.Rules) == 0 {
			k.errorf(at+".rules", "missing; without a rule no token is a login")
		}
		for j, r := range o.Rules {
			k.oidcRule(fmt.Sprintf("%s.rules[%d]", at, j), r)
		}
	}
}

// oidcRule checks one of tokenserver.oidc[].rules.
func (k *checker) oidcRule(at string, r OIDCRule) {
	if len(r.Claims) == 0 {
		k.errorf(at+".claims", "missing; whoever has any token of the issuer would match, and everybody can get one of a public issuer")
	}
	for name, value := range r.Claims {
		if fault := claimGlobFault(value); fault != "" {
			k.errorf(at+".claims."+quoteKey(name), "%s", fault)
		}
	}
	if fault := accountTemplateFault(r.Account); fault != "" {
		k.errorf(at+".account", "%s", fault)
	}
	for j, g := range r.Groups {
		if fault := templateFault(g); fault != "" {
			k.errorf(fmt.Sprintf("%s.groups[%d]", at, j), "%s", fault)
		}
	}
}

// issuerFault says why text cannot be an issuer (OpenID Connect Core section 2), or "".
func issuerFault(text string) string {
	if fault := urlFault(text, "http", "https"); fault != "" {
		return fault
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.RawQuery != "":
		return "a URL with a query"
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "begins with http://: whoever is on the way could put in keys of his own"
	}
	return ""
}

// claimGlobFault says why value matches no claim, or "".
func claimGlobFault(value string) string {
	switch {
	case value == "":
		return "no value; write ** for any"
	case len(value) > 512:
		return "longer than 512 bytes"
	case strings.Contains(value, "***"):
		return quoteText(value) + " has three stars in a row; * matches within a component and ** across slashes"
	}
	return ""
}

// RobotPrefix begins the account of every robot, as Harbor's do, and of nobody else: with such a name only robots are asked.
const RobotPrefix = "robot$"

// accountTemplateFault says why text names no account that somebody could log in as, or "".
func accountTemplateFault(text string) string {
	if strings.HasPrefix(Placeholder.ReplaceAllString(text, "x"), RobotPrefix) {
		return quoteText(text) + " begins with " + RobotPrefix + ", as only the names of robots do"
	}
	return templateFault(text)
}

// templateFault says why text names no account or group, or "".
func templateFault(text string) string {
	rest := Placeholder.ReplaceAllString(text, "")
	switch {
	case text == "":
		return "missing; write a name, in which ${claim} stands for the claim's value"
	case strings.Contains(rest, "${"):
		return quoteText(text) + " has a ${ that begins no ${claim}"
	case strings.Contains(rest, "*") || strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return quoteText(text) + " has a star or a control character, which no name has"
	}
	return ""
}
