package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what is read: a configuration is small, and a hostile one must cost little.
const (
	maxFileSize = 1 << 20
	maxNodes    = 100_000 // after aliases are replaced by what they stand for
	maxDepth    = 64
)

// kind of a node.
type kind uint8

const (
	null kind = iota
	scalar
	mapping
	sequence
)

// String names a kind as an operator would.
func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a section", "a list"}[k]
}

// node is a YAML value with aliases and merge keys replaced, so that it may be edited in place, and with the place it
// came from, which survives the editing.
type node struct {
	kind    kind
	at      position
	text    string  // of a scalar
	entries []entry // of a mapping, in the file's order, keys unique
	items   []*node // of a sequence
}

// entry is one key of a mapping.
type entry struct {
	key   string
	at    position
	value *node
}

// get returns the value of key, or nil.
func (n *node) get(key string) *node {
	for i := range n.entries {
		if n.entries[i].key == key {
			return n.entries[i].value
		}
	}
	return nil
}

// put sets key, replacing an earlier value.
func (n *node) put(key string, at position, v *node) {
	for i := range n.entries {
		if n.entries[i].key == key {
			n.entries[i] = entry{key, at, v}
			return
		}
	}
	n.entries = append(n.entries, entry{key, at, v})
}

// remove deletes key if it is there.
func (n *node) remove(key string) {
	n.entries = slices.DeleteFunc(n.entries, func(e entry) bool { return e.key == key })
}

// parseTree reads one YAML document. What is wrong goes to p; then the result may be partial, and nil where nothing could
// be read. An empty document is a null node. Texts never quote a value.
func parseTree(data []byte, at position, p *problems) *node {
	if len(data) > maxFileSize {
		p.errorf(at, "", "larger than %d bytes", maxFileSize)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return &node{kind: null, at: at}
	}
	if err != nil {
		line, text := syntaxError(err)
		p.errorf(at.onLine(line), "", "not valid YAML: %s", text)
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		p.errorf(at.onLine(second.Line), "", "more than one YAML document")
	}
	r := treeReader{at: at, p: p, left: maxNodes, open: make(map[*yaml.Node]bool)}
	return r.read(&doc, 0)
}

// syntaxError takes the line out of an error of package yaml, and out of the rest everything that may be the file's own
// text: the value of a secret that begins with * would be shown as an anchor's name.
func syntaxError(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if digits, after, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				line, text = n, after
			}
		}
	}
	switch {
	case strings.HasPrefix(text, "unknown anchor"):
		return line, "an alias without its anchor; put quotes around a value that begins with *"
	case strings.ContainsAny(text, "`\"\n"):
		return line, "it cannot be read"
	}
	return line, text
}

// treeReader turns yaml.Nodes into nodes.
type treeReader struct {
	at   position
	p    *problems
	left int                 // nodes that may still be made
	open map[*yaml.Node]bool // with an anchor, and being read
}

func (r *treeReader) read(y *yaml.Node, depth int) *node {
	at := r.at.onLine(y.Line)
	none := &node{kind: null, at: at}
	if r.left--; r.left < 0 {
		if r.left == -1 {
			r.p.errorf(at, "", "more than %d values", maxNodes)
		}
		return none
	}
	if depth > maxDepth {
		r.p.errorf(at, "", "nested more than %d deep", maxDepth)
		return none
	}
	if y.Style&yaml.TaggedStyle != 0 && !strings.Contains(" !!str !!int !!float !!bool !!null !!seq !!map ", " "+y.ShortTag()+" ") {
		r.p.errorf(at, "", "a YAML tag that means nothing here; put quotes around a value that begins with !")
		return none
	}
	if y.Kind != yaml.AliasNode && y.Anchor != "" {
		r.open[y] = true
		defer delete(r.open, y)
	}
	switch y.Kind {
	case yaml.DocumentNode:
		return r.read(y.Content[0], depth)
	case yaml.AliasNode:
		if r.open[y.Alias] {
			r.p.errorf(at, "", "an alias inside of what it stands for")
			return none
		}
		return r.read(y.Alias, depth+1)
	case yaml.MappingNode:
		return r.mapping(y, depth)
	case yaml.SequenceNode:
		n := &node{kind: sequence, at: at}
		for _, c := range y.Content {
			if r.left < 0 {
				break
			}
			n.items = append(n.items, r.read(c, depth+1))
		}
		return n
	}
	if y.ShortTag() == "!!null" {
		return none
	}
	return &node{kind: scalar, at: at, text: y.Value}
}

// mapping reads a mapping; its own keys win over those merged in by <<.
func (r *treeReader) mapping(y *yaml.Node, depth int) *node {
	n := &node{kind: mapping, at: r.at.onLine(y.Line)}
	first := make(map[string]int, len(y.Content)/2)
	var merged []*node
	for i := 0; i+1 < len(y.Content) && r.left >= 0; i += 2 {
		k, at := y.Content[i], r.at.onLine(y.Content[i].Line)
		v := r.read(y.Content[i+1], depth+1)
		switch line, twice := first[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			r.p.errorf(at, "", "a key that is not a single value")
		case k.ShortTag() == "!!merge":
			if v.kind == sequence {
				merged = append(merged, v.items...)
			} else {
				merged = append(merged, v)
			}
		case twice:
			r.p.errorf(at, quoteKey(k.Value), "given twice, first in line %d", line)
		default:
			first[k.Value] = k.Line
			n.entries = append(n.entries, entry{k.Value, at, v})
		}
	}
	for _, m := range merged {
		if m.kind != mapping {
			r.p.errorf(n.at, "", "a merge key << wants a section, not %s", m.kind)
			continue
		}
		for _, e := range m.entries {
			if _, own := first[e.key]; !own {
				first[e.key] = e.at.line
				n.entries = append(n.entries, e)
			}
		}
	}
	return n
}

// quoteKey shows a key of the file in an error: on one line, bounded.
func quoteKey(key string) string {
	const most = 64
	if len(key) > most {
		key = key[:most] + "…"
	}
	q := strconv.Quote(key)
	if bare := q[1 : len(q)-1]; bare == key && key != "" && !strings.ContainsAny(key, " :") {
		return key
	}
	return q
}

// quoteText shows a value that is no secret in an error: on one line, bounded.
func quoteText(text string) string {
	const most = 64
	if len(text) > most {
		text = text[:most] + "…"
	}
	return fmt.Sprintf("%q", text)
}
