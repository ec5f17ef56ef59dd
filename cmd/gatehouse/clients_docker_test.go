package main_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/testbench"
)

// newDocker returns the docker client of somebody who has not logged in.
func newDocker(t *testing.T) client {
	t.Helper()
	home := t.TempDir()
	env := []string{"DOCKER_CONFIG=" + home}
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return newClient(testbench.Docker(t), home, env...)
}

// removeImages removes images from the engine at the end of the test. Those
// that the test has not come to make are no matter.
func removeImages(t *testing.T, docker client, refs ...string) {
	t.Cleanup(func() {
		for _, ref := range refs {
			out, err := docker.execContext(context.Background(), "", []string{"image", "rm", "--force", ref})
			if err != nil && !strings.Contains(out, "No such image") {
				t.Errorf("image %s left behind: %v\n%s", ref, err, out)
			}
		}
	})
}

func testDocker(t *testing.T, l *lane) {
	docker := newDocker(t)
	image, other := testbench.Image{Seed: t.Name(), Size: 1 << 20}, testbench.Image{Seed: t.Name() + "/other"}
	ref, otherRef := l.ref("pub/docker", "v1"), l.ref("team/docker-other", "v1")
	removeImages(t, docker, ref, otherRef)

	docker.runWith(t, alicePassword, "login", l.host, "--username", alice, "--password-stdin")
	docker.run(t, "build", "--quiet", "--tag", ref, image.BuildContext(t))
	docker.run(t, "push", ref)
	docker.run(t, "image", "rm", ref)
	docker.run(t, "pull", ref)
	if got := docker.run(t, "run", "--rm", ref); got != image.Message() {
		t.Errorf("the pulled image prints %q, want %q", got, image.Message())
	}

	// The layer with the program is in the registry, in another repository.
	docker.run(t, "build", "--quiet", "--tag", otherRef, other.BuildContext(t))
	if out := docker.run(t, "push", otherRef); !strings.Contains(out, "Mounted from pub/docker") {
		t.Errorf("a layer that another repository holds was not mounted:\n%s", out)
	}
	docker.run(t, "push", otherRef)

	t.Run("wrong-password", func(t *testing.T) {
		newDocker(t).refusedWith(t, `unauthorized|401 Unauthorized`, "wrong", "login", l.host, "--username", alice, "--password-stdin")
	})
	t.Run("may-not-push", func(t *testing.T) {
		bobs := newDocker(t)
		bobs.runWith(t, bobPassword, "login", l.host, "--username", bob, "--password-stdin")
		bobs.run(t, "pull", ref)
		denied := l.ref("pub/docker-denied", "v1")
		removeImages(t, docker, denied)
		docker.run(t, "tag", ref, denied)
		bobs.refused(t, `denied|unauthorized`, "push", denied)
		l.assertPushRefused(t, "pub/docker-denied")
	})
	t.Run("unknown", func(t *testing.T) {
		docker.refused(t, `team/docker-unknown\S* not found`, "pull", l.ref("team/docker-unknown", "v1"))
		docker.refused(t, `manifest for \S+pub/docker:v9 not found`, "pull", l.ref("pub/docker", "v9"))
	})
	t.Run("unknown-and-not-allowed", func(t *testing.T) {
		bobs := newDocker(t)
		bobs.runWith(t, bobPassword, "login", l.host, "--username", bob, "--password-stdin")
		bobs.refused(t, `denied|unauthorized`, "pull", l.ref("secret/docker-unknown", "v1"))
		l.assertRefused(t, "secret/docker-unknown")
	})
	t.Run("logout", func(t *testing.T) {
		docker.run(t, "logout", l.host)
		docker.refused(t, `denied|unauthorized|authentication required`, "pull", l.ref("secret/docker-anonymous", "v1"))
		l.assertRefused(t, "secret/docker-anonymous")
	})
	t.Run("ca", func(t *testing.T) { testDockerCA(t, l) })
}

// testDockerCA has the engine verify the server's certificate. For localhost
// and 127.0.0.0/8 it does not. For ::1 older engines do, and they take no image
// names with it: hence a login.
func testDockerCA(t *testing.T, l *lane) {
	if os.Getuid() != 0 {
		testbench.Missing(t, "docker-ca", "only root may write to /etc/docker/certs.d")
	}
	six := startLane(t, l.program, "::1", "::1")
	docker := newDocker(t)
	login := []string{"login", six.host, "--username", alice, "--password-stdin"}

	// A newer engine takes ::1 for insecure-allowed too: then there is nothing to refuse.
	if out, err := docker.exec(t, alicePassword, login); err == nil {
		t.Logf("this engine does not verify certificates of %s", six.host)
	} else if !strings.Contains(out, "x509: certificate signed by unknown authority") {
		t.Errorf("without the CA: %v\n%s", err, out)
	}

	dir := filepath.Join("/etc/docker/certs.d", six.host)
	makeDirs(t, dir)
	ca, err := os.ReadFile(six.certs.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	docker.runWith(t, alicePassword, login...)
}

// makeDirs makes a directory and those above it. The cleanup removes, with all
// that is in them, the ones that were not there.
func makeDirs(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err == nil {
		return
	}
	makeDirs(t, filepath.Dir(dir))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("directory left behind: %v", err)
		}
	})
}

// TestClientsFirstImage does what somebody does who starts gatehouse for the
// first time: nothing but what the start page says.
func TestClientsFirstImage(t *testing.T) {
	docker := newDocker(t)
	data := filepath.Join(t.TempDir(), "data")
	addr := testbench.FreeAddr(t)
	server := testbench.Start(t, buildProgram(t), "serve", "--data", data, "--addr", addr)
	page := server.WaitOutput(`(?s)Password +(\S+).*--pull always (localhost:\d+/\S+)`)
	password, ref := page[1], page[2]
	removeImages(t, docker, ref)

	commands := regexp.MustCompile(`(?m)^ +docker (login|build|push) (.*)$`).FindAllStringSubmatch(page[0], -1)
	if len(commands) != 3 {
		t.Fatalf("the start page shows %d commands, want 3:\n%s", len(commands), page[0])
	}
	for _, c := range commands {
		args := append([]string{c[1]}, strings.Fields(c[2])...)
		if c[1] == "login" { // the password cannot be typed without a terminal
			docker.runWith(t, password, append(args, "--password-stdin")...)
			continue
		}
		docker.run(t, args...)
	}
	docker.run(t, "image", "rm", ref)
	if out := docker.run(t, "run", "--rm", "--pull", "always", ref); !strings.Contains(out, "gatehouse") {
		t.Errorf("the first image prints %q", out)
	}

	// Others than docker want the CA.
	ca := filepath.Join(data, "gatehouse", "ca", "ca.pem")
	curl := newClient(testbench.Tool(t, "curl"), t.TempDir())
	catalog := "https://" + strings.SplitN(ref, "/", 2)[0] + "/v2/_catalog"
	if got, want := curl.run(t, "--silent", "--cacert", ca, "--user", "admin:"+password, catalog), `{"repositories":["hello"]}`; strings.TrimSpace(got) != want {
		t.Errorf("the catalog is %s, want %s", got, want)
	}
	if err := server.Stop(); err != nil {
		t.Errorf("the server did not stop as it should: %v", err)
	}
}
