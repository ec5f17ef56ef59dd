package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/tree"
)

// scan compares what the store has with what the index knows, folder by folder. Bytes that the index does not know are
// condemned, to be deleted when grace and quarantine are over; that bytes are missing is only said: no bytes are ever
// deleted for it. Too many of either say that the two do not belong together.
func (r *run) scan(ctx context.Context) error {
	strays, err := r.compare(ctx, func(ctx context.Context) error {
		if err := r.mayGoOn(ctx); err != nil {
			return err
		}
		return r.belong(ctx, r.Missing, "the index knows %d blobs that the store does not have")
	})
	if err != nil {
		return err
	}
	return r.condemnStrays(ctx, strays)
}

// FindStrays returns the bytes that the store has and the index does not know. It goes through all of the store and changes nothing.
func (c *Collector) FindStrays(ctx context.Context) ([]index.StoredBlob, error) {
	return newRun(c, Request{}).compare(ctx, func(ctx context.Context) error { return ctx.Err() })
}

// compare goes through the store, as long as mayGoOn lets it, and returns the bytes that neither the index nor the tree knows.
func (r *run) compare(ctx context.Context, mayGoOn func(context.Context) error) (strays []index.StoredBlob, err error) {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		listed := map[string]bool{}
		folder := path.Join(tree.Blobs, string(algorithm))
		for e, err := range r.Driver.List(ctx, folder) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("compare store and index: %w", err)
			}
			if !e.Dir || len(e.Name) != 2 {
				continue // no part of the tree: fsck says so
			}
			listed[e.Name] = true
			found, err := r.scanFolder(ctx, algorithm, e.Name)
			if err != nil {
				return nil, fmt.Errorf("compare store and index: %w", err)
			}
			strays = append(strays, found...)
			if err := mayGoOn(ctx); err != nil {
				return nil, err
			}
		}
		if err := r.unlisted(ctx, algorithm, listed, mayGoOn); err != nil {
			return nil, fmt.Errorf("compare store and index: %w", err)
		}
	}
	return r.spare(ctx, strays)
}

// unlisted looks for what is missing below folders that are not there at all.
func (r *run) unlisted(ctx context.Context, algorithm digest.Algorithm, listed map[string]bool, mayGoOn func(context.Context) error) error {
	for last := string(algorithm) + ":"; ; {
		next, err := r.Index.Blobs(ctx, digest.Digest(last), 1)
		if err != nil || len(next) == 0 || next[0].Digest.Algorithm() != algorithm {
			return err
		}
		prefix := next[0].Digest.Encoded()[:2]
		if !listed[prefix] {
			if _, err := r.scanFolder(ctx, algorithm, prefix); err != nil {
				return err
			}
			if err := mayGoOn(ctx); err != nil {
				return err
			}
		}
		last = string(algorithm) + ":" + prefix + "g" // behind all digests that begin so
	}
}

// scanFolder compares the blobs whose digests begin alike. It returns those that the index does not know.
func (r *run) scanFolder(ctx context.Context, algorithm digest.Algorithm, prefix string) (strays []index.StoredBlob, err error) {
	known := map[digest.Digest]bool{} // and whether the store has them
	err = r.Index.BlobsBelow(ctx, string(algorithm)+":"+prefix, func(b index.StoredBlob) { known[b.Digest] = false })
	if err != nil {
		return nil, err
	}
	for e, err := range r.Driver.List(ctx, path.Join(tree.Blobs, string(algorithm), prefix)) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		d, err := manifest.ParseDigest(string(algorithm) + ":" + e.Name)
		if err != nil {
			continue
		}
		if _, ok := known[d]; ok {
			known[d] = true
			continue
		}
		stored, err := r.Index.Stored(ctx, d) // perhaps since
		if err != nil {
			return nil, err
		}
		if stored {
			continue
		}
		info, err := r.Driver.Stat(ctx, tree.Blob(d))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		strays = append(strays, index.StoredBlob{Digest: d, Size: info.Size})
	}
	for d, found := range known {
		if !found {
			r.lookForMissing(ctx, d)
		}
	}
	return strays, nil
}

// lookForMissing looks again for bytes that were not listed: they may have been deleted meanwhile, with their names.
func (r *run) lookForMissing(ctx context.Context, d digest.Digest) {
	_, err := r.Driver.Stat(ctx, tree.Blob(d))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if stored, err := r.Index.Stored(ctx, d); err != nil || !stored {
		return
	}
	r.Missing++
	if r.Lost != nil {
		r.Lost(d)
	}
	r.Log.ErrorContext(ctx, "bytes that the index knows are not in the store: gatehouse fsck says who needs them", "digest", d)
}

// belong trips the breaker when store and index disagree about so many blobs that it must be another store's index.
func (r *run) belong(ctx context.Context, blobs int, what string) error {
	if blobs <= r.Breaker.Blobs || r.Breaker == (Breaker{}) || r.request.Force {
		return nil
	}
	all, err := r.Index.CountBlobs(ctx, 1<<40)
	if err != nil {
		return err
	}
	if limit := max(r.Breaker.Blobs, all*r.Breaker.Percent/100); blobs > limit {
		return r.trip(ctx, fmt.Sprintf(what+", more than %d: is it the index of this store? (gatehouse fsck, gatehouse adopt)", blobs, limit))
	}
	return nil
}

// condemnStrays condemns bytes that the index does not know, unless there are so many that it must be the wrong index.
func (r *run) condemnStrays(ctx context.Context, strays []index.StoredBlob) error {
	if len(strays) == 0 {
		return nil
	}
	if err := r.belong(ctx, len(strays), "the store has %d blobs that the index does not know"); err != nil {
		return err
	}
	for len(strays) > 0 {
		n := min(batch, len(strays))
		found, err := r.Index.Stray(ctx, r.policy, strays[:n])
		if err != nil {
			return err
		}
		r.Strays += found
		strays = strays[n:]
	}
	if r.Strays > 0 {
		r.Log.WarnContext(ctx, "the store has bytes that the index does not know; they are condemned", "cycle", r.Number, "blobs", r.Strays)
	}
	return nil
}
