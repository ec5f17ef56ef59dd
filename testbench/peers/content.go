package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

const (
	repository   = "bench"
	tagged       = "tagged" // the repository with many tags
	tag          = "v1"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	layers       = 6 // of the image that is pulled, 4 KiB each
	smallSize    = 4 << 10
	mediumSize   = 16 << 20
)

// blob is a blob by what a client needs to know of it.
type blob struct {
	digest digest.Digest
	size   int64
}

func (b blob) path() string { return "/v2/" + repository + "/blobs/" + string(b.digest) }

// content is what both servers hold.
type content struct {
	small, medium, large blob
	manifest             []byte
}

// fill pushes the same content to both servers and reads it back, digests compared.
func (b *bench) fill(ctx context.Context) error {
	b.small, b.medium, b.large = blobOf(1, smallSize), blobOf(2, mediumSize), blobOf(3, b.largeMiB<<20)
	image := []blob{b.small}
	for i := range uint64(layers) {
		image = append(image, blobOf(10+i, smallSize))
	}
	b.manifest = manifestOf(image)
	for _, s := range []*server{b.ours, b.theirs} {
		if err := b.fillOne(ctx, s.http1); err != nil {
			return fmt.Errorf("fill %s: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) fillOne(ctx context.Context, c *client) error {
	push := func(repo string, number uint64, d blob) error {
		return c.pushBlob(ctx, repo, d.digest, d.size, newNoise(number, d.size))
	}
	for number, d := range map[uint64]blob{1: b.small, 2: b.medium, 3: b.large} {
		if err := push(repository, number, d); err != nil {
			return err
		}
		if err := c.verify(ctx, d.path(), d.size, d.digest); err != nil {
			return err
		}
	}
	if err := push(tagged, 1, b.small); err != nil {
		return err
	}
	for i := range uint64(layers) {
		for _, repo := range []string{repository, tagged} {
			if err := push(repo, 10+i, blobOf(10+i, smallSize)); err != nil {
				return err
			}
		}
	}
	if err := c.pushManifest(ctx, repository, tag, b.manifest); err != nil {
		return err
	}
	if err := c.verify(ctx, manifestPath, int64(len(b.manifest)), digest.FromBytes(b.manifest)); err != nil {
		return err
	}
	return b.fillTags(ctx, c)
}

// fillTags gives one manifest many tags, pushed by as many clients as there are in a round.
func (b *bench) fillTags(ctx context.Context, c *client) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.clients)
	for i := range b.tags {
		group.Go(func() error { return c.pushManifest(ctx, tagged, fmt.Sprintf("v%06d", i), b.manifest) })
	}
	return group.Wait()
}

// manifestOf is the manifest of an image, whose first blob is the config.
func manifestOf(image []blob) []byte {
	list := make([]string, len(image))
	for i, b := range image {
		kind := "application/vnd.oci.image.layer.v1.tar+gzip"
		if i == 0 {
			kind = "application/vnd.oci.image.config.v1+json"
		}
		list[i] = fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, kind, b.digest, b.size)
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, manifestType, list[0], strings.Join(list[1:], ","))
}

// blobOf hashes the noise of a number.
func blobOf(number uint64, size int64) blob {
	d, err := digest.SHA256.FromReader(newNoise(number, size))
	if err != nil {
		panic(err) // noise has no errors
	}
	return blob{d, size}
}

// newNoise returns size bytes that depend on number and that nothing makes smaller, cheaply: a random block again and again,
// and its number in front.
func newNoise(number uint64, size int64) io.Reader {
	head := binary.BigEndian.AppendUint64(nil, number)
	return io.LimitReader(io.MultiReader(bytes.NewReader(head), &noise{}), size)
}

// noise is noiseBlock without an end.
type noise struct{ at int }

var noiseBlock = func() []byte {
	source := rand.NewChaCha8([32]byte{1})
	block := make([]byte, 1<<20)
	source.Read(block)
	return block
}()

func (n *noise) Read(p []byte) (int, error) {
	m := copy(p, noiseBlock[n.at:])
	n.at = (n.at + m) % len(noiseBlock)
	return m, nil
}
