package main

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/admin"
	"gatehouse/configs"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// TestCollectionWaits: a verb that finds a collection under way says so, waits for its end, and has its own.
func TestCollectionWaits(t *testing.T) {
	ctx := t.Context()
	cfg, _, err := configs.Default(t.TempDir(), nil)
	fatal(t, err)
	quiet := slog.New(slog.DiscardHandler)
	st, err := openStorage(ctx, cfg, quiet)
	fatal(t, err)
	defer st.close()
	stderr := &bytes.Buffer{}
	p := &program{stdout: io.Discard, stderr: stderr}
	fatal(t, st.adopter.Start(ctx))
	fatal(t, p.adoptAll(ctx, st))
	fatal(t, st.driver.WriteFile(ctx, tree.Blob(digest.FromString("stray")), []byte("stray")))

	readOnly := admin.NewReadOnly(false)
	handlers := &admin.Collector{GC: newCollector(cfg, st, readOnly.Enabled, quiet), Server: true}
	a := admin.NewClient(admin.InProcess(newAdminServer(st, readOnly, handlers, quiet), "unix:tester"))
	said, line := io.Pipe()
	p.stderr = io.MultiWriter(stderr, line)
	var second admin.CollectorProgress
	ended, once := make(chan error, 1), sync.Once{}
	first, err := handlers.GC.Cycle(ctx, gc.Request{
		Policy: &index.Policy{Untagged: index.KeepUntagged}, Scan: true, Drain: true,
		Progress: func(gc.Report) {
			once.Do(func() {
				go func() {
					var err error
					second, err = p.collect(ctx, a, admin.RunCollector{}, true)
					line.CloseWithError(err)
					ended <- err
				}()
				_, err := said.Read(make([]byte, 1000))
				fatal(t, err) // it ended without a word
			})
		},
	})
	fatal(t, err)
	fatal(t, <-ended)
	if !second.Done || second.Number == "" || second.Number == first.Number || second.Deleted != 0 || first.Deleted != 1 {
		t.Errorf("the first did %+v, then the second %+v", first, second)
	}
	if want := "gatehouse: another collection is at work: this one begins when that has ended; `gatehouse gc status` says how far it is\n"; stderr.String() != want {
		t.Errorf("it said %q", stderr)
	}
}

// TestStatusOfWhatWaits: gc status says what the last cycle left for the tree's sake, and nothing where it left nothing.
func TestStatusOfWhatWaits(t *testing.T) {
	for n, want := range map[int]string{
		3: "last cycle: never\nwaiting since then: 3 blobs or more, until the tree follows the index\nlast comparison",
		0: "last cycle: never\nlast comparison",
	} {
		out := &bytes.Buffer{}
		fatal(t, (&program{stdout: out}).printCollector(admin.CollectorStatus{Status: gc.Status{Waiting: n}, Server: true, Enabled: true}))
		if !strings.Contains(out.String(), want) {
			t.Errorf("%d wait:\n%s", n, out)
		}
	}
}
