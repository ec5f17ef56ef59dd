package testbench

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// distributionTimeout bounds how long a registry may take to answer after a start.
const distributionTimeout = 60 * time.Second

// Distribution is a real registry of the distribution project, over a folder that
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
	return startDistribution(t, "docker-registry", root)
}

// StartRegistry3 is [StartRegistry2] for registry 3.
func StartRegistry3(t testing.TB, root string) *Distribution {
	t.Helper()
	return startDistribution(t, "registry", root)
}

func startDistribution(t testing.TB, name, root string) *Distribution {
	t.Helper()
	program, addr := Tool(t, name), FreeAddr(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	writeFile(t, config, fmt.Appendf(nil, `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: %q, secret: test}
`, root, addr), 0o600)
	cmd := exec.Command(program, "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
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
