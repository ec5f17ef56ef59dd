package configs

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const variablePrefix = "REGISTRY_"

// ofOthers are variables of other programmes that begin like ours, and the one that names the file.
var ofOthers = []string{
	"REGISTRY_CONFIGURATION_PATH",
	"REGISTRY_AUTH_FILE", // skopeo, podman, buildah
}

// override is one REGISTRY_* variable.
type override struct {
	name  string
	value string
	at    position
}

// overrides picks the REGISTRY_* variables out of environ and sorts them by name, so that REGISTRY_STORAGE comes before
// REGISTRY_STORAGE_DELETE_ENABLED.
func overrides(environ []string) []override {
	var vs []override
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, variablePrefix) && !slices.Contains(ofOthers, name) {
			vs = append(vs, override{name, value, position{variable: name}})
		}
	}
	slices.SortStableFunc(vs, func(a, b override) int { return cmp.Compare(a.name, b.name) })
	return vs
}

// patcher changes a tree as variables say, by the rules of distribution's configuration/parser.go: the name is the path
// in upper case, a value is YAML, an empty value unsets, a list is indexed by number.
type patcher struct {
	root *schema
	p    *problems
}

// apply patches tree by one variable. A variable that is no key of ours changes nothing and is a warning, because other
// programmes have variables that begin like this (Kubernetes makes REGISTRY_PORT for a Service named registry); but one
// that is nearly a key of auth or http.tls is an error, because leaving it out could open the registry.
func (x *patcher) apply(tree *node, v override) {
	path, unknown, ok := x.resolve(strings.Split(strings.TrimPrefix(v.name, variablePrefix), "_"))
	switch {
	case ok && path[0].key == "version":
		x.p.warnf(v.at, "", "the version of a file cannot be overridden: ignored")
	case ok:
		x.set(tree, path, v)
	case unknown.meant == "":
		x.p.warnf(v.at, "", "no setting has this name: ignored")
	case strings.HasPrefix(unknown.in.path, "auth") || strings.HasPrefix(unknown.in.path, "http.tls"):
		x.p.errorf(v.at, "", "no setting has this name; did you mean %s?", unknown.meant)
	default:
		x.p.warnf(v.at, "", "no setting has this name: ignored; did you mean %s?", unknown.meant)
	}
}

// step is one component of a variable's name.
type step struct {
	key string  // of a section, as in a file; of a list, its index as written
	s   *schema // what the step leads to; nil inside of a foreign key
}

// stray is where the name of a variable left the schema.
type stray struct {
	in    *schema
	meant string // the likely name of the variable, or ""
}

// resolve finds the keys that a variable's name stands for, without looking at any value.
func (x *patcher) resolve(parts []string) ([]step, stray, bool) {
	var path []step
	s := x.root
	for i, part := range parts {
		switch {
		case s == nil || s.foreign != nil: // anything may be below
			path, s = append(path, step{strings.ToLower(part), nil}), nil
		case s.elem != nil:
			path, s = append(path, step{part, s.elem}), s.elem
		case s.values != nil: // as distribution has it, for whose headers case means nothing
			path, s = append(path, step{strings.ToLower(part), s.values}), s.values
		default:
			key := strings.ToLower(part)
			next := s.keys[key]
			if next == nil {
				if name := distributionsName[part]; name != "" {
					key = strings.ToLower(name)
					next = s.keys[key]
				}
			}
			if next == nil || part != strings.ToUpper(part) {
				lost := stray{in: s}
				if name := nearest(part, s.names()); name != "" {
					meant := slices.Concat(parts[:i], []string{name}, parts[i+1:])
					lost.meant = variablePrefix + strings.ToUpper(strings.Join(meant, "_"))
				}
				return nil, lost, false
			}
			path, s = append(path, step{key, next}), next
		}
	}
	return path, stray{}, true
}

// set puts the value of v where path leads in tree.
func (x *patcher) set(tree *node, path []step, v override) {
	name := pathText(path)
	var own problems
	value := parseTree([]byte(v.value), v.at, &own)
	if len(own.errs) > 0 {
		x.p.errorf(v.at, name, "%s", own.errs[0].text)
		return
	}
	if value.kind == null && v.value != "" {
		x.p.errorf(v.at, name, "the value reads as an empty YAML value; put quotes around it, or leave it empty to unset")
		return
	}
	if name == "tokenserver.access" && value.kind == null {
		x.p.errorf(v.at, name, "cannot be unset: every user could do everything; set [] to deny everything, or remove the section from the file")
		return
	}
	if end := path[len(path)-1].s; value.kind == null && end != nil && strings.HasPrefix(end.path, "tokenserver.access[].") {
		x.p.errorf(v.at, name, "cannot be unset: what is left of the rule may grant more than the file says; set the whole rule")
		return
	}
	n, s := tree, x.root
	for i, st := range path {
		last := i == len(path)-1
		if s != nil && s.named {
			spellOut(n)
		}
		if s != nil && s.typ == reflect.TypeFor[Names]() && n.kind == scalar {
			*n = node{kind: sequence, at: n.at, items: []*node{{kind: scalar, at: n.at, text: n.text}}}
		}
		switch {
		case n.kind == null && s != nil && s.elem != nil:
			n.kind, n.at = sequence, v.at
		case n.kind == null:
			n.kind, n.at = mapping, v.at
		}
		switch n.kind {
		case sequence:
			n = x.item(n, path[:i+1], last, value, v)
		case mapping:
			n = entryOf(n, st.key, last, value, v)
		default:
			n = nil // the file is wrong here, and decoding will tell
		}
		if n == nil {
			return
		}
		s = st.s
	}
}

// entryOf sets or finds the value of key in the mapping n. Nil: there is nothing more to do.
func entryOf(n *node, key string, last bool, value *node, v override) *node {
	for _, e := range n.entries { // inside of maps and foreign keys the file's spelling is kept
		if strings.ToLower(e.key) == key && n.get(key) == nil {
			key = e.key
		}
	}
	switch {
	case last && value.kind == null:
		n.remove(key)
		return nil
	case last:
		n.put(key, v.at, value)
		return nil
	case n.get(key) == nil:
		n.put(key, v.at, &node{kind: null, at: v.at})
	}
	return n.get(key)
}

// item sets or finds an item of the list n; an index one beyond the end appends. Nil: there is nothing more to do.
func (x *patcher) item(n *node, path []step, last bool, value *node, v override) *node {
	i, err := strconv.Atoi(path[len(path)-1].key)
	switch {
	case err != nil || i < 0:
		x.p.errorf(v.at, pathText(path[:len(path)-1]), "an item of a list is named by its number, from 0")
		return nil
	case i > len(n.items):
		x.p.errorf(v.at, pathText(path[:len(path)-1]), "has %d items: number %d would leave a gap", len(n.items), i)
		return nil
	case last && value.kind == null:
		x.p.errorf(v.at, pathText(path), "an item cannot be unset; set the whole list")
		return nil
	case i == len(n.items):
		n.items = append(n.items, &node{kind: null, at: v.at})
	}
	if last {
		n.items[i] = value
		return nil
	}
	return n.items[i]
}

// pathText writes a path as errors show it.
func pathText(path []step) string {
	text := ""
	for i, st := range path {
		if i > 0 && path[i-1].s != nil && path[i-1].s.elem != nil {
			text += "[" + quoteKey(st.key) + "]"
		} else {
			text = join(text, quoteKey(st.key))
		}
	}
	return text
}

// spellOut turns the single value x into a section with the key x, which is how distribution reads it.
func spellOut(n *node) {
	if n.kind == scalar {
		*n = node{kind: mapping, at: n.at, entries: []entry{{n.text, n.at, &node{kind: null, at: n.at}}}}
	}
}
