package configs

import (
	"errors"
	"net/url"
	"strings"
)

// defaultTokenName is the service and the issuer where none is configured.
const defaultTokenName = "gatehouse"

// maxTokenText bounds each of realm, service and issuer: they travel in headers.
const maxTokenText = 2048

// TokenOrDefault is what tokens and challenges say while etcd says nothing else: the token section, or its defaults.
func (a Auth) TokenOrDefault() Token {
	if a.Token != nil {
		return a.Token.names()
	}
	return Token{Service: defaultTokenName, Issuer: defaultTokenName}
}

// Validate reports everything that keeps t from being used. Whole is what another than gatehouse's own defaults must
// give: all three texts, the realm an absolute URL. Otherwise the realm may be empty or a path on the origin that
// the client used.
func (t Token) Validate(whole bool) error {
	var errs []error
	for _, f := range []struct{ name, text, fault string }{
		{"realm", t.Realm, realmFault(t.Realm, whole)},
		{"service", t.Service, quotableFault(t.Service)},
		{"issuer", t.Issuer, quotableFault(t.Issuer)},
	} {
		switch {
		case f.text == "" && (whole || f.name != "realm"):
			errs = append(errs, errors.New(f.name+": empty"))
		case f.fault != "":
			errs = append(errs, errors.New(f.name+": "+f.fault))
		}
	}
	return errors.Join(errs...)
}

// realmFault says what is wrong with a realm that is not empty, or "".
func realmFault(realm string, absolute bool) string {
	if fault := quotableFault(realm); fault != "" {
		return fault
	}
	if strings.Contains(realm, " ") {
		return "contains a space"
	}
	if !absolute && (realm == "" || strings.HasPrefix(realm, "/") && !strings.HasPrefix(realm, "//")) {
		return ""
	}
	return urlFault(realm, "http", "https")
}

// urlFault says why text is no absolute URL of one of the schemes, naming a host and neither user nor fragment, or "".
func urlFault(text string, schemes ...string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil: // the error would show the URL, and a URL may carry a password
		return "not a URL"
	case u.User != nil:
		return "a URL with a user or password in it"
	case u.Hostname() == "" || u.Opaque != "":
		return "not an absolute URL such as " + schemes[len(schemes)-1] + "://registry.example.com"
	case u.Fragment != "" || strings.Contains(text, "#"):
		return "a URL with a fragment"
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return ""
		}
	}
	return "not a URL that begins with " + strings.Join(schemes, ":// or ") + "://"
}

// quotableFault says why text cannot stand between quotes in a header (RFC 9110 section 5.6.4), or "".
func quotableFault(text string) string {
	if len(text) > maxTokenText {
		return "too long"
	}
	for _, r := range text {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return "contains a character other than printable ASCII without quotes and backslash"
		}
	}
	return ""
}
