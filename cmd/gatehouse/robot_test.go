package main_test

import (
	"encoding/json"
	"fmt"
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
)

// robotLane is a lane with its configuration's file.
type robotLane struct {
	*lane
	config string
}

func startRobotLane(t *testing.T) *robotLane {
	t.Helper()
	program, port := buildProgram(t), strconv.Itoa(testbench.FreePort(t))
	l := &robotLane{lane: &lane{program: program, host: net.JoinHostPort("localhost", port), certs: testbench.NewCertificate(t, "localhost")}}
	l.config = l.configure(t, net.JoinHostPort("127.0.0.1", port), []string{fmt.Sprintf("filesystem: {rootdirectory: %q}", t.TempDir())})
	addUser(t, program, l.config, alice, alicePassword)
	l.server = testbench.Start(t, program, "serve", l.config)
	t.Cleanup(func() { l.finish(t) })
	l.awaitServing(t)
	return l
}

// robot runs a verb of robots and returns what it printed on standard output.
func (l *robotLane) robot(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(l.program, append(append([]string{"robot"}, args...), l.config)...).Output()
	if err != nil {
		t.Fatalf("robot %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// TestRobotClients: skopeo and crane push with a config.json that was made for them and never log in; not elsewhere, and not with the
// secret of before.
func TestRobotClients(t *testing.T) {
	l := startRobotLane(t)
	made := l.robot(t, "add", "ci", "--repository", "team-a/**:pull,push", "--docker-config", "--server", l.host)
	layout, _ := testbench.Image{Seed: t.Name()}.Layout(t, "v1")

	crane := newCrane(t, l.lane)
	for _, e := range crane.env {
		if home, ok := strings.CutPrefix(e, "DOCKER_CONFIG="); ok {
			writeClientFile(t, home, "config.json", made)
		}
	}
	crane.run(t, "push", layout, l.ref("team-a/crane", "v1"))
	crane.run(t, "pull", l.ref("team-a/crane", "v1"), os.DevNull)
	crane.refused(t, `UNAUTHORIZED|DENIED|401 Unauthorized`, "push", layout, l.ref("team-b/crane", "v1"))
	l.assertRefused(t, "team-b/crane")

	skopeo := newSkopeo(t)
	authfile := writeClientFile(t, t.TempDir(), "config.json", made)
	copyTo := func(repository string) []string {
		return []string{"copy", "--dest-cert-dir", l.certs.CADir, "--dest-authfile", authfile,
			"oci:" + layout + ":v1", "docker://" + l.ref(repository, "v1")}
	}
	skopeo.run(t, copyTo("team-a/skopeo")...)
	skopeo.refused(t, `denied|unauthorized`, copyTo("pub/skopeo")...)
	l.assertRefused(t, "pub/skopeo")

	next := l.robot(t, "rotate", "ci", "--docker-config", "--server", l.host)
	skopeo.refused(t, `denied|unauthorized|invalid username/password`, copyTo("team-a/late")...)
	authfile = writeClientFile(t, t.TempDir(), "config.json", next)
	skopeo.run(t, copyTo("team-a/late")...)
	l.robot(t, "rm", "ci")
	skopeo.refused(t, `denied|unauthorized|invalid username/password`, copyTo("team-a/gone")...)
}

// robotTries are what two robots may do: ci pull from team-a/**, cd pull and push team-b/**.
var robotTries = []struct {
	method, path, scope string
	want                map[string]int
}{
	{"GET", "/v2/team-a/app/manifests/v1", "repository:team-a/app:pull", map[string]int{"ci": 200, "cd": 401}},
	{"GET", "/v2/team-b/app/manifests/v1", "repository:team-b/app:pull", map[string]int{"ci": 401, "cd": 200}},
	{"POST", "/v2/team-a/app/blobs/uploads/", "repository:team-a/app:pull,push", map[string]int{"ci": 401, "cd": 401}},
	{"POST", "/v2/team-b/app/blobs/uploads/", "repository:team-b/app:pull,push", map[string]int{"ci": 401, "cd": 202}},
	{"DELETE", "/v2/team-b/app/manifests/v1", "repository:team-b/app:delete", map[string]int{"ci": 401, "cd": 401}},
	{"GET", "/v2/_catalog", "registry:catalog:*", map[string]int{"ci": 401, "cd": 401}},
}

// TestRobotScopeBindsEverywhere is T-SEC-20: with Basic on the registry, with a token and with one by a refresh token a robot may do the
// same, and its name gives its rules to nobody.
func TestRobotScopeBindsEverywhere(t *testing.T) {
	l := startRobotLane(t)
	ci := l.robot(t, "add", "ci", "--repository", "team-a/**:pull")
	cd := l.robot(t, "add", "cd", "--repository", "team-b/**:pull,push", "--never")
	for _, repository := range []string{"team-a/app", "team-b/app"} { // of Alice, who may do everything
		layout, _ := testbench.Image{Seed: t.Name()}.Layout(t, "v1")
		crane := newCrane(t, l.lane)
		craneLogin(t, crane, l.lane, alice, alicePassword)
		crane.run(t, "push", layout, l.ref(repository, "v1"))
	}
	for name, secret := range map[string]string{"ci": ci, "cd": cd} {
		password := url.Values{"grant_type": {"password"}, "username": {"robot$" + name}, "password": {secret}}
		login := l.token(t, password, "")
		if login.Refresh == "" {
			t.Fatal("no refresh token was made")
		}
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {login.Refresh}}
		for _, try := range robotTries {
			for way, authorize := range map[string]func(*http.Request){
				"Basic":   func(r *http.Request) { r.SetBasicAuth("robot$"+name, secret) },
				"token":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+l.token(t, password, try.scope).Token) },
				"refresh": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+l.token(t, refresh, try.scope).Token) },
			} {
				if got := l.ask(t, try.method, try.path, authorize); got != try.want[name] {
					t.Errorf("%s by %s: %s %s is %d, want %d", name, way, try.method, try.path, got, try.want[name])
				}
			}
		}
	}
	for what, c := range map[string][2]string{"another robot's secret": {"robot$ci", cd}, "alice with a robot's": {alice, ci},
		"unknown": {"robot$x", ci}} {
		if got := l.ask(t, "GET", "/v2/", func(r *http.Request) { r.SetBasicAuth(c[0], c[1]) }); got != 401 {
			t.Errorf("%s: %d", what, got)
		}
	}
	output := l.server.Output()
	if strings.Contains(output, ci) || strings.Contains(output, cd) {
		t.Error("a robot's secret is in the log")
	}
	if !strings.Contains(output, `"msg":"audit"`) || !strings.Contains(output, `"rule":"robot ci"`) {
		t.Error("the audit log says nothing of the robot's scope")
	}
}

// ask sends a request and returns the status of its answer.
func (l *robotLane) ask(t *testing.T, method, path string, authorize func(*http.Request)) int {
	t.Helper()
	r, err := http.NewRequest(method, "https://"+l.host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	authorize(r)
	resp, err := l.client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// tokens is an answer of the token server.
type tokens struct {
	Token   string `json:"token"`
	Refresh string `json:"refresh_token"`
}

// token asks for a token by OAuth2, and for a refresh token.
func (l *robotLane) token(t *testing.T, form url.Values, scope string) (answer tokens) {
	t.Helper()
	for name, value := range map[string]string{"service": "gatehouse", "client_id": "test", "access_type": "offline", "scope": scope} {
		form.Set(name, value)
	}
	resp, err := l.client(t).PostForm("https://"+l.host+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != 200 {
		t.Fatalf("token: %s, %v", resp.Status, err)
	}
	return answer
}

// TestGuessesAreHeldUp is through the real program: after so many wrong passwords of alice at one address she is told to wait there, and
// the audit log says so, in a file of its own.
func TestGuessesAreHeldUp(t *testing.T) {
	program, port := buildProgram(t), strconv.Itoa(testbench.FreePort(t))
	l := &robotLane{lane: &lane{program: program, host: net.JoinHostPort("localhost", port), certs: testbench.NewCertificate(t, "localhost")}}
	l.config = l.configure(t, net.JoinHostPort("127.0.0.1", port), []string{"inmemory: {}"})
	addUser(t, program, l.config, alice, alicePassword)
	file := filepath.Join(t.TempDir(), "audit.log")
	data, err := os.ReadFile(l.config)
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.Replace(string(data), "tokenserver:\n", "tokenserver:\n  audit: {file: "+file+"}\n  protection: {free: 2}\n", 1))
	if err := os.WriteFile(l.config, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l.server = testbench.Start(t, program, "serve", l.config)
	t.Cleanup(func() { l.finish(t) })
	l.awaitServing(t)
	client := l.client(t)
	ask := func(account, password string) *http.Response {
		r, err := http.NewRequest("GET", "https://"+l.host+"/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(account, password)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	for range 20 {
		if resp := ask(alice, "stale"); resp.StatusCode != 401 {
			t.Fatalf("the same wrong password: %s", resp.Status)
		}
	}
	statuses := ""
	for i := range 20 { // until the delay is longer than a request takes, however slow it is
		resp := ask(alice, fmt.Sprint("wrong ", i))
		statuses += fmt.Sprint(resp.StatusCode, " ")
		if resp.StatusCode == 429 && resp.Header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	if !strings.HasPrefix(statuses, "401 401 ") || !strings.Contains(statuses, "429") {
		t.Errorf("answers to wrong passwords: %s", statuses)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"refused":"held_up"`) ||
		strings.Contains(string(text), "wrong 1") {
		t.Errorf("%s, %v", text, err)
	}
}
