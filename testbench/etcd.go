package testbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// etcdTimeout bounds how long etcd may take to answer after a start.
const etcdTimeout = 60 * time.Second

// Etcd is a real etcd of one member, on loopback ports and a directory that it
// keeps over restarts. The cleanup ends it.
//
// Kill, Stop and Restart are the process's: after Kill and after Stop nothing
// listens; Restart serves the same data on the same ports and returns when it
// does.
type Etcd struct {
	*Process
	// Endpoint is its client URL, "http://127.0.0.1:PORT".
	Endpoint string

	t   testing.TB
	ctl string
}

// StartEtcd runs an etcd, with elections that take a tenth of a second, and
// returns when it answers. args are added to its command line. It needs the
// tools etcd and etcdctl.
func StartEtcd(t testing.TB, args ...string) *Etcd {
	t.Helper()
	program, ctl := Tool(t, "etcd"), Tool(t, "etcdctl")
	client, peer := "http://"+FreeAddr(t), "http://"+FreeAddr(t)
	e := &Etcd{Endpoint: client, t: t, ctl: ctl}
	e.Process = Start(t, program, append([]string{
		"--name", "test", "--data-dir", t.TempDir(),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test=" + peer,
		"--heartbeat-interval", "10", "--election-timeout", "100",
		"--unsafe-no-fsync", // what is killed is the process, never the machine
	}, args...)...)
	e.awaitHealth()
	return e
}

// Restart starts it again on the same data and ports, and returns when it
// answers; if it still runs, it is killed first.
func (e *Etcd) Restart() {
	e.t.Helper()
	e.Process.Restart()
	e.awaitHealth()
}

// awaitHealth returns when etcd has a leader and answers.
func (e *Etcd) awaitHealth() {
	e.t.Helper()
	Eventually(e.t, etcdTimeout, "etcd's health", func() error {
		if e.isOver() {
			e.t.Fatalf("etcd exited: %v", e.waitError())
		}
		resp, err := http.Get(e.Endpoint + "/health")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// Put sets a key, of any content, and returns the revision that this made.
func (e *Etcd) Put(key, value string) int64 {
	e.t.Helper()
	// From standard input, since an argument can be neither large nor start
	// with a dash.
	e.run(strings.NewReader(value), "put", key)
	return e.Revision()
}

// Delete removes a key.
func (e *Etcd) Delete(key string) {
	e.t.Helper()
	e.Ctl("del", key)
}

// Revision is the newest revision of the store.
func (e *Etcd) Revision() int64 {
	e.t.Helper()
	var revision int64
	out := e.Ctl("get", "no such key", "--write-out=fields")
	for line := range strings.Lines(out) {
		if n, _ := fmt.Sscanf(line, `"Revision" : %d`, &revision); n == 1 {
			return revision
		}
	}
	e.t.Fatalf("etcdctl told no revision:\n%s", out)
	return 0
}

// Compact forgets everything before the newest revision, which it returns.
func (e *Etcd) Compact() int64 {
	e.t.Helper()
	revision := e.Revision()
	e.Ctl("compact", fmt.Sprint(revision))
	return revision
}

// Ctl runs etcdctl with args and returns what it prints on standard output. A
// failure of it fails the test.
func (e *Etcd) Ctl(args ...string) string {
	e.t.Helper()
	return e.run(nil, args...)
}

func (e *Etcd) run(stdin *strings.Reader, args ...string) string {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.ctl, append([]string{"--endpoints", e.Endpoint}, args...)...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		e.t.Fatalf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}
