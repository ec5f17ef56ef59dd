package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatehouse/testbench"
)

// writeClientFile writes a file of a client's settings into its home.
func writeClientFile(t *testing.T, home, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(home, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newSkopeo returns the skopeo of somebody who has not logged in.
func newSkopeo(t *testing.T) skopeo {
	t.Helper()
	home := t.TempDir()
	policy := writeClientFile(t, home, "policy.json", `{"default": [{"type": "insecureAcceptAnything"}]}`)
	registries := writeClientFile(t, home, "registries.conf", "unqualified-search-registries = []\n")
	c := newClient(testbench.Tool(t, "skopeo"), home,
		"REGISTRY_AUTH_FILE="+filepath.Join(home, "auth.json"),
		"CONTAINERS_REGISTRIES_CONF="+registries,
		// What it remembers of blobs is its own, also for root: else it sends, in place of a layer, one that another test compressed.
		"_CONTAINERS_ROOTLESS_UID=1", "XDG_DATA_HOME="+home)
	return skopeo{c, policy}
}

// skopeo is the client with the option that each of its verbs wants first.
type skopeo struct {
	client
	policy string
}

func (s skopeo) with(args []string) []string {
	return append([]string{"--policy", s.policy}, args...)
}

func (s skopeo) run(t *testing.T, args ...string) string {
	t.Helper()
	return s.client.run(t, s.with(args)...)
}

func (s skopeo) refused(t *testing.T, want string, args ...string) {
	t.Helper()
	s.client.refused(t, want, s.with(args)...)
}

func (s skopeo) login(t *testing.T, l *lane, account, password string) {
	t.Helper()
	s.runWith(t, password, "login", "--cert-dir", l.certs.CADir, "--username", account, "--password-stdin", l.host)
}

func testSkopeo(t *testing.T, l *lane) {
	skopeo := newSkopeo(t)
	skopeo.login(t, l, alice, alicePassword)
	toRegistry := func(args ...string) []string {
		return append([]string{"copy", "--dest-cert-dir", l.certs.CADir}, args...)
	}
	image := testbench.Image{Seed: t.Name(), Size: 1 << 20}
	layout, digest := image.Layout(t, "v1")
	ref := "docker://" + l.ref("pub/skopeo", "v1")
	skopeo.run(t, toRegistry("oci:"+layout+":v1", ref)...)

	var inspected struct {
		Digest   string
		RepoTags []string
	}
	if err := json.Unmarshal([]byte(skopeo.run(t, "inspect", "--cert-dir", l.certs.CADir, ref)), &inspected); err != nil {
		t.Fatal(err)
	}
	if inspected.Digest != digest || !slices.Equal(inspected.RepoTags, []string{"v1"}) {
		t.Errorf("inspect shows %+v, want digest %s and tag v1", inspected, digest)
	}

	archive := image.DockerArchive(t, "hello:v1")
	skopeo.run(t, toRegistry("docker-archive:"+archive, "docker://"+l.ref("pub/skopeo", "archive"))...)
	skopeo.run(t, toRegistry("--format", "v2s2", "oci:"+layout+":v1", "docker://"+l.ref("pub/skopeo", "docker"))...)
	assertSkopeoTags(t, skopeo, l, "pub/skopeo", "archive", "docker", "v1")

	t.Run("index", func(t *testing.T) { testSkopeoIndex(t, l, skopeo) })
	t.Run("delete", func(t *testing.T) {
		for _, tag := range []string{"keep", "drop"} {
			layout, _ := testbench.Image{Seed: t.Name() + tag}.Layout(t, tag)
			skopeo.run(t, toRegistry("oci:"+layout+":"+tag, "docker://"+l.ref("pub/skopeo-delete", tag))...)
		}
		skopeo.run(t, "delete", "--tls-verify", "--cert-dir", l.certs.CADir, "docker://"+l.ref("pub/skopeo-delete", "drop"))
		assertSkopeoTags(t, skopeo, l, "pub/skopeo-delete", "keep")
	})
	t.Run("refused", func(t *testing.T) { testSkopeoRefused(t, l, skopeo, layout) })
}

// testSkopeoIndex copies an image for two platforms there, within and back.
func testSkopeoIndex(t *testing.T, l *lane, skopeo skopeo) {
	layout, _ := testbench.Image{Seed: t.Name()}.Layout(t, "v1", "linux/amd64", "linux/arm64")
	ca, back := l.certs.CADir, t.TempDir()
	there, within := "docker://"+l.ref("pub/skopeo-index", "v1"), "docker://"+l.ref("team/skopeo-index", "v1")
	skopeo.run(t, "copy", "--all", "--dest-cert-dir", ca, "oci:"+layout+":v1", there)
	skopeo.run(t, "copy", "--all", "--src-cert-dir", ca, "--dest-cert-dir", ca, there, within)
	skopeo.run(t, "copy", "--all", "--src-cert-dir", ca, within, "oci:"+back+":v1")
	before, after := filepath.Join(layout, "blobs", "sha256"), filepath.Join(back, "blobs", "sha256")
	names, err := os.ReadDir(before)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join(before, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(after, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("blob %s came back with other bytes", name.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(back, "index.json")); err != nil || len(names) == 0 {
		t.Errorf("%d blobs copied: %v", len(names), err)
	}
}

func assertSkopeoTags(t *testing.T, skopeo skopeo, l *lane, repository string, want ...string) {
	t.Helper()
	var listed struct{ Tags []string }
	out := skopeo.run(t, "list-tags", "--cert-dir", l.certs.CADir, "docker://"+l.host+"/"+repository)
	if err := json.Unmarshal([]byte(out), &listed); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(listed.Tags, want) {
		t.Errorf("%s has the tags %q, want %q", repository, listed.Tags, want)
	}
}

func testSkopeoRefused(t *testing.T, l *lane, alices skopeo, layout string) {
	ca := l.certs.CADir
	bobs := newSkopeo(t)
	bobs.login(t, l, bob, bobPassword)
	bobs.run(t, "inspect", "--cert-dir", ca, "docker://"+l.ref("pub/skopeo", "v1"))

	newSkopeo(t).refusedWith(t, `invalid username/password`, "wrong",
		"login", "--cert-dir", ca, "--username", alice, "--password-stdin", l.host)
	bobs.refused(t, `denied|unauthorized|invalid username/password`,
		"copy", "--dest-cert-dir", ca, "oci:"+layout+":v1", "docker://"+l.ref("pub/skopeo-denied", "v1"))
	l.assertPushRefused(t, "pub/skopeo-denied")
	bobs.refused(t, `denied|unauthorized`, "inspect", "--cert-dir", ca, "docker://"+l.ref("secret/skopeo", "v1"))
	l.assertRefused(t, "secret/skopeo")
	newSkopeo(t).refused(t, `denied|unauthorized`, "inspect", "--cert-dir", ca, "docker://"+l.ref("pub/skopeo", "v1"))
	alices.refused(t, `name not known to registry`, "inspect", "--cert-dir", ca, "docker://"+l.ref("team/skopeo-unknown", "v1"))
	alices.refused(t, `manifest unknown`, "inspect", "--cert-dir", ca, "docker://"+l.ref("pub/skopeo", "v9"))
	alices.refused(t, `certificate signed by unknown authority`, "inspect", "docker://"+l.ref("pub/skopeo", "v1"))
}
