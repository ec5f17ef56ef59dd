package configs

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// schema is the tree of keys that a configuration may have: the settings of Config, found by their yaml tags, and among
// them the keys of distribution that have no setting.
type schema struct {
	path    string
	typ     reflect.Type       // of the setting; nil where nothing is set: a foreign key, or a section of foreign keys only
	index   int                // of the field in the parent's struct
	keys    map[string]*schema // of a section
	elem    *schema            // of a list
	values  *schema            // of a map, whose keys are the operator's own
	foreign *foreignKey
	// named: a single value x means a section with the key x, as distribution reads `storage: inmemory`.
	named bool
}

// newSchema builds the schema of Config.
func newSchema() *schema {
	root := schemaOf(reflect.TypeFor[Config](), "")
	for i := range foreignKeys {
		f := &foreignKeys[i]
		s := root
		for part := range strings.SplitSeq(f.path, ".") {
			next := s.keys[part]
			if next == nil {
				next = &schema{path: join(s.path, part)}
				if s.keys == nil {
					s.keys = make(map[string]*schema)
				}
				s.keys[part] = next
			}
			s = next
		}
		s.foreign = f
	}
	root.keys["storage"].named = true
	root.keys["auth"].named = true
	return root
}

func schemaOf(t reflect.Type, path string) *schema {
	s := &schema{path: path, typ: t}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		s.keys = make(map[string]*schema)
		for i := range t.NumField() {
			name := t.Field(i).Tag.Get("yaml")
			if name == "-" {
				continue
			}
			s.keys[name] = schemaOf(t.Field(i).Type, join(path, name))
			s.keys[name].index = i
		}
	case reflect.Slice:
		s.elem = schemaOf(t.Elem(), path+"[]")
	case reflect.Map:
		s.values = schemaOf(t.Elem(), path+".*")
	}
	return s
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// section reports whether s has keys.
func (s *schema) section() bool { return s.keys != nil }

// single reports whether a value of s is a scalar.
func (s *schema) single() bool { return !s.section() && s.elem == nil && s.values == nil }

// names are the keys of a section, sorted.
func (s *schema) names() []string {
	names := make([]string, 0, len(s.keys))
	for name := range s.keys {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// wants says what a value of s looks like, for errors: "wants …".
func (s *schema) wants() string {
	switch {
	case s.typ == nil || s.section() || s.values != nil:
		return "a section (lines of key: value)"
	case s.typ == reflect.TypeFor[Names]():
		return "a single value or a list"
	case s.elem != nil:
		return "a list"
	case s.typ == reflect.TypeFor[time.Duration]():
		return "a duration with its unit, such as 30s or 10m"
	case s.typ.Kind() == reflect.Bool:
		return "true or false"
	case s.typ.Kind() == reflect.Int:
		return "a whole number"
	}
	return "a single value"
}

// suggest returns the path that was most likely meant by key in section s, or "": a key of the section with a similar
// name, or else the only place in the whole schema where a setting has exactly this name.
func (s *schema) suggest(root *schema, key string) string {
	if name := nearest(key, s.names()); name != "" {
		return join(s.path, name)
	}
	var found []string
	var look func(*schema)
	look = func(s *schema) {
		for _, name := range s.names() {
			next := s.keys[name]
			if name == strings.ToLower(key) && next.typ != nil {
				found = append(found, next.path)
			}
			look(next)
		}
	}
	look(root)
	if len(found) == 1 {
		return found[0]
	}
	return ""
}
