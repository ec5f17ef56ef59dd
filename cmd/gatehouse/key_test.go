package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

// key runs a verb on the instance's keys, and returns what it prints.
func (i *instance) key(args ...string) string {
	i.t.Helper()
	path, err := built()
	fatal(i.t, err)
	cmd := exec.Command(path, append([]string{"key", "--data", i.data}, args...)...)
	cmd.Env = os.Environ()
	out, err := cmd.Output()
	fatal(i.t, err)
	return string(out)
}

// TestKeyVerbs rotates the keys of a running server: it follows without a restart, old tokens and new ones are accepted all the time,
// what it offers is what the verb exports, and revoked is refused.
func TestKeyVerbs(t *testing.T) {
	i := start(t)
	bearer := func() string {
		t.Helper()
		var answer struct{ Token string }
		_, b := i.want(200, "GET", "/token?service=gatehouse&scope=repository:a:pull", nil)
		fatal(t, json.Unmarshal(b, &answer))
		return answer.Token
	}
	head := func(raw string) string { return strings.SplitN(raw, ".", 2)[0] } // the kid is in it
	use := func(status int, raw string) {
		t.Helper()
		i.want(status, "GET", "/v2/", nil, "Authorization: Bearer "+raw)
	}

	first := bearer()
	last := first
	for _, args := range [][]string{{"rotate", "--now"}, {"rotate", "--now", "--algorithm", "EdDSA"}, {"rotate", "--now", "--algorithm", "RS256"}} {
		i.key(args...)
		before := head(last)
		testbench.Eventually(t, time.Minute, "the server signs with the new key", func() error {
			use(200, last)
			last = bearer()
			use(200, first)
			use(200, last)
			if head(last) == before {
				return errors.New("it signs with the old one")
			}
			return nil
		})
	}
	if _, b := i.want(200, "GET", "/token/ca.pem", nil); string(b) != i.key("export") || strings.Count(string(b), "BEGIN CERTIFICATE") != 4 {
		t.Errorf("certificates:\n%s", b)
	}
	_, b := i.want(200, "GET", "/.well-known/jwks.json", nil)
	for _, kty := range []string{"EC", "OKP", "RSA"} {
		if !strings.Contains(string(b), `"kty":"`+kty+`"`) {
			t.Errorf("no %s in %s", kty, b)
		}
	}
	i.key("rotate", "--now", "--revoke")
	testbench.Eventually(t, time.Minute, "revoked keys are refused", func() error {
		answer, err := i.stream("GET", "/v2/", nil, "Authorization: Bearer "+first)
		if err != nil {
			return err
		}
		if answer.StatusCode != 401 {
			err = errors.New("accepted")
		}
		return errors.Join(err, answer.Body.Close())
	})
	use(401, last)
	use(200, bearer())
}
