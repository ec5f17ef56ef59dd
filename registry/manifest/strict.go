package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth is how deep a document may nest; real ones need five levels.
const maxDepth = 32

// names are the fields that decide what a document is and needs. They count in this spelling only: Go's decoder takes any case,
// that of other languages does not.
var names = map[string]bool{
	"schemaVersion": true, "mediaType": true, "artifactType": true, "config": true, "layers": true, "manifests": true,
	"subject": true, "annotations": true, "digest": true, "size": true, "urls": true, "fsLayers": true, "blobs": true,
}

// unambiguous refuses a document that two readers could read differently: one with a field twice, or with one of names in
// another case. Inside of annotations and of platform, spelling is the author's own.
func unambiguous(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := value(d, 0, true); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// value reads one value.
func value(d *json.Decoder, depth int, ours bool) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	switch t {
	case json.Delim('{'):
		return object(d, depth, ours)
	case json.Delim('['):
		for d.More() {
			if err := value(d, depth+1, ours); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
	return nil
}

// object reads the rest of an object. ours says whether its fields are the specification's.
func object(d *json.Decoder, depth int, ours bool) error {
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return fmt.Errorf("%v where the name of a field belongs", t)
		}
		if seen[name] {
			return fmt.Errorf("the field %.40q is there twice", name)
		}
		seen[name] = true
		if ours && !names[name] {
			for known := range names {
				if strings.EqualFold(known, name) {
					return fmt.Errorf("the field %.40q is spelled %q", name, known)
				}
			}
		}
		if err := value(d, depth+1, ours && name != "annotations" && name != "platform"); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}
