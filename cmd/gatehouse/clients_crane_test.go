package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/testbench"
)

// newCrane returns the crane of somebody who has not logged in and who trusts
// the lane's CA. crane refuses realms on a loopback address other than the
// registry's own host: all of the lane is at one name and port.
func newCrane(t *testing.T, l *lane) client {
	t.Helper()
	home := t.TempDir()
	return newClient(testbench.Tool(t, "crane"), home, "DOCKER_CONFIG="+home, "SSL_CERT_FILE="+l.certs.CAFile)
}

// craneLogin stores a password; crane does not ask the registry whether it is
// right.
func craneLogin(t *testing.T, crane client, l *lane, account, password string) {
	t.Helper()
	crane.runWith(t, password, "auth", "login", l.host, "--username", account, "--password-stdin")
}

func testCrane(t *testing.T, l *lane) {
	crane := newCrane(t, l)
	craneLogin(t, crane, l, alice, alicePassword)
	image := testbench.Image{Seed: t.Name(), Size: 1 << 20}
	ref := l.ref("pub/crane", "v1")

	crane.run(t, "push", image.DockerArchive(t, "hello:v1"), ref)
	tarball := filepath.Join(t.TempDir(), "image.tar")
	crane.run(t, "pull", ref, tarball)
	crane.run(t, "push", tarball, l.ref("pub/crane", "again"))
	digest := line(crane.run(t, "digest", ref))
	if again := line(crane.run(t, "digest", l.ref("pub/crane", "again"))); again != digest {
		t.Errorf("what was pulled and pushed again has the digest %s, before it %s", again, digest)
	}
	crane.run(t, "validate", "--remote", ref)

	layout, want := image.Layout(t, "v1")
	crane.run(t, "push", layout, l.ref("pub/crane", "oci"))
	if got := line(crane.run(t, "digest", l.ref("pub/crane", "oci"))); got != want {
		t.Errorf("the layout %s was pushed as %s", want, got)
	}
	assertLines(t, crane.run(t, "ls", l.host+"/pub/crane"), "again", "oci", "v1")

	t.Run("index", func(t *testing.T) {
		layout, _ := testbench.Image{Seed: t.Name()}.Layout(t, "v1", "linux/amd64", "linux/arm64")
		from, to := l.ref("pub/crane-index", "v1"), l.ref("team/crane-index", "v1")
		crane.run(t, "push", "--index", layout, from)
		if out := crane.run(t, "copy", from, to); !strings.Contains(out, "mounted blob") {
			t.Errorf("nothing was mounted between repositories of one registry:\n%s", out)
		}
		crane.run(t, "validate", "--remote", to)
		if from, to := line(crane.run(t, "digest", from)), line(crane.run(t, "digest", to)); from != to {
			t.Errorf("%s was copied as %s", from, to)
		}
	})
	t.Run("catalog", func(t *testing.T) {
		repositories := strings.Fields(crane.run(t, "catalog", l.host))
		if !slices.Contains(repositories, "pub/crane") || !slices.IsSorted(repositories) {
			t.Errorf("the catalog is %q, want it sorted and with pub/crane", repositories)
		}
	})
	t.Run("delete", func(t *testing.T) {
		layout, digest := testbench.Image{Seed: t.Name()}.Layout(t, "v1")
		ref := l.ref("pub/crane-delete", "v1")
		crane.run(t, "push", layout, ref)
		crane.run(t, "delete", l.host+"/pub/crane-delete@"+digest)
		crane.refused(t, `MANIFEST_UNKNOWN|NAME_UNKNOWN`, "digest", ref)
	})
	t.Run("refused", func(t *testing.T) { testCraneRefused(t, l, crane, layout) })
}

func testCraneRefused(t *testing.T, l *lane, alices client, layout string) {
	bobs := newCrane(t, l)
	craneLogin(t, bobs, l, bob, bobPassword)
	bobs.run(t, "digest", l.ref("pub/crane", "v1"))

	wrong := newCrane(t, l)
	craneLogin(t, wrong, l, alice, "wrong")
	wrong.refused(t, `UNAUTHORIZED|401 Unauthorized`, "pull", l.ref("pub/crane", "v1"), os.DevNull)
	wrong.refused(t, `UNAUTHORIZED|401 Unauthorized`, "push", layout, l.ref("pub/crane-wrong", "v1"))
	bobs.refused(t, `UNAUTHORIZED|DENIED|401 Unauthorized`, "push", layout, l.ref("pub/crane-denied", "v1"))
	l.assertPushRefused(t, "pub/crane-denied")
	bobs.refused(t, `UNAUTHORIZED|DENIED|401 Unauthorized`, "manifest", l.ref("secret/crane", "v1"))
	l.assertRefused(t, "secret/crane")
	bobs.refused(t, `UNAUTHORIZED|DENIED|401 Unauthorized`, "catalog", l.host)
	newCrane(t, l).refused(t, `UNAUTHORIZED|DENIED|401 Unauthorized`, "manifest", l.ref("secret/crane-anonymous", "v1"))
	l.assertRefused(t, "secret/crane-anonymous")
	alices.refused(t, `NAME_UNKNOWN|MANIFEST_UNKNOWN`, "manifest", l.ref("team/crane-unknown", "v1"))

	stranger := newCrane(t, l)
	stranger.env = append(stranger.env, "SSL_CERT_FILE="+testbench.NewCertificate(t).CAFile)
	stranger.refused(t, `certificate signed by unknown authority`, "manifest", l.ref("pub/crane", "v1"))
}

// line is the last line of a client's output; crane writes warnings before it.
func line(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// assertLines checks that out is these lines, in this order.
func assertLines(t *testing.T, out string, want ...string) {
	t.Helper()
	if got := strings.Fields(out); !slices.Equal(got, want) {
		t.Errorf("got the lines %q, want %q", got, want)
	}
}
