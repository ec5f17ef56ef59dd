package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/testbench"
)

// closedMessage is what the rule about closed/** has to say, as far as clients show it.
const closedMessage = `closed for the audit: ask ops`

// testRights is what each client makes of rights that differ from repository to repository: pulls without a login, one
// command that pulls here and pushes there, and a rule that says why.
func testRights(t *testing.T, l *lane) {
	crane := newCrane(t, l)
	craneLogin(t, crane, l, alice, alicePassword)
	for _, place := range []string{"open", "pub", "secret"} {
		layout, _ := testbench.Image{Seed: t.Name() + place, Size: 1 << 16}.Layout(t, "v1")
		crane.run(t, "push", layout, l.ref(place+"/rights", "v1"))
	}
	for name, test := range map[string]func(*testing.T, *lane){
		"crane": craneRights, "skopeo": skopeoRights, "podman": podmanRights, "docker": dockerRights,
	} {
		t.Run(name, func(t *testing.T) { test(t, l) })
	}
	resp, body := l.do(t, "GET", "/v2/open/rights/manifests/v1", anonymous)
	if resp.StatusCode != 401 {
		t.Errorf("what everybody may pull is served without a token, and so without a challenge to log in by: %d %s", resp.StatusCode, body)
	}
}

func craneRights(t *testing.T, l *lane) {
	tarball := filepath.Join(t.TempDir(), "image.tar")
	nobody := newCrane(t, l)
	nobody.run(t, "pull", l.ref("open/rights", "v1"), tarball)
	nobody.refused(t, `UNAUTHORIZED|DENIED`, "push", tarball, l.ref("open/rights-crane", "v1"))
	nobody.refused(t, `UNAUTHORIZED|DENIED`, "pull", l.ref("pub/rights", "v1"), os.DevNull)

	bobs := newCrane(t, l)
	craneLogin(t, bobs, l, bob, bobPassword)
	bobs.run(t, "pull", l.ref("open/rights", "v1"), tarball)
	if out := bobs.run(t, "copy", l.ref("pub/rights", "v1"), l.ref("bob/rights-crane", "v1")); !strings.Contains(out, "mounted blob") {
		t.Errorf("nothing was mounted from a repository that may be pulled from:\n%s", out)
	}
	bobs.run(t, "validate", "--remote", l.ref("bob/rights-crane", "v1"))
	bobs.refused(t, `UNAUTHORIZED|DENIED`, "copy", l.ref("secret/rights", "v1"), l.ref("bob/rights-crane", "v2"))
	bobs.refused(t, `UNAUTHORIZED|DENIED`, "copy", l.ref("pub/rights", "v1"), l.ref("pub/rights-crane", "v1"))
	bobs.refused(t, `401 Unauthorized`, "push", tarball, l.ref("closed/rights-crane", "v1")) // it asks with HEAD first: no body
	bobs.refused(t, closedMessage, "pull", l.ref("closed/rights-crane", "v1"), os.DevNull)
	bobs.run(t, "auth", "logout", l.host)
	bobs.refused(t, `UNAUTHORIZED|DENIED`, "digest", l.ref("pub/rights", "v1"))
	bobs.run(t, "digest", l.ref("open/rights", "v1"))
}

func skopeoRights(t *testing.T, l *lane) {
	layout := "oci:" + t.TempDir() + ":v1"
	image := func(repository string) string { return "docker://" + l.ref(repository, "v1") }
	copied := func(from, to string) []string {
		return []string{"copy", "--src-cert-dir", l.certs.CADir, "--dest-cert-dir", l.certs.CADir, from, to}
	}
	nobody := newSkopeo(t)
	nobody.run(t, copied(image("open/rights"), layout)...)
	nobody.refused(t, `denied|unauthorized`, copied(layout, image("open/rights-skopeo"))...)
	nobody.refused(t, `denied|unauthorized`, copied(image("pub/rights"), layout)...)

	bobs := newSkopeo(t)
	bobs.login(t, l, bob, bobPassword)
	bobs.run(t, copied(image("open/rights"), layout)...)
	bobs.run(t, copied(image("pub/rights"), image("bob/rights-skopeo"))...)
	bobs.refused(t, `denied|unauthorized`, copied(image("secret/rights"), image("bob/rights-skopeo-2"))...)
	bobs.refused(t, `denied|unauthorized`, copied(image("pub/rights"), image("pub/rights-skopeo"))...)
	bobs.refused(t, closedMessage, copied(layout, image("closed/rights-skopeo"))...)
	bobs.run(t, "logout", l.host)
	bobs.refused(t, `denied|unauthorized`, copied(image("pub/rights"), layout)...)
	bobs.run(t, copied(image("open/rights"), layout)...)
}

func podmanRights(t *testing.T, l *lane) {
	podman := newPodman(t)
	open, pub := l.ref("open/rights", "v1"), l.ref("pub/rights", "v1")
	pull := []string{"pull", "--cert-dir", l.certs.CADir}
	push := []string{"push", "--cert-dir", l.certs.CADir}
	podman.run(t, append(pull, open)...)
	podman.refused(t, `denied|unauthorized`, append(push, open, l.ref("open/rights-podman", "v1"))...)
	podman.refused(t, `denied|unauthorized`, append(pull, pub)...)

	podman.runWith(t, bobPassword, podmanLogin(l, bob)...)
	podman.run(t, append(pull, open, pub)...)
	podman.run(t, append(push, pub, l.ref("bob/rights-podman", "v1"))...)
	podman.refused(t, `denied|unauthorized`, append(pull, open, l.ref("secret/rights", "v1"))...)
	podman.refused(t, closedMessage, append(push, open, l.ref("closed/rights-podman", "v1"))...)
	podman.run(t, "logout", l.host)
	podman.refused(t, `denied|unauthorized`, append(pull, pub)...)
	podman.run(t, append(pull, open)...)
}

func dockerRights(t *testing.T, l *lane) {
	docker := newDocker(t)
	open, pub, bobs := l.ref("open/rights", "v1"), l.ref("pub/rights", "v1"), l.ref("bob/rights-docker", "v1")
	foreign, closed := l.ref("open/rights-docker", "v1"), l.ref("closed/rights-docker", "v1")
	removeImages(t, docker, open, pub, bobs, foreign, closed)
	docker.run(t, "pull", open)
	docker.run(t, "tag", open, foreign)
	docker.refused(t, `denied|unauthorized`, "push", foreign)
	docker.refused(t, `denied|unauthorized`, "pull", pub)

	docker.runWith(t, bobPassword, "login", l.host, "--username", bob, "--password-stdin")
	docker.run(t, "pull", pub)
	docker.run(t, "tag", pub, bobs)
	if out := docker.run(t, "push", bobs); !strings.Contains(out, "Mounted from pub/rights") {
		t.Errorf("a layer of a repository that may be pulled from was not mounted:\n%s", out)
	}
	docker.refused(t, `denied|unauthorized`, "push", foreign)
	docker.refused(t, `denied|unauthorized`, "pull", l.ref("secret/rights", "v1"))
	docker.run(t, "tag", pub, closed)
	docker.refused(t, closedMessage, "push", closed)
	docker.run(t, "logout", l.host)
	docker.refused(t, `denied|unauthorized`, "pull", pub)
	docker.run(t, "pull", open)
}
