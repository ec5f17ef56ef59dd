package index

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Holders returns at most n repositories that may serve a blob. It costs two look-ups for each. What it returns is for comparing
// with what somebody may pull, never for telling. Links to bytes under another digest are not found.
func (x *Index) Holders(ctx context.Context, dgst digest.Digest, n int) (repos []string, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		repos = nil
		prefix := key(kindHolder, string(dgst), "")
		for from := prefix; len(repos) < n; {
			k, err := anyIn(r, from, kv.End(prefix))
			if err != nil || k == nil {
				return err
			}
			repo, _, _ := strings.Cut(string(k[len(prefix):]), "\x00")
			linked, err := has(r, key(kindLink, repo, string(dgst))) // else it holds them as a manifest
			if err != nil {
				return err
			}
			if linked {
				repos = append(repos, repo)
			}
			from = kv.End(key(kindHolder, string(dgst), repo, ""))
		}
		return nil
	})
	return repos, err
}
