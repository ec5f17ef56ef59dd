package main_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

// verifiers are the registries that people run behind a token server, by their names in testbench/tools.sh.
var verifiers = []string{"docker-registry", "registry-3.0", "registry"} // 2.8, 3.0.0, 3.1.2

// interop is gatehouse as a token server, and what another registry needs to believe it.
type interop struct {
	*lane
	config string // path
	dir    string
}

// startInterop starts a gatehouse that signs with an algorithm, with alice and bob for users.
func startInterop(t *testing.T, program, algorithm string, x5c bool) *interop {
	t.Helper()
	i := &interop{dir: t.TempDir()}
	port := strconv.Itoa(testbench.FreePort(t))
	i.lane = &lane{program: program, host: net.JoinHostPort("localhost", port), certs: testbench.NewCertificate(t, "localhost")}
	i.config = filepath.Join(i.dir, "config.yml")
	text := fmt.Sprintf(`version: 0.1
log: {formatter: json}
storage: {filesystem: {rootdirectory: %q}}
http:
  addr: '127.0.0.1:%s'
  tls: {certificate: %q, key: %q}
auth:
  htpasswd: {path: "%[1]s/htpasswd"}
  token: {service: interop, issuer: "gatehouse of a test"}
tokenserver:
  access:
    - {account: alice, repository: "**", actions: ["*"]}
    - {account: bob, repository: "pub/**", actions: [pull]}
  x5c: %[5]t
  keys: {algorithm: %[6]s}
`, i.dir, port, i.certs.CertFile, i.certs.KeyFile, x5c, algorithm)
	if err := os.WriteFile(i.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	addUser(t, program, i.config, alice, alicePassword)
	addUser(t, program, i.config, bob, bobPassword)
	i.server = testbench.Start(t, program, "serve", i.config)
	t.Cleanup(func() { i.stop(t) })
	i.awaitServing(t)
	return i
}

// stop ends the server, whose only guests are clients of other registries, and looks for what no log may hold.
func (i *interop) stop(t *testing.T) {
	if err := i.server.Stop(); err != nil {
		t.Errorf("the server did not stop as it should: %v", err)
	}
	for _, secret := range []string{alicePassword, "eyJ", "WARNING: DATA RACE"} {
		if strings.Contains(i.server.Output(), secret) {
			t.Errorf("the server's output holds %q", secret)
		}
	}
}

// key runs a verb of `gatehouse key` and returns what it prints.
func (i *interop) key(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(i.program, append(append([]string{"key"}, args...), i.config)...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("key %v: %v\n%s", args, err, problems.String())
	}
	return out
}

// registry starts a registry that believes the tokens of this token server by what trust says, a line of auth.token. The lane
// is for its clients.
func (i *interop) registry(t *testing.T, name, trust string) *lane {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf(`version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: ":0", secret: test, tls: {certificate: %q, key: %q}}
auth:
  token:
    realm: "https://%s/token"
    service: interop
    issuer: "gatehouse of a test"
    %s
`, t.TempDir(), i.certs.CertFile, i.certs.KeyFile, i.host, trust)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := testbench.StartDistribution(t, name, config)
	l := &lane{program: name, server: d.Process, certs: i.certs}
	l.host = strings.Replace(strings.TrimPrefix(d.URL, "http://"), "127.0.0.1", "localhost", 1)
	l.awaitServing(t)
	return l
}

// bundle writes what `gatehouse key export` prints, and returns the line of auth.token for it.
func (i *interop) bundle(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(path, i.key(t, "export"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("rootcertbundle: %q", path)
}

// jwks writes the published JWK set, and returns the line of auth.token for it.
func (i *interop) jwks(t *testing.T) string {
	t.Helper()
	answer, err := i.client(t).Get("https://" + i.host + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("jwks: %q", path)
}

// token asks for alice's token as clients do, and returns it with the kid of its header.
func (i *interop) token(t *testing.T, scopes ...string) (raw, kid string) {
	t.Helper()
	r, err := http.NewRequest("GET", "https://"+i.host+"/token?"+url.Values{"service": {"interop"}, "scope": scopes}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(alice, alicePassword)
	answer, err := i.client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct{ Token string }
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("token: %s, %v", answer.Status, err)
	}
	head, _, _ := strings.Cut(body.Token, ".")
	data, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Kid string }
	if err := json.Unmarshal(data, &header); err != nil || header.Kid == "" {
		t.Fatalf("the header of a token is %s: %v", data, err)
	}
	return body.Token, header.Kid
}

// rotate replaces the key that signs, and waits until the server uses the next.
func (i *interop) rotate(t *testing.T) {
	t.Helper()
	_, before := i.token(t)
	i.key(t, "rotate", "--now")
	testbench.Eventually(t, time.Minute, "a token of the next key", func() error {
		if _, now := i.token(t); now == before {
			return fmt.Errorf("the key is still %s", now)
		}
		return nil
	})
}

// TestInterop: with tokenserver.x5c and the CA of `gatehouse key export`, every registry of the distribution project accepts our
// tokens, from docker and from skopeo, before and after a rotation, without being started again.
func TestInterop(t *testing.T) {
	program := buildProgram(t)
	for _, algorithm := range []string{"ES256", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			i := startInterop(t, program, algorithm, true)
			bundle := i.bundle(t)
			var registries []*lane
			for _, name := range verifiers {
				registries = append(registries, i.registry(t, name, bundle))
			}
			registries = append(registries, i.gatehouse(t, bundle))
			testInteropClients(t, registries, "before")
			i.rotate(t)
			testInteropClients(t, registries, "after")
		})
	}
}

// testInteropClients works with each registry, all at once, and returns when that is done.
func testInteropClients(t *testing.T, registries []*lane, tag string) {
	t.Run(tag, func(t *testing.T) {
		for _, l := range registries {
			t.Run(filepath.Base(l.program), func(t *testing.T) {
				t.Parallel()
				testInteropDocker(t, l, tag)
				testInteropSkopeo(t, l, tag)
			})
		}
	})
}

// gatehouse starts a gatehouse that believes this one as an outside issuer.
func (i *interop) gatehouse(t *testing.T, trust string) *lane {
	t.Helper()
	return startOutside(t, i.program, i.certs, fmt.Sprintf(`realm: "https://%s/token"
    service: interop
    issuer: "gatehouse of a test"
    %s`, i.host, trust))
}

// startOutside starts a gatehouse that believes the outside issuer of these lines of auth.token.
func startOutside(t *testing.T, program string, certs testbench.Certificate, auth string) *lane {
	t.Helper()
	port := strconv.Itoa(testbench.FreePort(t))
	l := &lane{program: program, host: net.JoinHostPort("localhost", port), certs: certs}
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf(`version: 0.1
log: {formatter: json}
storage: {filesystem: {rootdirectory: %q}}
http:
  addr: '127.0.0.1:%s'
  tls: {certificate: %q, key: %q}
auth:
  token:
    %s
`, t.TempDir(), port, certs.CertFile, certs.KeyFile, auth)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l.server = testbench.Start(t, program, "serve", config)
	t.Cleanup(func() { l.finish(t) })
	l.awaitServing(t)
	return l
}

// testInteropDocker logs in, pushes an image and pulls it, and what bob may not do is refused.
func testInteropDocker(t *testing.T, l *lane, tag string) {
	t.Helper()
	docker := newDocker(t)
	image := testbench.Image{Seed: t.Name(), Size: 1 << 10}
	ref, denied := l.ref("pub/docker", tag), l.ref("pub/docker-denied", tag)
	removeImages(t, docker, ref, denied)
	docker.runWith(t, alicePassword, "login", l.host, "--username", alice, "--password-stdin")
	docker.run(t, "build", "--quiet", "--tag", ref, image.BuildContext(t))
	docker.run(t, "push", ref)
	docker.run(t, "image", "rm", ref)
	docker.run(t, "pull", ref)
	if got := docker.run(t, "run", "--rm", ref); got != image.Message() {
		t.Errorf("the pulled image prints %q, want %q", got, image.Message())
	}
	bobs := newDocker(t)
	bobs.runWith(t, bobPassword, "login", l.host, "--username", bob, "--password-stdin")
	bobs.run(t, "pull", ref)
	docker.run(t, "tag", ref, denied)
	bobs.refused(t, `denied|unauthorized`, "push", denied)
	newDocker(t).refusedWith(t, `unauthorized|401 Unauthorized`, "wrong", "login", l.host, "--username", alice, "--password-stdin")
}

// testInteropSkopeo is testInteropDocker for skopeo, which asks for tokens in another way.
func testInteropSkopeo(t *testing.T, l *lane, tag string) {
	t.Helper()
	skopeo, ca := newSkopeo(t), l.certs.CADir
	skopeo.login(t, l, alice, alicePassword)
	layout, digest := testbench.Image{Seed: t.Name(), Size: 1 << 10}.Layout(t, "v1")
	ref := "docker://" + l.ref("pub/skopeo", tag)
	skopeo.run(t, "copy", "--dest-cert-dir", ca, "oci:"+layout+":v1", ref)
	var inspected struct{ Digest string }
	if err := json.Unmarshal([]byte(skopeo.run(t, "inspect", "--cert-dir", ca, ref)), &inspected); err != nil || inspected.Digest != digest {
		t.Errorf("inspect shows %+v, %v, want digest %s", inspected, err, digest)
	}
	skopeo.run(t, "copy", "--src-cert-dir", ca, ref, "oci:"+t.TempDir()+":v1")
	bobs := newSkopeo(t)
	bobs.login(t, l, bob, bobPassword)
	bobs.refused(t, `denied|unauthorized|invalid username/password`,
		"copy", "--dest-cert-dir", ca, "oci:"+layout+":v1", "docker://"+l.ref("pub/skopeo-denied", tag))
}
