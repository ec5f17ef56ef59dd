package fsck

import (
	"context"
	_ "crypto/sha256" // go-digest computes only what is linked in
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/tree"
)

const (
	blobsAtOnce = 1000 // records in a page
	looksAtOnce = 16   // each waits for the storage
	hashBuffer  = 256 << 10
)

// blobs looks at the bytes of all blobs of the index.
func (c *check) blobs(ctx context.Context) error {
	last := digest.Digest("")
	for {
		page, err := c.Index.Blobs(ctx, last, blobsAtOnce)
		if err != nil || len(page) == 0 {
			return err
		}
		last = page[len(page)-1].Digest
		looks, ctx := errgroup.WithContext(ctx)
		looks.SetLimit(looksAtOnce)
		if c.Digests {
			looks.SetLimit(runtime.GOMAXPROCS(0))
		}
		for _, b := range page {
			looks.Go(func() error { return c.blob(ctx, b) })
		}
		if err := looks.Wait(); err != nil {
			return err
		}
	}
}

// blob looks at the bytes of one blob.
func (c *check) blob(ctx context.Context, b index.StoredBlob) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer c.count(func(s *Summary) { s.Blobs++ })
	name := tree.Blob(b.Digest)
	info, err := c.Driver.Stat(ctx, name)
	if err == nil && c.Digests && info.Size == b.Size {
		var got digest.Digest
		if got, err = c.hash(ctx, b.Digest.Algorithm(), name); err == nil && got != b.Digest {
			c.badBlob(b.Digest, KindWrongDigest, "the bytes are those of "+string(got))
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		if held, err := c.Index.Held(ctx, b.Digest); err != nil || !held { // the collector finds that they are gone
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.Dir:
		c.badBlob(b.Digest, KindNoBytes, "")
	case err != nil:
		c.badBlob(b.Digest, KindUnreachable, err.Error())
	case info.Size != b.Size:
		c.badBlob(b.Digest, KindWrongSize, fmt.Sprintf("%d bytes, the index says %d", info.Size, b.Size))
	}
	return nil
}

func (c *check) badBlob(d digest.Digest, kind, detail string) {
	c.mu.Lock()
	c.bad[d] = kind
	c.mu.Unlock()
	c.report(Defect{Kind: kind, Path: tree.Blob(d), Digest: d, Detail: detail})
}

func (c *check) hash(ctx context.Context, algorithm digest.Algorithm, name string) (digest.Digest, error) {
	f, err := c.Driver.Open(ctx, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digester, buffer := algorithm.Digester(), make([]byte, hashBuffer)
	for {
		n, err := f.Read(buffer)
		digester.Hash().Write(buffer[:n])
		c.count(func(s *Summary) { s.Bytes += int64(n) })
		if errors.Is(err, io.EOF) {
			return digester.Digest(), nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", err
		}
	}
}

// orphans looks for bytes that the index does not know, and for what does not belong among blobs.
func (c *check) orphans(ctx context.Context) error {
	return c.list(ctx, tree.Blobs, func(algorithm string, dir bool) error {
		at := path.Join(tree.Blobs, algorithm)
		if !dir || algorithm != "sha256" && algorithm != "sha512" {
			c.report(Defect{Kind: KindOrphan, Path: at, Detail: "no folder of blobs that are served", Note: true})
			return nil
		}
		return c.list(ctx, at, func(two string, dir bool) error {
			at := path.Join(at, two)
			if !dir {
				c.report(Defect{Kind: KindOrphan, Path: at, Detail: "no part of the tree", Note: true})
				return nil
			}
			return c.list(ctx, at, func(hex string, dir bool) error {
				return c.orphan(ctx, path.Join(at, hex), algorithm+":"+hex)
			})
		})
	})
}

func (c *check) orphan(ctx context.Context, at, text string) error {
	d, err := manifest.ParseDigest(text)
	if err != nil || path.Dir(tree.Blob(d)) != at {
		c.report(Defect{Kind: KindOrphan, Path: at, Detail: "no part of the tree", Note: true})
		return nil
	}
	stored, err := c.Index.Stored(ctx, d)
	if err != nil || stored {
		return err
	}
	info, err := c.Driver.Stat(ctx, tree.Blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what deleting left of a folder
	}
	if err != nil {
		return err
	}
	c.report(Defect{Kind: KindOrphan, Path: tree.Blob(d), Digest: d, Detail: fmt.Sprintf("%d bytes", info.Size), Note: true})
	return nil
}

// list calls fn for what is in a folder. A folder that cannot be listed is a defect.
func (c *check) list(ctx context.Context, folder string, fn func(name string, dir bool) error) error {
	for e, err := range c.Driver.List(ctx, folder) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			c.report(Defect{Kind: KindUnreachable, Path: folder, Detail: err.Error()})
			return nil
		}
		if err := fn(e.Name, e.Dir); err != nil {
			return err
		}
	}
	return nil
}
