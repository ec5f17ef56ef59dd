package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder fills a Config from a tree, strictly: every key is known, every value has its key's type.
type decoder struct {
	root *schema
	p    *problems
	at   map[string]position // where each key and item was found
}

// decode sets what the tree says; what it does not say stays as it is in v. All that is wrong goes to d.p.
func (d *decoder) decode(n *node, s *schema, v reflect.Value, path string) {
	if s.foreign != nil {
		d.foreign(n, s.foreign)
		return
	}
	if s.named {
		spellOut(n)
	}
	if s.typ != nil && s.typ.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(s.typ.Elem()))
		}
		v = v.Elem()
	}
	switch {
	case n.kind == null && s.typ == reflect.TypeFor[Names]():
		v.Set(reflect.ValueOf(Names{})) // there, and without a value
	case n.kind == null:
	case s.section() && n.kind == mapping:
		d.section(n, s, v, path)
	case s.elem != nil && n.kind == sequence:
		list := reflect.MakeSlice(s.typ, len(n.items), len(n.items))
		for i, item := range n.items {
			itemPath := fmt.Sprintf("%s[%d]", path, i)
			d.at[itemPath] = item.at
			if item.kind == null {
				d.p.errorf(item.at, itemPath, "an empty item")
				continue
			}
			d.decode(item, s.elem, list.Index(i), itemPath)
		}
		v.Set(list)
	case s.values != nil && n.kind == mapping:
		d.entries(n, s, v, path)
	case n.kind == scalar && s.typ == reflect.TypeFor[Names]():
		v.Set(reflect.ValueOf(Names{n.text}))
	case s.single() && n.kind == scalar:
		if !setScalar(v, n.text) {
			d.wrongType(n, s, path)
		}
	default:
		d.wrongType(n, s, path)
	}
}

// section decodes the entries of n; a section without a setting has no v.
func (d *decoder) section(n *node, s *schema, v reflect.Value, path string) {
	for _, e := range n.entries {
		keyPath := join(path, quoteKey(e.key))
		next := s.keys[e.key]
		if next == nil {
			d.unknown(e, s, path)
			continue
		}
		d.at[keyPath] = e.at
		var field reflect.Value
		if next.typ != nil {
			field = v.Field(next.index)
		}
		d.decode(e.value, next, field, keyPath)
	}
}

// entries decodes the entries of n, whose keys may be any, into a map; one without a value is left out.
func (d *decoder) entries(n *node, s *schema, v reflect.Value, path string) {
	m := reflect.MakeMapWithSize(s.typ, len(n.entries))
	for _, e := range n.entries {
		keyPath := join(path, quoteKey(e.key))
		d.at[keyPath] = e.at
		value := reflect.New(s.typ.Elem()).Elem()
		if d.decode(e.value, s.values, value, keyPath); e.value.kind != null {
			m.SetMapIndex(reflect.ValueOf(e.key), value)
		}
	}
	v.Set(m)
}

func (d *decoder) unknown(e entry, s *schema, path string) {
	text, meant := "unknown key", ""
	if len(d.p.errs) < maxProblems {
		meant = s.suggest(d.root, e.key)
	}
	if meant != "" {
		text += "; did you mean " + meant + "?"
	} else if s.path == "storage" {
		text = "unknown key or storage driver; supported drivers are " + drivers
	}
	d.p.errorf(e.at, join(path, quoteKey(e.key)), "%s", text)
	if s.named { // it may have been meant as the driver: say no more of a missing one
		d.p.bad[s.path] = true
	}
}

func (d *decoder) wrongType(n *node, s *schema, path string) {
	got := n.kind.String()
	if n.kind == scalar && s.single() { // a number, a duration, a truth: no secret is one
		got = quoteText(n.text)
	}
	d.p.errorf(n.at, path, "wants %s, not %s", s.wants(), got)
}

// setScalar sets v to what text says, and reports whether text fits.
func setScalar(v reflect.Value, text string) bool {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		dur, err := time.ParseDuration(text)
		if err != nil {
			return false
		}
		v.SetInt(int64(dur))
	case v.Kind() == reflect.Bool:
		b, ok := parseBool(text)
		if !ok {
			return false
		}
		v.SetBool(b)
	case v.Kind() == reflect.Int:
		i, err := strconv.Atoi(text)
		if err != nil {
			return false
		}
		v.SetInt(int64(i))
	default:
		v.SetString(text)
	}
	return true
}

// parseBool reads the words of YAML 1.1, as distribution does.
func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "y":
		return true, true
	case "false", "no", "off", "n":
		return false, true
	}
	return false, false
}

// foreign looks at a key of distribution that has no setting.
func (d *decoder) foreign(n *node, f *foreignKey) {
	if f.treat == silent || (f.treat != always && (asksNothing(n) || oneOf(n, f.fine))) {
		return
	}
	if f.treat == ignored {
		text := "known to distribution, no effect here"
		if f.why != "" {
			text += ": " + f.why
		}
		d.p.warnf(d.at[f.path], f.path, "%s", text)
		return
	}
	d.p.errorf(d.at[f.path], f.path, "%s", f.why)
	if f.treat == always {
		d.p.bad[parent(f.path)] = true
	}
}

// asksNothing reports whether n is empty, or a list of which every item says disabled: true.
func asksNothing(n *node) bool {
	switch n.kind {
	case scalar:
		return n.text == ""
	case mapping:
		return len(n.entries) == 0
	case sequence:
		return !slices.ContainsFunc(n.items, func(item *node) bool {
			if item.kind != mapping {
				return true
			}
			off := item.get("disabled")
			return off == nil || !oneOf(off, []string{"true"})
		})
	}
	return true
}

// oneOf reports whether n is one of the values, all spellings of a truth value being one.
func oneOf(n *node, values []string) bool {
	if n.kind != scalar {
		return false
	}
	b, isBool := parseBool(n.text)
	return slices.ContainsFunc(values, func(v string) bool {
		vb, ok := parseBool(v)
		return n.text == v || (isBool && ok && vb == b)
	})
}
