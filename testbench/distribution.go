package testbench

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// distributionTimeout bounds how long a registry may take to answer after a start.
const distributionTimeout = 60 * time.Second

// Distribution is a real registry of the distribution project, over storage that
// outlives it, with plain HTTP on loopback, without authentication, and with
// deletion allowed. The cleanup ends it.
type Distribution struct {
	*Process
	URL string // "http://127.0.0.1:PORT"
}

// StartRegistry2 runs registry 2.8, which Debian packages as docker-registry, on
// the tree in root, and returns when it answers.
func StartRegistry2(t testing.TB, root string) *Distribution {
	t.Helper()
	return startDistribution(t, "docker-registry", folder(root))
}

// StartRegistry3 is [StartRegistry2] for registry 3.
func StartRegistry3(t testing.TB, root string) *Distribution {
	t.Helper()
	return startDistribution(t, "registry", folder(root))
}

// StartRegistry2OnS3 is [StartRegistry2] on a bucket, as [S3.Settings] describes it.
func StartRegistry2OnS3(t testing.TB, settings string) *Distribution {
	t.Helper()
	return startDistribution(t, "docker-registry", "s3: "+settings)
}

// StartRegistry3OnS3 is [StartRegistry2OnS3] for registry 3.
func StartRegistry3OnS3(t testing.TB, settings string) *Distribution {
	t.Helper()
	return startDistribution(t, "registry", "s3: "+settings)
}

// folder is the storage of a tree in a folder.
func folder(root string) string { return fmt.Sprintf("filesystem: {rootdirectory: %q}", root) }

// startDistribution starts a registry with a driver and its settings, in YAML.
func startDistribution(t testing.TB, name, storage string) *Distribution {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yml")
	writeFile(t, config, fmt.Appendf(nil, `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  %s
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: ":0", secret: test}
`, storage), 0o600)
	return runDistribution(t, name, config)
}

// StartRegistry3On runs registry 3 on a configuration without TLS, whose address a variable overrides, as environ may
// override other keys, and returns when it answers anything.
func StartRegistry3On(t testing.TB, config string, environ ...string) *Distribution {
	t.Helper()
	return runDistribution(t, "registry", config, environ...)
}

// StartDistribution is [StartRegistry3On] for a program by its name in the table of tools.sh: docker-registry, registry-3.0 or
// registry. It answers plain HTTP with 400 where the configuration has TLS, and counts as started then; URL begins with http all the same.
func StartDistribution(t testing.TB, name, config string, environ ...string) *Distribution {
	t.Helper()
	return runDistribution(t, name, config, environ...)
}

func runDistribution(t testing.TB, name, config string, environ ...string) *Distribution {
	t.Helper()
	program, addr := Tool(t, name), FreeAddr(t)
	cmd := exec.Command(program, "serve", config)
	// What a machine has set for other users of S3 is not for this one; registry 2.8 does not start with AWS_CA_BUNDLE.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	cmd.Env = append(append(cmd.Env, "OTEL_TRACES_EXPORTER=none", "REGISTRY_HTTP_ADDR="+addr), environ...)
	d := &Distribution{Process: StartCmd(t, cmd), URL: "http://" + addr}
	Eventually(t, distributionTimeout, name+" answers", func() error {
		if d.isOver() {
			t.Fatalf("%s exited: %v", name, d.waitError())
		}
		answer, err := http.Get(d.URL + "/v2/")
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
	return d
}
