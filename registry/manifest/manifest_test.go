package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	one = "sha256:0000000000000000000000000000000000000000000000000000000000000001"
	two = "sha256:0000000000000000000000000000000000000000000000000000000000000002"
)

func TestParse(t *testing.T) {
	m, err := Rules{}.Parse(OCIManifest+"; charset=utf-8", []byte(`{
		"schemaVersion": 2, "mediaType": "`+OCIManifest+`",
		"config": {"mediaType": "application/vnd.example", "digest": "`+one+`", "size": 2},
		"layers": [{"digest": "`+two+`", "size": 0, "data": "e30="}, {"digest": "`+two+`", "size": 1, "urls": ["https://example.com/x"]}],
		"subject": {"digest": "`+two+`", "size": 5},
		"annotations": {"a": "b", "Digest": "c", "digest": "d"}, "custom": {"Size": 1}
	}`))
	if err == nil { // "custom" holds a field that is one of the specification's in another case
		t.Errorf("took %+v", m)
	}
	m, err = Rules{}.Parse(OCIManifest+"; charset=utf-8", []byte(`{
		"schemaVersion": 2, "mediaType": "`+OCIManifest+`",
		"config": {"mediaType": "application/vnd.example", "digest": "`+one+`", "size": 2},
		"layers": [{"digest": "`+two+`", "size": 0, "data": "e30="}, {"digest": "`+one+`", "size": 1, "urls": ["https://example.com/x"]}],
		"subject": {"digest": "`+two+`", "size": 5},
		"annotations": {"a": "b", "Digest": "c", "digest": "d"}, "custom": {"field": [1, {"x": null}]}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != OCIManifest || m.ArtifactType != "application/vnd.example" || m.Subject != two || m.Annotations["Digest"] != "c" ||
		!slices.Equal(m.Blobs, []digest.Digest{one, two, one}) || len(m.Manifests) != 0 {
		t.Errorf("%+v", m)
	}
	m, err = Rules{}.Parse("", []byte(`{"schemaVersion":2,"mediaType":"`+DockerList+`","manifests":[{"digest":"`+one+`","size":1,"platform":{"os":"linux","Size":"x"}}]}`))
	if err != nil || m.MediaType != DockerList || !slices.Equal(m.Manifests, []digest.Digest{one}) || m.ArtifactType != "" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestAmbiguous: GHSA-qq97-vm5h-rrhg and its kin. Registry and clients must read the same in a document.
func TestAmbiguous(t *testing.T) {
	config := `"config":{"digest":"` + one + `","size":2}`
	for _, body := range []string{
		`{"schemaVersion":2,` + config + `,"mediaType":"` + OCIManifest + `","mediaType":"` + OCIManifest + `"}`,
		`{"schemaVersion":2,` + config + `,"MEDIATYPE":"` + OCIIndex + `"}`,
		`{"schemaVersion":2,` + config + `,"Layers":[]}`,
		`{"schemaVersion":2,"ſchemaVersion":2,` + config + `}`,
		`{"schemaVersion":2,"config":{"digest":"` + one + `","digest":"` + two + `","size":2}}`,
		`{"schemaVersion":2,"config":{"digest":"` + one + `","Digest":"` + two + `","size":2}}`,
		`{"schemaVersion":2,` + config + `,"annotations":{"a":"b","a":"c"}}`,
		`{"schemaVersion":2,` + config + `} {}`,
		`{"schemaVersion":2,` + config + `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
		strings.Repeat("[", 2_000_000),
	} {
		_, err := Rules{}.Parse(OCIManifest, []byte(body))
		var refused *InvalidError
		if !errors.As(err, &refused) {
			t.Errorf("%.120s: %v, want it refused", body, err)
		}
	}
}

func TestParseDigest(t *testing.T) {
	for _, good := range []string{one, string(digest.FromString("x")), "sha512:" + strings.Repeat("a", 128)} {
		if d, err := ParseDigest(good); err != nil || string(d) != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", ":", "sha256", "sha256:", one + "0", one[:70], strings.ToUpper(one), "sha384:" + strings.Repeat("a", 96), "sha512:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("g", 64), "sha256:../" + strings.Repeat("a", 61)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzParse: what is taken names all digests that an independent walk over the document finds in descriptors.
func FuzzParse(f *testing.F) {
	f.Add(OCIManifest, `{"schemaVersion":2,"config":{"digest":"`+one+`","size":2},"layers":[{"digest":"`+two+`","size":1}]}`)
	f.Add(OCIIndex, `{"schemaVersion":2,"manifests":[{"digest":"`+one+`","size":2}],"subject":{"digest":"`+two+`","size":1}}`)
	f.Add(DockerManifest, `{"schemaVersion":1}`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		m, err := Rules{}.Parse(contentType, []byte(body))
		if err != nil {
			return
		}
		var doc map[string]any
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatalf("took what is not an object: %v", err)
		}
		want := map[string]bool{}
		walk := func(v any) {
			if d, ok := v.(map[string]any); ok {
				want[fmt.Sprint(d["digest"])] = true
			}
		}
		walk(doc["config"])
		for _, list := range []string{"layers", "manifests"} {
			entries, _ := doc[list].([]any)
			for _, e := range entries {
				walk(e)
			}
		}
		got := map[string]bool{}
		for _, d := range slices.Concat(m.Blobs, m.Foreign, m.Manifests) {
			got[string(d)] = true
		}
		for d := range want {
			if !got[d] {
				t.Errorf("needs %s, which is not among %v", d, got)
			}
		}
	})
}
