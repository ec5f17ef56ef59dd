package s3

import (
	"bytes"
	"context"
	"io/fs"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"gatehouse/registry/driver"
)

// Place is driver.Placer's: one request for a small file, a multipart upload for a larger one.
func (d *Driver) Place(ctx context.Context, path string) (driver.Writer, error) {
	if err := d.begin(ctx, "write", path); err != nil {
		return nil, err
	}
	p := &placer{d: d, path: path}
	p.create = sync.OnceValues(func() (*upload, error) { return d.newUpload(context.Background(), path, nil) })
	p.sender = &sender{d: d, path: path, send: p.send}
	return p, nil
}

// placer is the Writer of Place.
type placer struct {
	d      *Driver
	path   string
	size   int64
	sender *sender
	create func() (*upload, error) // once
	err    error
	ended  bool
}

// send stores a part of the multipart upload.
func (p *placer) send(n int, data []byte) (part, error) {
	u, err := p.create()
	if err != nil {
		return part{}, err
	}
	out, err := p.d.client.UploadPart(context.Background(), &s3.UploadPartInput{
		Bucket: &p.d.bucket, Key: p.d.key(p.path), UploadId: u.id, PartNumber: number(n),
		Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	})
	if err != nil {
		return part{}, err
	}
	return part{ETag: aws.ToString(out.ETag), Size: int64(len(data))}, nil
}

func (p *placer) Size() int64 { return p.size }

func (p *placer) Write(b []byte) (int, error) {
	if p.ended {
		return 0, p.closed("write")
	}
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.sender.write(b)
	p.size += int64(n)
	return n, p.fail(err)
}

// fail remembers an error. Nothing is kept: there is no file before Commit.
func (p *placer) fail(err error) error {
	if err != nil {
		p.err, p.size = p.d.explain("write", p.path, err), 0
	}
	return p.err
}

func (p *placer) Commit(ctx context.Context) error {
	if p.ended {
		return p.closed("commit")
	}
	if p.err != nil {
		return p.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.commit(context.WithoutCancel(ctx)); err != nil {
		return p.fail(err)
	}
	p.sender.drop()
	p.ended = true
	return nil
}

func (p *placer) commit(ctx context.Context) error {
	if p.sender.n == 0 {
		var data []byte
		if p.sender.buf != nil {
			data = *p.sender.buf
		}
		_, err := p.d.put(ctx, p.path, data, nil)
		return err
	}
	if p.sender.buffered() > 0 {
		if err := p.sender.flush(); err != nil {
			return err
		}
	}
	parts, err := p.sender.wait()
	if err != nil {
		return err
	}
	list := make([]types.CompletedPart, len(parts))
	for i, part := range parts {
		list[i] = completed(i, part.ETag)
	}
	u, err := p.create()
	if err == nil {
		_, err = u.complete(ctx, list, p.size)
	}
	return err
}

// Close without Commit drops the bytes.
func (p *placer) Close() error {
	if p.ended {
		return nil
	}
	p.ended = true
	p.sender.drop()
	p.sender.wait()
	if p.sender.n == 0 {
		return nil
	}
	if u, err := p.create(); err == nil {
		u.abort(context.Background())
	}
	return nil
}

func (p *placer) closed(op string) error {
	return &fs.PathError{Op: op, Path: p.path, Err: fs.ErrClosed}
}
