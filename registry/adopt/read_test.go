package adopt

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

func TestOddities(t *testing.T) {
	d := inmemory.New()
	p, ctx := planter{t, d}, t.Context()
	good := p.image("a", "good", "v1")
	folder := tree.Repository("a")
	other := digest.FromString("other")
	hex := digest.FromString("no bytes").Encoded()

	empty := p.blob("a", "empty link")
	p.file(tree.Layer("a", empty), "")
	newline := p.blob("a", "newline")
	p.file(tree.Layer("a", newline), string(newline)+"\r\n")
	wrong := p.blob("a", "wrong")
	p.file(tree.Layer("a", wrong), string(other))
	p.file(folder+"/_layers/sha256/"+hex+"/link", "sha256:"+hex)
	p.file(folder+"/_layers/sha256/nothex/link", "x")
	p.file(folder+"/_layers/tarsum.v1/sha256/aa/link", "x")
	p.file(folder+"/_layers/sha256/"+good.Encoded()+"/link/link", "x") // a folder where a file belongs
	p.file(tree.Blob(good), "")                                        // and restored below
	p.manifest("a", "", "empty")                                       // an empty document
	p.image("a", "good", "v1")
	schema1 := p.manifest("a", `{"schemaVersion":1}`, "old")
	p.file(path.Dir(tree.Revision("a", schema1))+"/signatures/sha256/aa/link", "x")
	p.manifest("a", `{"schemaVersion":2,"mediaType":"application/vnd.cncf.notary"}`)
	huge := p.manifest("a", strings.Repeat(" ", 4<<20)+"{}")
	damaged := p.image("a", "damaged", "damaged")
	p.file(tree.Blob(damaged), "{}")
	garbage := p.image("a", "garbage", "garbage")
	p.file(tree.TagCurrent("a", "garbage"), "not a digest") // its index says what it is
	ok(t, d.Delete(ctx, tree.TagCurrent("a", "v1")))
	p.image("a", "good", "again")
	p.file(folder+"/_manifests/tags/file", "x")
	p.file(folder+"/_manifests/tags/-bad/current/link", string(good))
	p.file(folder+"/_manifests/else", "x")
	p.file(folder+"/file", "x")
	p.file(folder+"/_odd/file", "x")
	p.file(folder+"/x.tmp", "x")

	in, present, err := Read(ctx, d, "a")
	if err != nil || !present {
		t.Fatalf("present %v, %v", present, err)
	}
	got := map[string]string{}
	for _, f := range in.Findings {
		got[strings.TrimPrefix(f.Path, folder+"/")] += f.Kind + ";"
	}
	at := func(name string) string { return strings.TrimPrefix(name, folder+"/") }
	want := map[string]string{
		at(tree.Layer("a", empty)):                                KindEmptyLink + ";",
		at(tree.Layer("a", newline)):                              KindWhitespace + ";",
		at(tree.Layer("a", wrong)):                                KindBadLink + ";",
		"_layers/sha256/" + hex + "/link":                         KindMissing + ";",
		"_layers/sha256/nothex":                                   KindForeign + ";",
		"_layers/tarsum.v1":                                       KindForeign + ";",
		"_layers/sha256/" + good.Encoded() + "/link":              KindBadLink + ";",
		at(tree.Revision("a", digest.FromString(""))):             KindUnreadable + ";",
		at(tree.Revision("a", schema1)):                           KindSchema1 + ";",
		path.Dir(at(tree.Revision("a", schema1))) + "/signatures": KindSignatures + ";",
		at(tree.Revision("a", huge)):                              KindUnreadable + ";",
		at(tree.Revision("a", damaged)):                           KindDamaged + ";",
		at(tree.Revision("a", digest.FromString(`{"schemaVersion":2,"mediaType":"application/vnd.cncf.notary"}`))): KindUnreadable + ";",
		at(tree.TagCurrent("a", "garbage")): KindBadLink + ";",
		"_manifests/tags/v1":                KindNoTarget + ";",
		"_manifests/tags/empty":             KindNoTarget + ";",
		"_manifests/tags/old":               KindNoTarget + ";",
		"_manifests/tags/damaged":           KindNoTarget + ";",
		"_manifests/tags/file":              KindForeign + ";",
		"_manifests/tags/-bad":              KindUnknownName + ";",
		"_manifests/else":                   KindForeign + ";",
		"file":                              KindForeign + ";",
		"_odd":                              KindForeign + ";",
		"x.tmp":                             KindTemporary + ";",
	}
	for name, kinds := range want {
		if got[name] != kinds {
			t.Errorf("%s: %q, want %q", name, got[name], kinds)
		}
	}
	for name, kinds := range got {
		if want[name] == "" {
			t.Errorf("%s: %q, want nothing", name, kinds)
		}
	}
	var served []string
	for _, tag := range in.Tags {
		served = append(served, tag.Name+" "+string(tag.Digest))
	}
	if want := []string{"again " + string(good), "garbage " + string(garbage)}; !slices.Equal(served, want) {
		t.Errorf("tags %v, want %v", served, want)
	}
	for _, d := range []digest.Digest{empty, newline, wrong} {
		if !slices.ContainsFunc(in.Links, func(l index.ImportedLink) bool { return l.Digest == d && l.At == "" }) {
			t.Errorf("the blob %s, whose bytes are there, is not served", d)
		}
	}
}

func TestWalk(t *testing.T) {
	d := inmemory.New()
	p := planter{t, d}
	for _, repo := range []string{"b", "a", "a/b/c", "Upper/x", strings.Repeat("long/", 51) + "x"} {
		p.image(repo, "x")
	}
	p.file(tree.Repositories+"/file", "x")
	p.file(tree.Repositories+"/folder/file", "x")
	p.file(tree.Repositories+"/_odd/file", "x")
	p.file(tree.Repositories+"/uploads/_uploads/x/data", "x") // no repository, and nothing odd
	var found, odd []string
	ok(t, Walk(t.Context(), d, func(repo string) error {
		found = append(found, repo)
		return nil
	}, func(f index.Finding) { odd = append(odd, strings.TrimPrefix(f.Path, tree.Repositories+"/")) }))
	if want := []string{"a", "a/b/c", "b"}; !slices.Equal(found, want) {
		t.Errorf("repositories %v, want %v", found, want)
	}
	slices.Sort(odd)
	if want := []string{"Upper/x", "_odd", "file", "folder/file", strings.Repeat("long/", 51) + "x"}; !slices.Equal(odd, want) {
		t.Errorf("odd %v, want %v", odd, want)
	}
}

func TestParse(t *testing.T) {
	const config = `"config":{"mediaType":"c","digest":"sha256:2222222222222222222222222222222222222222222222222222222222222222"}`
	for document, want := range map[string]string{ // the media type, or "" for what is not served
		`{` + oci + `,` + config + `}`:                                                                               "application/vnd.oci.image.manifest.v1+json",
		`{"schemaVersion":2,` + config + `,"layers":[]}`:                                                             "application/vnd.oci.image.manifest.v1+json",
		`{"schemaVersion":2,"manifests":[{"digest":"sha256:` + strings.Repeat("1", 64) + `"}]}`:                      "application/vnd.oci.image.index.v1+json",
		`{"schemaVersion":2,"schemaVersion":2,` + oci + `,` + config + `}`:                                           "application/vnd.oci.image.manifest.v1+json",
		`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}`: "application/vnd.docker.distribution.manifest.list.v2+json",
		`{` + oci + `}`:                                        "",
		`{"schemaVersion":1,"fsLayers":[]}`:                    "",
		`{"schemaVersion":3,` + config + `}`:                   "",
		`{"schemaVersion":2,"mediaType":"x/y"}`:                "",
		`{"schemaVersion":2,"manifests":[{"digest":"md5:x"}]}`: "",
		``:     "",
		`[]`:   "",
		`null`: "",
	} {
		m, err := parse("sha256:x", []byte(document))
		if err != nil {
			m.MediaType = ""
		}
		if m.MediaType != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", document, m.MediaType, err, want)
		}
	}
}

// FuzzLink: whatever a link file holds, it is read as a digest that can be a path, or not at all.
func FuzzLink(f *testing.F) {
	for _, s := range []string{"", "\n", "sha256:", "sha256:" + strings.Repeat("0", 64) + "\n", "sha512:" + strings.Repeat("f", 128), "md5:..", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		d := inmemory.New()
		ok(t, d.WriteFile(t.Context(), "link", content))
		l, said := link{path: "link"}, 0
		ok(t, readLink(t.Context(), d, &l, func(string, string, string) { said++ }))
		if l.holds != "" && (!driver.ValidPath(tree.Blob(l.holds)) || !bytes.Contains(content, []byte(l.holds))) {
			t.Errorf("%q holds %q", content, l.holds)
		}
		if exact := string(l.holds) == string(content) && l.holds != ""; exact == (said > 0) {
			t.Errorf("%q: %d findings", content, said)
		}
	})
}
