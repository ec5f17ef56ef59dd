// Package s3 keeps the registry's files in a bucket of AWS S3 or of a server that speaks its protocol, under distribution's keys:
// rootdirectory, "/" and the path.
//
// S3 has neither rename nor append, and the bytes of a multipart upload cannot be read before it is complete. So
//
//   - A file that is appended to and fits in one part is an object like any other, written anew each time the Writer saves.
//   - A larger one is in parts: objects beside it with names of driver.TempName, sent in parallel while more bytes come. At its
//     own key is a small object that lists them, in order (see state). That list is all that it takes to go on appending, in
//     another process too; nothing is found by listing the bucket. What a crash leaves is parts that no list names: they are
//     deleted with the folder.
//   - Move has the server put the parts together at the new key, with one multipart upload that lives for as long as Move does.
//     It is the one copy that S3 demands of an upload whose digest is told at its end. Place needs none.
//
// Start at Driver; object.go is what an object tells of a file, writer.go how bytes get there, move.go how they are put together.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"gatehouse/registry/driver"
)

// Driver is a driver.Driver over a bucket, and a driver.Placer, driver.Redirector, driver.Eraser and
// driver.Sweeper.
//
// It holds at most one buffer of ChunkSize for each open Writer, and partsInFlight more; a Writer's grows as bytes come, and is
// given up when it is saved. Writers wait for each other when partsInFlight parts are on their way.
//
// A File of up to 256 KiB is in memory. A larger one is read from the server as it goes: the bytes are always those of one
// object, but when the path is deleted or replaced meanwhile, seeking back, or losing the connection, ends in an error.
//
// Requests are tried several times, with growing, random delays between; then the error is driver.ErrUnavailable.
type Driver struct {
	client  *s3.Client
	presign *s3.PresignClient
	retryer aws.Retryer
	careful aws.Retryer   // Erase's
	delay   time.Duration // before a second attempt
	stop    func()        // closes idle connections
	closed  atomic.Bool

	bucket, prefix string
	attributes     attributes
	chunk          int64
	copyThreshold  int64
	copyChunk      int64

	flight  chan struct{} // has an element for each part on its way
	copying chan struct{} // and for each part that the server copies
	buffers sync.Pool     // of *[]byte with capacity chunk
	held    atomic.Int64  // buffers in use
}

var (
	_ driver.Driver     = (*Driver)(nil)
	_ driver.Placer     = (*Driver)(nil)
	_ driver.Redirector = (*Driver)(nil)
	_ driver.Eraser     = (*Driver)(nil)
	_ driver.Sweeper    = (*Driver)(nil)
)

const (
	partsInFlight = 4  // parts on their way to the server, for all Writers
	deletesAtOnce = 16 // objects of a folder
)

// New returns a driver over the bucket that o names. It asks the server nothing.
func New(ctx context.Context, o Options) (*Driver, error) { return open(ctx, o, firstDelay) }

func open(ctx context.Context, o Options, delay time.Duration) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	client, transport, err := newClient(ctx, o, delay)
	if err != nil {
		return nil, fmt.Errorf("s3 storage: %w", err)
	}
	d := &Driver{
		client: client, retryer: newRetryer(delay), careful: newCarefulRetryer(delay), delay: delay, stop: transport.CloseIdleConnections,
		bucket: o.Bucket, prefix: o.rootPrefix(), attributes: newAttributes(o),
		chunk: o.ChunkSize, copyThreshold: o.CopyThreshold, copyChunk: o.CopyChunkSize,
		flight: make(chan struct{}, partsInFlight), copying: make(chan struct{}, o.CopyConcurrency),
	}
	d.presign = s3.NewPresignClient(client, func(p *s3.PresignOptions) {
		p.Expires = redirectTime
		if o.RedirectEndpoint != "" {
			p.ClientOptions = append(p.ClientOptions, func(c *s3.Options) {
				c.BaseEndpoint, c.EndpointOptions.DisableHTTPS = &o.RedirectEndpoint, false
			})
		}
	})
	return d, nil
}

// String names the bucket.
func (d *Driver) String() string { return "s3 bucket " + d.bucket }

// key is where the file of a path is; that of a folder's files begin with key and "/".
func (d *Driver) key(path string) *string { return aws.String(d.prefix + path) }

// below is what the keys of all that is in a folder begin with.
func (d *Driver) below(path string) string {
	if path == "." {
		return d.prefix
	}
	return d.prefix + path + "/"
}

// Name is "s3".
func (d *Driver) Name() string { return "s3" }

// Close is driver.Driver's.
func (d *Driver) Close() error {
	if d.closed.Swap(true) {
		return fmt.Errorf("close the s3 driver: %w", fs.ErrClosed)
	}
	d.stop()
	return nil
}

// ReadFile is driver.Driver's.
func (d *Driver) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	f, err := d.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > limit {
		return nil, fmt.Errorf("read %s: %w: %d bytes, not %d", path, driver.ErrTooLarge, f.Size(), limit)
	}
	data := make([]byte, f.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return data, nil
}

// WriteFile is driver.Driver's.
func (d *Driver) WriteFile(ctx context.Context, path string, data []byte) error {
	if err := d.begin(ctx, "write", path); err != nil {
		return err
	}
	_, err := d.put(context.WithoutCancel(ctx), path, data, nil)
	return d.explain("write", path, err)
}

// put makes an object of data in one request, and returns its ETag.
func (d *Driver) put(ctx context.Context, path string, data []byte, metadata map[string]string) (etag string, err error) {
	in := &s3.PutObjectInput{
		Bucket: &d.bucket, Key: d.key(path), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), Metadata: metadata,
	}
	d.attributes.put(in)
	out, err := d.client.PutObject(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}

// Stat is driver.Driver's: one request for a file, two for a folder or nothing.
func (d *Driver) Stat(ctx context.Context, path string) (driver.Info, error) {
	if err := d.beginFolder(ctx, "stat", path); err != nil {
		return driver.Info{}, err
	}
	ctx = context.WithoutCancel(ctx)
	if path == "." {
		_, err := d.isFolder(ctx, path)
		return driver.Info{Dir: true}, d.explain("stat", path, err)
	}
	o, err := d.head(ctx, "stat", path)
	if err == nil {
		return driver.Info{Size: o.size, ModTime: o.modTime}, nil
	}
	if errors.Is(err, errFolder) {
		return driver.Info{Dir: true}, nil
	}
	return driver.Info{}, err
}

// isFolder reports whether something is in a folder.
func (d *Driver) isFolder(ctx context.Context, path string) (bool, error) {
	out, err := d.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &d.bucket, Prefix: aws.String(d.below(path)), MaxKeys: aws.Int32(1)})
	return err == nil && len(out.Contents) > 0, err
}

// Delete is driver.Driver's.
func (d *Driver) Delete(ctx context.Context, path string) error { return d.delete(ctx, path) }

// Erase is driver.Eraser's.
func (d *Driver) Erase(ctx context.Context, path string) error {
	return d.delete(ctx, path, func(o *s3.Options) { o.Retryer = d.careful })
}

// delete deletes a file or a folder; options are of the requests that do. Of a file in parts the list goes first: what a crash
// leaves is parts that nothing names.
func (d *Driver) delete(ctx context.Context, path string, options ...func(*s3.Options)) error {
	if err := d.begin(ctx, "delete", path); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	o, err := d.head(ctx, "delete", path)
	if errors.Is(err, errFolder) {
		return d.explain("delete", path, d.deleteBelow(ctx, d.below(path), options...))
	}
	var s state
	if err == nil && o.inParts {
		s, err = d.readState(ctx, "delete", path)
	}
	if err != nil {
		return err
	}
	if err := d.removeKey(ctx, d.key(path), options...); err != nil {
		return d.explain("delete", path, err)
	}
	d.removeParts(ctx, path, s.Parts)
	return nil
}

// remove deletes the object of a path, if there is one.
func (d *Driver) remove(ctx context.Context, path string) error { return d.removeKey(ctx, d.key(path)) }

func (d *Driver) removeKey(ctx context.Context, key *string, options ...func(*s3.Options)) error {
	_, err := d.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &d.bucket, Key: key}, options...)
	if code, _ := code(err); code == "NoSuchKey" {
		return nil
	}
	return err
}

// deleteBelow deletes all objects whose keys begin with prefix, each by a request of its own: S3 takes nothing for them, and
// not every server has DeleteObjects or wants the checksum that comes with it.
func (d *Driver) deleteBelow(ctx context.Context, prefix string, options ...func(*s3.Options)) error {
	pages := s3.NewListObjectsV2Paginator(d.client, &s3.ListObjectsV2Input{Bucket: &d.bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		keys := make([]*string, len(page.Contents))
		for i, o := range page.Contents {
			keys[i] = o.Key
		}
		if err := d.removeKeys(ctx, keys, options...); err != nil {
			return err
		}
	}
	return nil
}

// removeParts deletes parts of a file. What stays behind takes room but harms nothing, and is deleted with the folder.
func (d *Driver) removeParts(ctx context.Context, path string, parts []part) {
	keys := make([]*string, len(parts))
	for i, p := range parts {
		keys[i] = d.key(p.of(path))
	}
	_ = d.removeKeys(ctx, keys)
}

func (d *Driver) removeKeys(ctx context.Context, keys []*string, options ...func(*s3.Options)) error {
	var g errgroup.Group
	g.SetLimit(deletesAtOnce)
	for _, key := range keys {
		g.Go(func() error { return d.removeKey(ctx, key, options...) })
	}
	return g.Wait()
}
