package index

import (
	"context"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Referrers returns the manifests of the repository whose subject is a digest, in the order of their own digests: at most n of
// those after last, of one artifact type unless it is "", and whether there may be more. The subject need not be there. It
// costs the page and what the filter passes over.
func (x *Index) Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, last digest.Digest, n int) (list []Manifest, more bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		prefix := key(kindReferrer, repo, string(subject), "")
		for p, err := range r.Scan(behind(prefix, string(last)), kv.End(prefix)) {
			if err != nil {
				return err
			}
			m, err := manifest(r, repo, digest.Digest(lastPart(p.Key)))
			if err != nil {
				return err
			}
			if artifactType != "" && m.ArtifactType != artifactType {
				continue
			}
			if len(list) == n {
				more = true
				return nil
			}
			list = append(list, m)
		}
		return nil
	})
	return list, more, err
}
