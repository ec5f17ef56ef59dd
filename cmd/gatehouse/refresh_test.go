package main_test

import (
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

	"gatehouse/testbench"
	"gatehouse/tokenserver"
)

// refreshAnswer is what these tests read of an answer with a token.
type refreshAnswer struct {
	Token   string
	Refresh string `json:"refresh_token"`
}

// ask sends a request of the token protocol, and returns the answer, which must be JSON, or its status where it is not 200.
func (l *lane) ask(t *testing.T, r *http.Request) (refreshAnswer, int) {
	t.Helper()
	resp, err := l.client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var a refreshAnswer
	if err != nil || json.Unmarshal(body, &a) != nil || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %s: %s %v\n%s", r.Method, r.URL, resp.Status, resp.Header, body)
	}
	return a, resp.StatusCode
}

// newGet is a GET with Basic.
func (l *lane) newGet(t *testing.T, path, account, password string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+l.host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if account+password != "" {
		r.SetBasicAuth(account, password)
	}
	return r
}

// newPost is a POST of a form.
func (l *lane) newPost(t *testing.T, path string, form url.Values) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+l.host+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// startConfigured is startLane, and returns the file of the configuration, too, for verbs.
func startConfigured(t *testing.T) (l *lane, config string) {
	t.Helper()
	port := strconv.Itoa(testbench.FreePort(t))
	l = &lane{program: buildProgram(t), host: net.JoinHostPort("localhost", port), certs: testbench.NewCertificate(t, "localhost")}
	config = l.configure(t, net.JoinHostPort("127.0.0.1", port), []string{fmt.Sprintf("filesystem: {rootdirectory: %q}", t.TempDir())})
	addUser(t, l.program, config, alice, alicePassword)
	l.server = testbench.Start(t, l.program, "serve", config)
	t.Cleanup(func() { l.finish(t) })
	l.awaitServing(t)
	return l, config
}

// verbOn runs the program on a configuration.
func (l *lane) verbOn(t *testing.T, config string, args ...string) string {
	t.Helper()
	out, err := exec.Command(l.program, append(args, config)...).CombinedOutput()
	if err != nil {
		t.Fatalf("gatehouse %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestTokenPaths: the token server answers alike at each of its paths, to every kind of request; and HEAD has the challenge.
func TestTokenPaths(t *testing.T) {
	l := startLane(t, buildProgram(t), "127.0.0.1", "localhost")
	grant := url.Values{"grant_type": {"password"}, "username": {alice}, "password": {alicePassword},
		"client_id": {"test"}, "service": {"gatehouse"}}
	for _, path := range append([]string{"/api/v1/authorize/registry"}, tokenserver.Paths...) {
		for name, r := range map[string]*http.Request{
			"GET":             l.newGet(t, path+"?service=gatehouse&scope=repository:a:pull", alice, alicePassword),
			"anonymous":       l.newGet(t, path, "", ""),
			"POST":            l.newPost(t, path, grant),
			"POST with Basic": l.newPost(t, path+"?service=gatehouse&scope=repository:a:pull", nil),
		} {
			if name == "POST with Basic" {
				r.SetBasicAuth(alice, alicePassword)
			}
			a, status := l.ask(t, r)
			if status != 200 || a.Token == "" {
				t.Fatalf("%s %s: %d", name, path, status)
			}
			check := l.newGet(t, "/v2/", "", "")
			check.Header.Set("Authorization", "Bearer "+a.Token)
			resp, err := l.client(t).Do(check)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("/v2/ with the token of %s %s: %v, %v", name, path, resp, err)
			}
			resp.Body.Close()
		}
		if _, status := l.ask(t, l.newGet(t, path, alice, "wrong")); status != 401 {
			t.Errorf("wrong password at %s: %d", path, status)
		}
	}
	for _, path := range []string{"/v2/", "/v2/a/manifests/v1"} {
		r := l.newGet(t, path, "", "")
		r.Method = "HEAD"
		resp, err := l.client(t).Do(r)
		if err != nil || resp.StatusCode != 401 {
			t.Fatalf("HEAD %s: %v, %v", path, resp, err)
		}
		scope := ""
		if path != "/v2/" {
			scope = "repository:a:pull"
		}
		assertChallenge(t, l, resp, scope, "")
		resp.Body.Close()
	}
}

// TestTokenForHundredsOfScopes: the gateway lets the request for such a token through, and the token.
func TestTokenForHundredsOfScopes(t *testing.T) {
	l := startLane(t, buildProgram(t), "127.0.0.1", "localhost")
	query := url.Values{"service": {"gatehouse"}}
	for i := range 500 {
		query.Add("scope", fmt.Sprintf("repository:team/application-%03d:pull", i))
	}
	a, status := l.ask(t, l.newGet(t, "/token?"+query.Encode(), alice, alicePassword))
	if status != 200 || len(a.Token) < 40<<10 {
		t.Fatalf("%d, a token of %d bytes", status, len(a.Token))
	}
	for i, want := range map[int]int{0: 404, 499: 404, 500: 401} {
		r := l.newGet(t, fmt.Sprintf("/v2/team/application-%03d/tags/list", i), "", "")
		r.Header.Set("Authorization", "Bearer "+a.Token)
		resp, err := l.client(t).Do(r)
		if err != nil || resp.StatusCode != want {
			t.Errorf("repository %d: %v, %v; want %d", i, resp, err, want)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	for i := range 500 {
		query.Add("scope", fmt.Sprintf("repository:team/another-%03d:pull", i))
	}
	if _, status := l.ask(t, l.newPost(t, "/token", url.Values{"grant_type": {"password"}, "username": {alice},
		"password": {alicePassword}, "scope": query["scope"]})); status != 400 {
		t.Errorf("1000 scopes: %d", status)
	}
}

// identityToken is the refresh token that docker has stored in place of a password.
func identityToken(t *testing.T, home, host string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(home, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Auths map[string]struct{ Auth, IdentityToken string }
	}
	if err := json.Unmarshal(data, &file); err != nil || file.Auths[host].IdentityToken == "" {
		t.Fatalf("docker stored no identity token: %v\n%s", err, data)
	}
	return file.Auths[host].IdentityToken
}

// TestRefreshTokensOfClients: docker logs in, forgets the password and works with the refresh token; so do others on its settings.
// Verbs list and revoke it beside the server, and without it.
func TestRefreshTokensOfClients(t *testing.T) {
	l, config := startConfigured(t)
	docker := newDocker(t)
	home := strings.TrimPrefix(docker.env[0], "HOME=")
	image, ref := testbench.Image{Seed: t.Name()}, l.ref("pub/refresh", "v1")
	removeImages(t, docker, ref)

	docker.runWith(t, alicePassword, "login", l.host, "--username", alice, "--password-stdin")
	secret := identityToken(t, home, l.host)
	docker.run(t, "build", "--quiet", "--tag", ref, image.BuildContext(t))
	docker.run(t, "push", ref)
	docker.run(t, "image", "rm", ref)
	docker.run(t, "pull", ref)

	skopeo := newSkopeo(t)
	inspect := []string{"inspect", "--authfile", filepath.Join(home, "config.json"), "--cert-dir", l.certs.CADir, "docker://" + ref}
	skopeo.run(t, inspect...)
	for _, account := range []string{"", "<token>", alice} {
		if _, status := l.ask(t, l.newGet(t, "/token?scope=repository:pub/refresh:pull", account, secret)); status != 200 {
			t.Errorf("as the password of %q: %d", account, status)
		}
	}

	var one struct{ ID, Account, Client string }
	out := l.verbOn(t, config, "token", "ls", "--json")
	if json.Unmarshal([]byte(out), &one) != nil || one.Account != alice || one.Client != "docker" || one.ID == "" {
		t.Fatalf("token ls: %s", out)
	}
	if out := l.verbOn(t, config, "token", "ls", "--account", bob); out != "" {
		t.Errorf("token ls --account bob: %s", out)
	}
	l.verbOn(t, config, "token", "revoke", one.ID)
	docker.run(t, "image", "rm", ref)
	docker.refused(t, `unauthorized|denied|log in again`, "pull", ref)
	skopeo.refused(t, `unauthorized|log in again|authentication required|unable to retrieve auth token`, inspect...)

	docker.runWith(t, alicePassword, "login", l.host, "--username", alice, "--password-stdin")
	docker.run(t, "pull", ref)
	second := identityToken(t, home, l.host)
	if err := l.server.Stop(); err != nil {
		t.Fatal(err)
	}
	if out := l.verbOn(t, config, "token", "ls"); !strings.Contains(out, alice) || strings.Contains(out, one.ID) {
		t.Errorf("token ls without a server: %s", out)
	}
	if out := l.verbOn(t, config, "token", "revoke", "--all"); !strings.Contains(out, "revoked") {
		t.Errorf("token revoke --all: %s", out)
	}
	if out := l.verbOn(t, config, "token", "ls"); out != "" {
		t.Errorf("token ls, later: %s", out)
	}
	for _, hidden := range []string{secret[20:60], second[20:60]} {
		if strings.Contains(l.server.Output(), hidden) {
			t.Error("a refresh token is in the server's output")
		}
	}
}
