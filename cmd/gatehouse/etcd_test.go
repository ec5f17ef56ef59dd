package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

const authKey = "/lain/config/auth/registry"

func authValue(service string) string {
	return fmt.Sprintf(`{"realm":"https://tokens.test/token","issuer":"auth server","service":%q}`, service)
}

// challenge returns the status and the challenge of a request without credentials.
func (i *instance) challenge() (int, string, error) {
	answer, err := i.Get(i.url + "/v2/")
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	return answer.StatusCode, answer.Header.Get("WWW-Authenticate"), nil
}

// wantService waits until challenges name a service.
func (i *instance) wantService(service string) {
	i.t.Helper()
	testbench.Eventually(i.t, 30*time.Second, "the challenge names "+service, func() error {
		status, header, err := i.challenge()
		if err != nil {
			return err
		}
		if status != http.StatusUnauthorized || !strings.Contains(header, `realm="https://tokens.test/token",service="`+service+`"`) {
			return fmt.Errorf("%d %s", status, header)
		}
		return nil
	})
}

// TestEtcd edits the key of a running server with etcdctl: a good value is applied, a bad one and an etcd that is away change
// nothing, and what was good last is what a restart without etcd begins with.
func TestEtcd(t *testing.T) {
	e := testbench.StartEtcd(t)
	environ := "REGISTRY_ETCD_ENDPOINTS=[" + e.Endpoint + "]"
	i := start(t, environ)
	if status, _, err := i.challenge(); status != http.StatusServiceUnavailable || err != nil {
		t.Errorf("with nothing known: %d, %v; want 503", status, err)
	}
	i.WaitOutput(`etcdctl put ` + authKey)

	e.Put(authKey, authValue("one.test"))
	i.wantService("one.test")
	token, _ := i.want(200, "GET", "/token?service=one.test&scope=repository:a:pull", nil)
	if token.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", token.Header.Get("Cache-Control"))
	}
	i.want(404, "GET", "/v2/a/tags/list", nil)
	e.Put(authKey, authValue("two.test"))
	i.wantService("two.test")

	for _, bad := range []string{"{", `{"realm":"https://x.test/","issuer":"","service":"x"}`, `{"realm":"javascript:x","issuer":"x","service":"x"}`} {
		seen := strings.Count(i.Output(), authKey)
		e.Put(authKey, bad)
		testbench.Eventually(t, 30*time.Second, "the bad value is reported", func() error {
			if strings.Count(i.Output(), authKey) == seen {
				return fmt.Errorf("not yet")
			}
			return nil
		})
		i.wantService("two.test")
	}
	e.Kill()
	i.wantService("two.test")
	i.want(404, "GET", "/v2/a/tags/list", nil)

	i.Kill()
	i.Restart()
	i.CloseIdleConnections()
	i.ready()
	i.wantService("two.test")

	e.Restart()
	e.Put(authKey, authValue("three.test"))
	i.wantService("three.test")
	if err := i.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestEtcdAwayAtFirstStart: with nothing known nobody is let in, and nothing is guessed.
func TestEtcdAwayAtFirstStart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	i := startOn(t, data, "REGISTRY_ETCD_ENDPOINTS=[http://"+testbench.FreeAddr(t)+"]")
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/a/manifests/latest", "/token?service=x"} {
		i.want(503, "GET", path, nil)
	}
	if err := i.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}
