package dockerauth

import (
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// original decides as docker_auth does, from what its documentation and its acl.go say: slow, and with nothing of the converter in it
// but the types that the file is read into.
type original struct{ f file }

// ask is a request for one scope.
type ask struct {
	account, typ, name string
	ip                 net.IP
	labels             map[string][]string
}

// admits reports whether somebody gets a token at all, with the right password where there is one.
func (o original) admits(account string) bool { return o.f.Users[account] != nil }

// allowed returns what of actions an account may do.
func (o original) allowed(a ask, actions []string) []string {
	for _, e := range o.f.ACL {
		if !e.Match.matches(a) {
			continue
		}
		if len(e.Actions) == 1 && e.Actions[0] == "*" {
			return actions
		}
		return slices.DeleteFunc(slices.Clone(actions), func(x string) bool { return !slices.Contains(e.Actions, x) })
	}
	return nil
}

func (m *match) matches(a ask) bool {
	variables := []string{"${account}", regexp.QuoteMeta(a.account), "${type}", regexp.QuoteMeta(a.typ), "${name}", regexp.QuoteMeta(a.name),
		"${service}", "registry"}
	variables = append(variables, m.captures(a)...)
	if m.IP != nil {
		ip := *m.IP
		if !strings.Contains(ip, "/") {
			if ip += "/32"; net.ParseIP(*m.IP).To4() == nil {
				ip = *m.IP + "/128"
			}
		}
		_, network, err := net.ParseCIDR(ip)
		if err != nil || a.ip == nil || !network.Contains(a.ip) {
			return false
		}
	}
	for label, pattern := range m.Labels {
		if !slices.ContainsFunc(a.labels[label], func(v string) bool { return one(&pattern, v, variables) }) {
			return false
		}
	}
	return permuted(m.Account, a.account, variables, a.labels) && permuted(m.Type, a.typ, variables, a.labels) &&
		permuted(m.Name, a.name, variables, a.labels) && permuted(m.Service, "registry", variables, a.labels)
}

// captures are the variables such as ${account:1}.
func (m *match) captures(a ask) (variables []string) {
	fields := map[string]struct {
		pattern *string
		text    string
	}{"account": {m.Account, a.account}, "type": {m.Type, a.typ}, "name": {m.Name, a.name}}
	for _, of := range fields {
		if of.pattern == nil {
			continue
		}
		for _, found := range regexp.MustCompile(`\$\{(.+?):(\d+)\}`).FindAllStringSubmatch(*of.pattern, -1) {
			source, ok := fields[found[1]]
			if !ok || source.pattern == nil {
				continue
			}
			if expression, is := strings.CutPrefix(*source.pattern, "/"); is && strings.HasSuffix(expression, "/") {
				groups := regexp.MustCompile(strings.TrimSuffix(expression, "/")).FindStringSubmatch(source.text)
				if i, _ := strconv.Atoi(found[2]); i >= 1 && i < len(groups) {
					variables = append(variables, found[0], groups[i])
				}
			}
		}
	}
	return variables
}

// permuted matches with every value of every label that the pattern names.
func permuted(pattern *string, text string, variables []string, labels map[string][]string) bool {
	if one(pattern, text, variables) {
		return true
	}
	for label, values := range labels {
		variable := "${labels:" + label + "}"
		if !strings.Contains(*pattern, variable) {
			continue
		}
		return slices.ContainsFunc(values, func(v string) bool {
			with := strings.ReplaceAll(*pattern, variable, v)
			return permuted(&with, text, variables, labels)
		})
	}
	return false
}

func one(pattern *string, text string, variables []string) bool {
	if pattern == nil {
		return true
	}
	p := strings.NewReplacer(variables...).Replace(*pattern)
	if len(p) > 2 && p[0] == '/' && p[len(p)-1] == '/' {
		e, err := regexp.Compile(p[1 : len(p)-1])
		return err == nil && e.MatchString(text)
	}
	ok, err := path.Match(p, text)
	return err == nil && ok
}
