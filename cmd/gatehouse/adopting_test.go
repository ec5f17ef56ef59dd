package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/configs"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
	"gatehouse/tokenserver"
)

// TestServesBeforeAdoptionIsComplete: on a tree that distribution wrote, the base and whatever is asked for are served while the
// adoption has not begun to go through it; that is for later, and changes no answer.
func TestServesBeforeAdoptionIsComplete(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	cfg, _, err := configs.Default(data, nil)
	fatal(t, err)
	cfg.HTTP.Addr, cfg.Log.AccessLog.Disabled = "127.0.0.1:0", true
	fatal(t, os.MkdirAll(cfg.DataDir(), 0o700))
	fatal(t, tokenserver.NewHtpasswdFile(cfg.Auth.Htpasswd.Path).Add(adminName, alicesWords))
	plant := func(name string, content []byte) {
		fatal(t, os.MkdirAll(filepath.Join(data, filepath.Dir(name)), 0o755))
		fatal(t, os.WriteFile(filepath.Join(data, name), content, 0o644))
	}
	for i := range 50 {
		repo, layer := fmt.Sprintf("team/app%d", i), fmt.Appendf(nil, "layer %d", i)
		d, m := digest.FromBytes(layer), manifestOf(layer)
		plant(tree.Blob(d), layer)
		plant(tree.Layer(repo, d), []byte(d))
		plant(tree.Blob(digest.FromBytes(m)), m)
		plant(tree.Revision(repo, digest.FromBytes(m)), []byte(digest.FromBytes(m)))
		plant(tree.TagCurrent(repo, "v1"), []byte(digest.FromBytes(m)))
		plant(tree.TagIndex(repo, "v1", digest.FromBytes(m)), []byte(digest.FromBytes(m)))
	}

	s, err := newServer(t.Context(), cfg, slog.New(slog.DiscardHandler))
	fatal(t, err)
	defer s.close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.gateway.Run(ctx) }() // and none of the parts beside it
	defer func() {
		stop()
		fatal(t, <-ended)
	}()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: trust(func(err error) { fatal(t, err) }, filepath.Join(cfg.DataDir(), "ca", "ca.pem")),
	}}
	defer client.CloseIdleConnections()
	want := func(path string, state index.AdoptionState) {
		t.Helper()
		r, err := http.NewRequest("GET", "https://"+s.gateway.Addr().String()+path, nil)
		fatal(t, err)
		r.SetBasicAuth(adminName, alicesWords)
		answer, err := client.Do(r)
		fatal(t, err)
		defer answer.Body.Close()
		if b, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != 200 {
			t.Errorf("%s: %s %s %v", path, answer.Status, b, err)
		}
		if now, err := s.index.Adoption(t.Context()); err != nil || now.State != state {
			t.Errorf("%s: the adoption is %v, %v; want %v", path, now.State, err, state)
		}
	}
	for _, state := range []index.AdoptionState{index.AdoptionRunning, index.AdoptionDone} {
		if state == index.AdoptionDone {
			fatal(t, s.adopter.Pass(t.Context(), func(index.Adoption) {}))
		}
		want("/v2/", state)
		want("/v2/team/app7/manifests/v1", state)
		want("/v2/team/app8/tags/list", state)
		want("/v2/team/app9/blobs/"+string(digest.FromString("layer 9")), state)
	}
}
