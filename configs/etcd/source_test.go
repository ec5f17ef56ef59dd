package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gatehouse/configs"
	"gatehouse/testbench"
)

func host(e *testbench.Etcd) string { return strings.TrimPrefix(e.Endpoint, "http://") }

func TestApplied(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)
	e.Put(testKey+"/below", "not ours")
	file := filepath.Join(t.TempDir(), "lastgood", "auth.json")
	r := run(t, e.Endpoint, file)
	r.awaitToken(firstToken)

	revision := e.Put(testKey, `{"later":true,`+secondValue[1:])
	r.awaitToken(secondToken)
	st := r.await("the revision", func(st Status) bool { return st.AppliedRevision == revision && st.SeenRevision >= revision })
	if st.Key != testKey || st.Since.IsZero() {
		t.Errorf("status is %+v", st)
	}
	if n := r.metric("gatehouse_config_applied_total"); n != 2 {
		t.Errorf("%v values applied, want 2", n)
	}
	if stale := r.metric("gatehouse_config_stale_seconds"); stale != 0 {
		t.Errorf("stale for %v seconds while in step", stale)
	}
	r.stop()
	if !strings.Contains(r.log.String(), `fields="[\"later\"]"`) {
		t.Error("the unknown field is not reported")
	}
	if saved, token, err := loadRecord(file, testKey); err != nil || token != secondToken || saved.Revision != revision {
		t.Errorf("saved %+v, %v", saved, err)
	}

	// The same value after a restart is no reason to write.
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	again := run(t, e.Endpoint, file)
	again.awaitToken(secondToken)
	again.stop()
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("the last good value was written again: %s, %v", after, err)
	}
}

// A value that cannot be used changes nothing, in memory and on disk, and is reported once.
func TestRejected(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)
	file := filepath.Join(t.TempDir(), "auth.json")
	r := run(t, e.Endpoint, file)
	r.awaitToken(firstToken)
	inForce := r.auth.Load()
	rejected := 0.0
	for name, bad := range badValues {
		if bad.value == "" {
			continue // etcdctl puts none
		}
		revision := e.Put(testKey, bad.value)
		rejected++
		st := r.await(name, func(st Status) bool { return st.SeenRevision >= revision && st.State == Rejected })
		if st.Err == nil || !strings.Contains(st.Err.Error(), bad.want) {
			t.Errorf("%s: error is %v, want %q", name, st.Err, bad.want)
		}
		if r.auth.Load() != inForce {
			t.Errorf("%s: in force is %+v", name, r.auth.Load())
		}
		if n := r.metric("gatehouse_config_rejected_total"); n != rejected {
			t.Errorf("%s: %v values rejected, want %v", name, n, rejected)
		}
		if _, token, err := loadRecord(file, testKey); err != nil || token != firstToken {
			t.Errorf("%s: on disk is %+v, %v", name, token, err)
		}
	}
	if strings.Contains(r.log.String(), "hunter2") {
		t.Error("a password is in the log")
	}
	e.Put(testKey, secondValue)
	r.awaitToken(secondToken)

	// A start while the broken value is there: the last good one from disk stays in force.
	e.Put(testKey, "{")
	r.stop()
	again := run(t, e.Endpoint, file)
	again.await("the refusal", func(st Status) bool { return st.State == Rejected && st.AppliedRevision > 0 })
	if got := again.auth.Load(); got == nil || *got != secondToken {
		t.Errorf("in force is %+v", got)
	}
	// And without one on disk, none is. Reading the same again is no news.
	none := run(t, e.Endpoint, "", func(o *Options) { o.ProgressInterval, o.ResyncInterval = time.Hour, 50*time.Millisecond })
	none.await("the refusal", func(st Status) bool { return st.State == Rejected && st.AppliedRevision == 0 })
	for i := range 3 {
		revision := e.Put("/elsewhere", fmt.Sprint(i))
		none.await("another reading", func(st Status) bool { return st.SeenRevision >= revision && st.State == Rejected })
	}
	if n := none.metric("gatehouse_config_rejected_total"); n != 1 {
		t.Errorf("one value was rejected %v times", n)
	}
	if got := none.auth.Load(); got != nil {
		t.Errorf("in force is %+v", got)
	}
}

func TestDeleted(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)
	file := filepath.Join(t.TempDir(), "auth.json")
	r := run(t, e.Endpoint, file)
	r.awaitToken(firstToken)
	e.Delete(testKey)
	r.await("the report", func(st Status) bool { return st.State == Absent && st.Connected })
	if got := r.auth.Load(); got == nil || *got != firstToken {
		t.Errorf("in force is %+v", got)
	}
	if !strings.Contains(r.log.String(), "etcdctl put "+testKey+" ") {
		t.Error("the log does not say how to set it")
	}
	r.stop()
	again := run(t, e.Endpoint, file)
	again.await("the report", func(st Status) bool { return st.State == Absent })
	if got := again.auth.Load(); got == nil || *got != firstToken {
		t.Errorf("in force after a restart is %+v", got)
	}
	e.Put(testKey, secondValue)
	again.awaitToken(secondToken)
}

func TestOutage(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)
	r := run(t, e.Endpoint, "")
	r.awaitToken(firstToken)
	e.Kill()
	r.await("the report", func(st Status) bool { return !st.Connected && st.Err != nil && st.State == Applied })
	if got := r.auth.Load(); *got != firstToken {
		t.Errorf("in force is %+v", got)
	}
	testbench.Eventually(t, patience, "staleness", func() error {
		if s := r.metric("gatehouse_config_stale_seconds"); s <= 0 {
			return fmt.Errorf("stale for %v seconds", s)
		}
		return nil
	})
	e.Restart()
	e.Put(testKey, secondValue)
	r.awaitToken(secondToken)
	if n := strings.Count(r.log.String(), "etcd does not answer"); n != 1 {
		t.Errorf("the outage is reported %d times", n)
	}
}

// What changed while we were away is found although the store has forgotten the way there.
func TestCompactedWhileAway(t *testing.T) {
	e := testbench.StartEtcd(t)
	old := e.Put(testKey, firstValue)
	n := newNetwork(t, host(e))
	r := run(t, n.Endpoint, "")
	r.awaitToken(firstToken)
	n.Cut(true)
	r.await("the report", func(st Status) bool { return !st.Connected })
	e.Put(testKey, "{")
	e.Put(testKey, secondValue)
	e.Compact()
	n.Cut(false)
	r.awaitToken(secondToken)
	r.stop()

	// A watch from a revision that is gone ends with an error, after which Run reads again.
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	if _, err := cli.Get(t.Context(), testKey); err != nil {
		t.Fatal(err)
	}
	if _, err := r.watch(t.Context(), cli, old); err == nil || !strings.Contains(err.Error(), "compacted") {
		t.Errorf("watching from revision %d ended with %v", old, err)
	}
}

// A connection over which nothing comes any more, though nobody closed it, is noticed and left.
func TestSilence(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)
	n := newNetwork(t, host(e))
	r := run(t, n.Endpoint, "")
	r.awaitToken(firstToken)
	n.Flow(false)
	e.Put(testKey, secondValue)
	r.await("the report", func(st Status) bool { return !st.Connected })
	if got := r.auth.Load(); *got != firstToken {
		t.Errorf("in force is %+v", got)
	}
	n.Cut(true) // what was swallowed stays so
	n.Flow(true)
	n.Cut(false)
	r.awaitToken(secondToken)
}

// While nothing happens to the key, the source stays connected and hears how far the store is.
func TestQuiet(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)
	for name, change := range map[string]func(*Options){
		"signs of life": func(o *Options) { o.ProgressInterval = 100 * time.Millisecond },
		"read again":    func(o *Options) { o.ProgressInterval, o.ResyncInterval = time.Hour, 100*time.Millisecond },
	} {
		r := run(t, e.Endpoint, "", change)
		r.awaitToken(firstToken)
		for i := range 5 {
			revision := e.Put("/elsewhere", fmt.Sprint(i))
			r.await(name, func(st Status) bool { return st.SeenRevision >= revision })
		}
		r.stop()
		if strings.Contains(r.log.String(), "etcd does not answer") || r.metric("gatehouse_config_applied_total") != 1 {
			t.Errorf("%s: reported\n%s", name, r.log.String())
		}
	}
}

// A store that was restored from a backup begins at a lower revision: its value is taken at once, not when its revision has
// grown to ours.
func TestRestored(t *testing.T) {
	e, backup := testbench.StartEtcd(t), testbench.StartEtcd(t)
	for range 20 {
		e.Put(testKey, firstValue)
	}
	lower := backup.Put(testKey, secondValue)
	n := newNetwork(t, host(e))
	r := run(t, n.Endpoint, "")
	r.awaitToken(firstToken)
	n.LeadTo(host(backup))
	n.Cut(true)
	n.Cut(false)
	r.awaitToken(secondToken)
	if st := r.Status(); st.AppliedRevision != lower {
		t.Errorf("status is %+v, want revision %d", st, lower)
	}
	backup.Put(testKey, firstValue)
	r.awaitToken(firstToken)
	r.stop()

	// Where the connection survived, the revision tells.
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{backup.Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	if _, err := cli.Get(t.Context(), testKey); err != nil {
		t.Fatal(err)
	}
	if _, err := r.watch(t.Context(), cli, backup.Revision()+20); err == nil || !strings.Contains(err.Error(), "was restored") {
		t.Errorf("watching ahead of the store ended with %v", err)
	}
}

func TestStartWithoutEtcd(t *testing.T) {
	e := testbench.StartEtcd(t)
	file := filepath.Join(t.TempDir(), "auth.json")
	if err := saveRecord(file, record{Key: testKey, Revision: 3, Value: firstValue}); err != nil {
		t.Fatal(err)
	}
	e.Kill()

	// The value is there when New returns, before anything runs.
	var auth configs.Value[configs.Token]
	s, err := New(Options{Endpoints: []string{e.Endpoint}, Prefix: testPrefix + "/", LastGoodFile: file}, &auth)
	if err != nil {
		t.Fatal(err)
	}
	if got := auth.Load(); got == nil || *got != firstToken {
		t.Fatalf("in force after New is %+v", got)
	}
	if st := s.Status(); st.State != LastGood || st.AppliedRevision != 3 || st.Connected || st.Key != testKey {
		t.Errorf("status is %+v", st)
	}

	r := run(t, e.Endpoint, file)
	r.await("the report", func(st Status) bool { return st.State == LastGood && !st.Connected && st.Err != nil })
	if got := r.auth.Load(); got == nil || *got != firstToken {
		t.Errorf("in force is %+v", got)
	}
	e.Restart()
	r.await("an empty etcd", func(st Status) bool { return st.State == Absent && st.Connected })
	if got := r.auth.Load(); got == nil || *got != firstToken {
		t.Errorf("in force is %+v", got)
	}
	e.Put(testKey, secondValue)
	r.awaitToken(secondToken)
}

func TestStartWithNothing(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Kill()
	file := filepath.Join(t.TempDir(), "auth.json")
	r := run(t, e.Endpoint, file)
	r.await("the report", func(st Status) bool { return st.State == Waiting && !st.Connected && st.Err != nil })
	if got := r.auth.Load(); got != nil {
		t.Errorf("in force is %+v", got)
	}
	e.Restart()
	r.await("the report", func(st Status) bool { return st.State == Absent && st.Connected && st.Err == nil })
	if got := r.auth.Load(); got != nil {
		t.Errorf("in force is %+v", got)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a last good value was saved: %v", err)
	}
	_, command, _ := strings.Cut(r.log.String(), `command="etcdctl put `+testKey+` '`)
	value, _, _ := strings.Cut(strings.ReplaceAll(command, `\"`, `"`), "'")
	if _, _, err := parseToken([]byte(value)); err != nil {
		t.Errorf("the command in the log sets %s: %v", value, err)
	}
	e.Put(testKey, value)
	r.await("the value of the command", func(st Status) bool { return st.State == Applied })
	if r.auth.Load() == nil {
		t.Error("nothing is in force")
	}
}

// Many changes in a row end with the last one, in memory and on disk.
func TestBurst(t *testing.T) {
	e := testbench.StartEtcd(t)
	file := filepath.Join(t.TempDir(), "auth.json")
	r := run(t, e.Endpoint, file)
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	const changes = 500
	last := configs.Token{Realm: "https://registry.example.com/token", Issuer: "i", Service: fmt.Sprint("s", changes-1)}
	for i := range changes {
		value := fmt.Sprintf(`{"realm":%q,"issuer":"i","service":"s%d"}`, last.Realm, i)
		if i%7 == 0 {
			value = "{"
		}
		if _, err := cli.Put(t.Context(), testKey, value); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitToken(last)
	testbench.Eventually(t, patience, "the last value on disk", func() error {
		saved, token, err := loadRecord(file, testKey)
		if err == nil && token != last {
			err = fmt.Errorf("saved %+v", saved)
		}
		return err
	})
}

// A disk that cannot be written does not keep a new value from being applied; it is reported.
func TestUnsaved(t *testing.T) {
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)
	folder := filepath.Join(t.TempDir(), "lastgood")
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, e.Endpoint, filepath.Join(folder, "auth.json"))
	r.awaitToken(firstToken)
	testbench.Eventually(t, patience, "the report", func() error {
		if !strings.Contains(r.log.String(), "could not be saved") {
			return fmt.Errorf("log is %s", r.log.String())
		}
		return nil
	})
}

func TestNewFails(t *testing.T) {
	var auth configs.Value[configs.Token]
	if _, err := New(Options{Prefix: testPrefix}, &auth); err == nil {
		t.Error("no endpoints passed")
	}
	registry := prometheus.NewRegistry()
	options := Options{Endpoints: []string{"127.0.0.1:1"}, Prefix: testPrefix, Metrics: registry}
	if _, err := New(options, &auth); err != nil {
		t.Fatal(err)
	}
	if _, err := New(options, &auth); err == nil {
		t.Error("two sources with the same metrics passed")
	}
}

// Run ends at once when it is told to, whatever it waits for.
func TestRunEnds(t *testing.T) {
	var auth configs.Value[configs.Token]
	s, err := New(Options{Endpoints: []string{"http://127.0.0.1:1"}, Prefix: testPrefix}, &auth)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}
