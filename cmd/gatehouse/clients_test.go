package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

// Who works in the client lane. The colon and the letter beyond ASCII are what
// Basic authentication is most often broken by.
const (
	alice         = "alice" // may do everything
	alicePassword = "correct horse: bättery"
	bob           = "bob" // may pull from pub/**, and pull and push in bob/**; everybody may pull from open/**
	bobPassword   = "staple"
)

// TestClients is the client lane: the clients that people use, against the real
// program, through TLS and tokens. What a client lacks is a named skip.
//
// Each subtest has repositories of its own, so that they run side by side and
// the access log tells whose request was whose.
func TestClients(t *testing.T) {
	l := startLane(t, buildProgram(t), "127.0.0.1", "localhost")
	for name, test := range map[string]func(*testing.T, *lane){
		"docker":    testDocker,
		"skopeo":    testSkopeo,
		"podman":    testPodman,
		"crane":     testCrane,
		"curl":      testCurl,
		"challenge": testChallenges,
		"rights":    testRights,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, l)
		})
	}
}

// lane is a running gatehouse and what its clients must know.
type lane struct {
	program string // the binary
	server  *testbench.Process
	host    string // host:port as clients say it
	certs   testbench.Certificate
}

// startLane starts the program with a configuration file, TLS and two users. It
// listens on the loopback address ip, and clients call that name. The cleanup
// looks at how the server took it all.
func startLane(t *testing.T, program, ip, name string) *lane {
	t.Helper()
	return startLaneOn(t, program, ip, name, fmt.Sprintf("filesystem: {rootdirectory: %q}", t.TempDir()))
}

// startLaneOn is startLane with the lines of the section storage that choose a
// driver.
func startLaneOn(t *testing.T, program, ip, name string, storage ...string) *lane {
	t.Helper()
	port := strconv.Itoa(testbench.FreePort(t))
	l := &lane{
		program: program,
		host:    net.JoinHostPort(name, port),
		certs:   testbench.NewCertificate(t, name),
	}
	config := l.configure(t, net.JoinHostPort(ip, port), storage)
	addUser(t, program, config, alice, alicePassword)
	addUser(t, program, config, bob, bobPassword)

	l.server = testbench.Start(t, program, "serve", config)
	t.Cleanup(func() { l.finish(t) })
	l.awaitServing(t)
	return l
}

// configure writes the configuration of a server that listens on addr.
func (l *lane) configure(t *testing.T, addr string, storage []string) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(`version: 0.1
log:
  formatter: json
storage:
  %[5]s
  delete:
    enabled: true
http:
  addr: '%[2]s'
  tls:
    certificate: %[3]s
    key: %[4]s
auth:
  htpasswd:
    realm: gatehouse
    path: %[1]s/htpasswd
tokenserver:
  access:
    - {account: alice, repository: "**", actions: ["*"]}
    - {account: bob, repository: "pub/**", actions: [pull]}
    - {account: bob, repository: "bob/**", actions: [pull, push]}
    - {account: bob, repository: "closed/**", deny: true, message: "closed for the audit: ask ops"}
    - {account: "*", anonymous: true, repository: "open/**", actions: [pull]}
index: {path: "%[1]s/index.db"}
`, dir, addr, l.certs.CertFile, l.certs.KeyFile, strings.Join(storage, "\n  "))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildProgram builds gatehouse, with the race detector if the test has it.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return path
}

// addUser adds a user as an operator does.
func addUser(t *testing.T, program, config, name, password string) {
	t.Helper()
	cmd := exec.Command(program, "user", "add", name, "--password-stdin", config)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("user add: %v\n%s", err, out)
	}
}

// client is an HTTP client that trusts the lane's CA.
func (l *lane) client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: testbench.ClientTLS(t, l.certs.CAFile), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// awaitServing waits until a server asks a client of /v2/ who it is.
func (l *lane) awaitServing(t *testing.T) {
	t.Helper()
	client := l.client(t)
	testbench.Eventually(t, time.Minute, "answer of the server", func() error {
		resp, err := client.Get("https://" + l.host + "/v2/")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("status %s", resp.Status)
		}
		return nil
	})
}

// ref names an image in the lane's registry.
func (l *lane) ref(repository, tag string) string {
	return l.host + "/" + repository + ":" + tag
}

// request is a line of the access log.
type request struct {
	Msg     string
	Method  string
	Path    string
	Status  int
	Agent   string
	Account string
}

// statusClientGone is what the access log says of a request whose client did not
// wait for the answer: some send several at once and leave at the first refusal.
const statusClientGone = 499

// requests are the lines of the access log so far.
func (l *lane) requests() []request {
	var requests []request
	for line := range strings.Lines(l.server.Output()) {
		var r request
		if json.Unmarshal([]byte(line), &r) == nil && r.Msg == "request" {
			requests = append(requests, r)
		}
	}
	return requests
}

// assertRefused checks in the access log that a repository was asked for, and
// that all that was asked of it was refused with 401.
func (l *lane) assertRefused(t *testing.T, repository string) {
	t.Helper()
	l.assertUnauthorized(t, repository, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
}

// assertPushRefused is assertRefused for a repository that may be pulled from:
// what writes was refused.
func (l *lane) assertPushRefused(t *testing.T, repository string) {
	t.Helper()
	l.assertUnauthorized(t, repository, "POST", "PUT", "PATCH", "DELETE")
}

// assertUnauthorized looks at the requests below /v2/ for a repository by these
// methods. Lines of the access log come after the answers.
func (l *lane) assertUnauthorized(t *testing.T, repository string, methods ...string) {
	t.Helper()
	refused := func(r request) bool { return r.Status == http.StatusUnauthorized }
	var seen []request
	testbench.Eventually(t, time.Minute, "line in the access log with 401 for "+repository, func() error {
		seen = slices.DeleteFunc(l.requests(), func(r request) bool {
			return !strings.HasPrefix(r.Path, "/v2/"+repository+"/") || !slices.Contains(methods, r.Method)
		})
		if !slices.ContainsFunc(seen, refused) {
			return fmt.Errorf("requests: %+v", seen)
		}
		return nil
	})
	for _, r := range seen {
		if !refused(r) && r.Status != statusClientGone {
			t.Errorf("%s %s by %q was answered with %d, want 401", r.Method, r.Path, r.Account, r.Status)
		}
	}
}

// finish stops the server, when all clients are done, and looks at what it
// wrote.
func (l *lane) finish(t *testing.T) {
	if err := l.server.Stop(); err != nil {
		t.Errorf("the server did not stop as it should: %v", err)
	}
	output := l.server.Output()
	if strings.Contains(output, "WARNING: DATA RACE") {
		t.Error("the race detector found something; see the server's output")
	}
	for _, secret := range []string{alicePassword, bobPassword, "Authorization", "eyJ"} {
		if strings.Contains(output, secret) {
			t.Errorf("the server's output holds %q, which no log may", secret)
		}
	}
	requests := l.requests()
	if len(requests) == 0 {
		t.Error("no access log")
	}
	for _, r := range requests {
		if r.Status == http.StatusForbidden || r.Status >= 500 {
			t.Errorf("%s %s by %q (%s) was answered with %d", r.Method, r.Path, r.Account, r.Agent, r.Status)
		}
	}
}
