package etcd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/configs"
)

// maxValue bounds a value in etcd, in bytes.
const maxValue = 64 << 10

// parseToken reads the value of <prefix>/auth/registry: a JSON object with the texts realm, issuer and service, none
// empty, the realm an absolute URL. Other fields are LAIN's future: they are returned, sorted, and have no effect. A field
// given twice, or in another case, is refused: readers would differ in what they see.
func parseToken(data []byte) (t configs.Token, unknown []string, err error) {
	if len(data) > maxValue {
		return t, nil, fmt.Errorf("the value has %d bytes; at most %d are read", len(data), maxValue)
	}
	if !utf8.Valid(data) {
		return t, nil, errors.New("the value is not valid UTF-8")
	}
	texts, unknown, err := parseTexts(data, "realm", "issuer", "service")
	if err != nil {
		return t, nil, err
	}
	t = configs.Token{Realm: texts["realm"], Issuer: texts["issuer"], Service: texts["service"]}
	if err := t.Validate(true); err != nil {
		return configs.Token{}, nil, err
	}
	return t, unknown, nil
}

// parseTexts reads a JSON object whose fields of the given names are texts, and the names of its other fields.
func parseTexts(data []byte, names ...string) (texts map[string]string, unknown []string, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("the value is not JSON: %w", notEOF(err))
	} else if open != json.Delim('{') {
		return nil, nil, errors.New("the value is not a JSON object")
	}
	texts = make(map[string]string)
	seen := make(map[string]bool)
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("the value is not JSON: %w", notEOF(err))
		}
		name := key.(string) // the only token that the decoder gives where a key stands
		for _, n := range names {
			if strings.EqualFold(name, n) && name != n { // encoding/json, as others read with, would take it for n
				return nil, nil, fmt.Errorf("the field %q must be written %s", name, n)
			}
		}
		if seen[name] {
			return nil, nil, fmt.Errorf("the field %.64q is given twice", name)
		}
		seen[name] = true
		var value any
		if err := dec.Decode(&value); err != nil {
			return nil, nil, fmt.Errorf("the value is not JSON: %w", notEOF(err))
		}
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
			continue
		}
		text, ok := value.(string)
		if !ok {
			return nil, nil, fmt.Errorf("the field %s is not a text", name)
		}
		texts[name] = text
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("the value is not JSON: %w", notEOF(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("the value goes on after the JSON object")
	}
	slices.Sort(unknown)
	return texts, unknown, nil
}

// notEOF makes the end of the value an error that says so.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
