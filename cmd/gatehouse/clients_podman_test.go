package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gatehouse/testbench"
)

// newPodman returns the podman of somebody who has not logged in. Its images,
// its state and its settings are its own, in a directory with a short name:
// podman keeps sockets there.
func newPodman(t *testing.T) client {
	t.Helper()
	path := testbench.Tool(t, "podman")
	home, err := os.MkdirTemp("", "podman")
	if err != nil {
		t.Fatal(err)
	}
	storage := writeClientFile(t, home, "storage.conf", fmt.Sprintf(
		"[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", home+"/root", home+"/run"))
	engine := fmt.Sprintf("cgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\ntmp_dir = %q\n", home+"/tmp")
	if _, err := exec.LookPath("runc"); err == nil {
		engine += "runtime = \"runc\"\n" // docker's, which runs wherever docker does; crun is choosy about cgroups
	}
	containers := writeClientFile(t, home, "containers.conf", fmt.Sprintf(
		"[containers]\nnetns = \"none\"\n[engine]\n%s[network]\nnetwork_config_dir = %q\n", engine, home+"/net"))
	registries := writeClientFile(t, home, "registries.conf", "unqualified-search-registries = []\n")
	podman := newClient(path, home,
		"XDG_RUNTIME_DIR="+home,
		"XDG_CONFIG_HOME="+home,
		"CONTAINERS_STORAGE_CONF="+storage,
		"CONTAINERS_CONF="+containers,
		"CONTAINERS_REGISTRIES_CONF="+registries,
		"REGISTRY_AUTH_FILE="+writeClientFile(t, home, "auth.json", "{}")) // which it wants to be there
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("podman's storage left behind: %v", err)
		}
	})
	if out, err := podman.exec(t, "", []string{"info"}); err != nil {
		testbench.Missing(t, "podman", "it does not work for this user: "+out)
	}
	return podman
}

func podmanLogin(l *lane, account string) []string {
	return []string{"login", "--cert-dir", l.certs.CADir, "--username", account, "--password-stdin", l.host}
}

func testPodman(t *testing.T, l *lane) {
	podman := newPodman(t)
	ca := l.certs.CADir
	image := testbench.Image{Seed: t.Name(), Size: 1 << 20}
	ref := l.ref("pub/podman", "v1")
	podman.runWith(t, alicePassword, podmanLogin(l, alice)...)
	podman.run(t, "load", "--input", image.DockerArchive(t, ref))
	podman.run(t, "push", "--cert-dir", ca, ref)
	podman.run(t, "rmi", ref)
	podman.run(t, "pull", "--cert-dir", ca, ref)
	// The default limits may be above the machine's own, which runc refuses.
	if got := podman.run(t, "run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", ref); got != image.Message() {
		t.Errorf("the pulled image prints %q, want %q", got, image.Message())
	}
	podman.run(t, "push", "--cert-dir", ca, "--format", "oci", ref, l.ref("pub/podman", "oci"))
	search := podman // which has no --cert-dir
	search.env = append(slices.Clip(search.env), "SSL_CERT_FILE="+l.certs.CAFile)
	if out := search.run(t, "search", "--list-tags", l.host+"/pub/podman"); !strings.Contains(out, "oci") || !strings.Contains(out, "v1") {
		t.Errorf("search --list-tags shows\n%s", out)
	}

	t.Run("refused", func(t *testing.T) {
		bobs := newPodman(t)
		bobs.runWith(t, bobPassword, podmanLogin(l, bob)...)
		bobs.run(t, "pull", "--cert-dir", ca, ref)

		newPodman(t).refusedWith(t, `invalid username/password`, "wrong", podmanLogin(l, alice)...)
		bobs.refused(t, `denied|unauthorized|invalid username/password`, "push", "--cert-dir", ca, ref, l.ref("pub/podman-denied", "v1"))
		l.assertPushRefused(t, "pub/podman-denied")
		bobs.refused(t, `denied|unauthorized`, "pull", "--cert-dir", ca, l.ref("secret/podman", "v1"))
		l.assertRefused(t, "secret/podman")
		podman.refused(t, `name not known to registry`, "pull", "--cert-dir", ca, l.ref("team/podman-unknown", "v1"))
		podman.refused(t, `manifest unknown`, "pull", "--cert-dir", ca, l.ref("pub/podman", "v9"))
		podman.refused(t, `certificate signed by unknown authority`, "pull", ref)
		podman.run(t, "logout", l.host)
		podman.refused(t, `denied|unauthorized`, "pull", "--cert-dir", ca, l.ref("secret/podman-anonymous", "v1"))
		l.assertRefused(t, "secret/podman-anonymous")
	})
}
