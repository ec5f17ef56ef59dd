// Package indextest enters names for tests of other packages, where no collector runs that could delete the bytes meanwhile.
package indextest

import (
	"context"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
)

// LinkBlob links a blob.
func LinkBlob(ctx context.Context, x *index.Index, repo string, d digest.Digest, size int64) error {
	ticket, err := x.Prepare(ctx, d)
	if err != nil {
		return err
	}
	return x.LinkBlob(ctx, ticket, repo, size)
}

// PutManifest puts a manifest.
func PutManifest(ctx context.Context, x *index.Index, repo string, m index.Manifest, tags ...string) error {
	ticket, err := x.Prepare(ctx, m.Digest)
	if err != nil {
		return err
	}
	return x.PutManifest(ctx, ticket, repo, m, tags...)
}
