package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/configs"
	"gatehouse/gateway"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/token"
)

// TestMountByRules: over the real server, with tokens for the target alone, a blob is mounted from where the rules let the
// account pull, whether it names the source or not, and from nowhere else.
func TestMountByRules(t *testing.T) {
	const bob = "bob"
	data := filepath.Join(t.TempDir(), "data")
	fatal(t, os.MkdirAll(filepath.Join(data, "gatehouse"), 0o700))
	fatal(t, tokenserver.NewHtpasswdFile(filepath.Join(data, "gatehouse", "htpasswd")).Add(bob, alicesWords))
	i := startOn(t, data, `REGISTRY_TOKENSERVER_ACCESS=[{account: alice, repository: "**", actions: ["*"]}, {account: bob, repository: "mine/**", actions: [pull, push]}]`)
	secret := i.pushBlob("secret", []byte("secret"))
	shared := i.pushBlob("mine/base", []byte("shared"))
	i.pushBlob("secret", []byte("shared"))
	nowhere := digest.FromString("nowhere")
	bearer := func(scope string) string {
		var answer struct{ Token string }
		_, b := i.want(200, "GET", "/token?service=gatehouse&scope="+scope, nil)
		fatal(t, json.Unmarshal(b, &answer))
		return "Authorization: Bearer " + answer.Token
	}
	mine := bearer("repository:other/app:pull,push")
	for _, query := range []string{"mount=" + string(secret), "from=secret&mount=" + string(secret)} {
		i.want(201, "POST", "/v2/other/app/blobs/uploads/?"+query, nil, mine)
	}
	i.want(202, "POST", "/v2/other/app/blobs/uploads/?mount="+string(nowhere), nil, mine)

	i.user = bob
	mine = bearer("repository:mine/app:pull,push")
	for _, d := range []digest.Digest{secret, nowhere} {
		i.want(202, "POST", "/v2/mine/app/blobs/uploads/?mount="+string(d), nil, mine)
		i.want(202, "POST", "/v2/mine/app/blobs/uploads/?from=secret&mount="+string(d), nil, mine)
		i.want(404, "HEAD", "/v2/mine/app/blobs/"+string(d), nil, mine)
	}
	i.want(201, "POST", "/v2/mine/app/blobs/uploads/?mount="+string(shared), nil, mine)
}

// TestOutsideIssuer: without users of its own the server has nobody whom its access rules could be asked about.
func TestOutsideIssuer(t *testing.T) {
	for name, htpasswd := range map[string]*configs.Htpasswd{"own": {Path: filepath.Join(t.TempDir(), "htpasswd")}, "outside": nil} {
		t.Run(name, func(t *testing.T) {
			s := &server{
				cfg: &configs.Config{Auth: configs.Auth{Htpasswd: htpasswd, Token: &configs.TokenAuth{Realm: "https://auth.example.com/token"}}},
				log: slog.New(slog.DiscardHandler), metrics: newMetrics(), storage: &storage{dataDir: t.TempDir()},
			}
			if htpasswd != nil {
				fatal(t, tokenserver.NewHtpasswdFile(htpasswd.Path).Add(alice, alicesWords))
				s.cfg.TokenServer.Access = []configs.Rule{{Account: configs.Names{"*"}, Repository: configs.Names{"**"}, Actions: []string{"pull"}}}
			}
			a, err := s.newAuth()
			fatal(t, err)
			may := a.forRegistry(gateway.Origin{}).May
			if (may != nil) != (htpasswd != nil) {
				t.Fatalf("the registry can ask the rules: %v", may != nil)
			}
			if may == nil {
				return
			}
			for _, q := range []struct {
				account, action string
				want            bool
			}{{alice, "pull", true}, {alice, "push", false}, {"", "pull", false}} {
				if got := may(t.Context(), &token.Claims{Subject: q.account, Source: "htpasswd"})("a", q.action); got != q.want {
					t.Errorf("%q may %s: %v, want %v", q.account, q.action, got, q.want)
				}
			}
		})
	}
}
