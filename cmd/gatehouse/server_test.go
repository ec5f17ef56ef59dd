package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// built is the programme, built once for all tests of this run as users get it: without the race detector.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "gatehouse")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// instance is a running gatehouse, and a client with a user's rights.
type instance struct {
	*testbench.Process
	t    testing.TB
	url  string
	data string // the embedded default's folder
	*http.Client
	user, password string
}

const (
	alice       = "alice"
	alicesWords = "correct horse battery staple"
)

// start runs the embedded default, with a user alice who may do everything. args are added to the command line, environ to
// the environment.
func start(t testing.TB, environ ...string) *instance {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	return startOn(t, data, environ...)
}

func startOn(t testing.TB, data string, environ ...string) *instance {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	addr := testbench.FreeAddr(t)
	environ = append([]string{
		`REGISTRY_TOKENSERVER_ACCESS=[{account: alice, repository: "**", actions: ["*"]}]`, "REGISTRY_LOG_LEVEL=warn",
	}, environ...)
	cmd := exec.Command(path, "serve", "--data", data, "--addr", addr)
	cmd.Env = append(os.Environ(), environ...)
	i := &instance{t: t, url: "https://" + addr, data: data, user: alice, password: alicesWords}
	add := exec.Command(path, "user", "add", alice, "--password-stdin", "--data", data)
	add.Stdin, add.Env = strings.NewReader(alicesWords), cmd.Env
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("add a user: %v\n%s", err, out)
	}
	i.Process = testbench.StartCmd(t, cmd)
	i.ready()
	return i
}

// ready waits until the server answers, and makes the client.
func (i *instance) ready() {
	i.t.Helper()
	testbench.Eventually(i.t, time.Minute, "the server answers", func() error {
		if i.Client == nil {
			ca := filepath.Join(i.data, "gatehouse", "ca", "ca.pem")
			if !fileExists(ca) {
				return errors.New("no CA yet")
			}
			i.Client = &http.Client{Transport: &http.Transport{
				TLSClientConfig: trust(func(err error) { fatal(i.t, err) }, ca), MaxIdleConnsPerHost: 64,
				WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
			}}
		}
		answer, err := i.Get(i.url + "/v2/")
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
}

// trust returns a configuration that trusts the CAs in a file.
func trust(check func(error), caFile string) *tls.Config {
	pem, err := os.ReadFile(caFile)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stream sends a request as the user and returns the answer, its body to be read and closed.
func (i *instance) stream(method, url string, body io.Reader, headers ...string) (*http.Response, error) {
	if strings.HasPrefix(url, "/") {
		url = i.url + url
	}
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(i.user, i.password)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return i.Do(r)
}

// do is stream with the body read.
func (i *instance) do(method, url string, body io.Reader, headers ...string) (*http.Response, []byte, error) {
	answer, err := i.stream(method, url, body, headers...)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer, b, err
}

// want sends a request that must be answered with status.
func (i *instance) want(status int, method, url string, body io.Reader, headers ...string) (*http.Response, []byte) {
	i.t.Helper()
	answer, b, err := i.do(method, url, body, headers...)
	fatal(i.t, err)
	if answer.StatusCode != status {
		i.t.Fatalf("%s %s: %s, want %d\n%s", method, url, answer.Status, status, b)
	}
	return answer, b
}

// location returns where an answer points to.
func (i *instance) location(answer *http.Response) string {
	i.t.Helper()
	u, err := answer.Location()
	fatal(i.t, err)
	return u.String()
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// pushBlob pushes a blob the way docker does: POST, PATCH, PUT.
func (i *instance) pushBlob(repo string, content []byte) digest.Digest {
	i.t.Helper()
	d := digest.FromBytes(content)
	begun, _ := i.want(202, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	patched, _ := i.want(202, "PATCH", i.location(begun), bytes.NewReader(content))
	i.want(201, "PUT", i.location(patched)+"&digest="+string(d), nil)
	return d
}

// manifestOf returns an image manifest of blobs that are pushed, the first of which is the config.
func manifestOf(blobs ...[]byte) []byte {
	var list []string
	for _, b := range blobs {
		list = append(list, fmt.Sprintf(`{"mediaType":"application/octet-stream","digest":%q,"size":%d}`, digest.FromBytes(b), len(b)))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, ociManifest, list[0], strings.Join(list[1:], ","))
}
