package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gatehouse/registry/driver"
)

// smallFile is how many bytes of a file Open reads at once, if that is all of it.
const smallFile = 256 << 10

// file is the driver.File of one object, or of several in turn. Each is read with its ETag, so that what is read is always of
// the file that was opened.
type file struct {
	d       *Driver
	path    string
	sources []source
	size    int64
	modTime time.Time
	small   []byte // all bytes of a small file, else nil

	offset int64         // of Read
	body   io.ReadCloser // or nil
	at     int64         // body's next byte
}

// source is an object's place in a file.
type source struct {
	key         *string
	etag        string
	first, size int64
}

func sources(d *Driver, file string, parts []part) (list []source) {
	var n int64
	for _, p := range parts {
		list = append(list, source{key: d.key(p.of(file)), etag: p.ETag, first: n, size: p.Size})
		n += p.Size
	}
	return list
}

// Open is driver.Driver's: one request, which brings the bytes too.
func (d *Driver) Open(ctx context.Context, path string) (driver.File, error) {
	if err := d.begin(ctx, "open", path); err != nil {
		return nil, err
	}
	f, err := d.open(context.WithoutCancel(ctx), path)
	if err != nil {
		return nil, d.explain("open", path, err)
	}
	if f.size <= smallFile {
		b := make([]byte, f.size)
		_, err := io.ReadFull(f, b)
		f.Close()
		if err != nil {
			return nil, err
		}
		f.small, f.offset = b, 0
	}
	return f, nil
}

func (d *Driver) open(ctx context.Context, path string) (*file, error) {
	out, err := d.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &d.bucket, Key: d.key(path)})
	if err != nil {
		return nil, err
	}
	o, err := newObject(out.ETag, out.ContentLength, out.LastModified, out.Metadata)
	if err != nil {
		out.Body.Close()
		return nil, err
	}
	f := &file{d: d, path: path, size: o.size, modTime: o.modTime}
	if !o.inParts {
		f.sources, f.body = []source{{key: d.key(path), etag: o.etag, size: o.size}}, out.Body
		return f, nil
	}
	s, err := parseState(out.Body)
	out.Body.Close()
	if passing(err) {
		s, err = d.readState(ctx, "open", path)
	}
	if err == nil && s.size() != o.size {
		err = fmt.Errorf("the list of its parts was replaced meanwhile: %w", driver.ErrUnavailable)
	}
	f.sources = sources(d, path, s.Parts)
	return f, err
}

func (f *file) Size() int64        { return f.size }
func (f *file) ModTime() time.Time { return f.modTime }

func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, &fs.PathError{Op: "seek", Path: f.path, Err: fs.ErrInvalid}
	}
	f.offset = offset
	return offset, nil
}

// Read reads on from the answer to Open's request. When that is cut off, or at another place, it asks again.
func (f *file) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.offset >= f.size {
		return 0, io.EOF
	}
	if f.small != nil {
		n = copy(p, f.small[f.offset:])
		f.offset += int64(n)
		return n, nil
	}
	for try := range attempts {
		if f.body == nil || f.at != f.offset {
			f.Close()
			s := f.source(f.offset)
			f.body, err = f.get(s, f.offset, s.first+s.size)
			if err != nil {
				return 0, err
			}
			f.at = f.offset
		}
		s := f.source(f.offset)
		n, err = f.body.Read(p[:min(int64(len(p)), s.first+s.size-f.offset)])
		f.offset += int64(n)
		f.at += int64(n)
		if err != nil || f.offset == s.first+s.size {
			f.Close()
		}
		if n > 0 {
			return n, nil
		}
		if err != nil {
			f.d.wait(try)
		}
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, fmt.Errorf("read %s: %w: %s", f.path, driver.ErrUnavailable, reason(err))
}

// ReadAt asks for the bytes alone.
func (f *file) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrInvalid}
	}
	if f.small != nil {
		if offset < f.size {
			n = copy(p, f.small[offset:])
		}
	} else {
		for try := 0; n < len(p) && offset+int64(n) < f.size && try < attempts; {
			s := f.source(offset + int64(n))
			body, err := f.get(s, offset+int64(n), min(s.first+s.size, offset+int64(len(p))))
			if err != nil {
				return n, err
			}
			k, err := io.ReadFull(body, p[n:min(int64(len(p)), s.first+s.size-offset)])
			body.Close()
			n += k
			if err != nil {
				f.d.wait(try)
				try++
			}
		}
		if n < len(p) && offset+int64(n) < f.size {
			return n, fmt.Errorf("read %s: %w", f.path, driver.ErrUnavailable)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// source is where the byte at offset is, which is before the file's end.
func (f *file) source(offset int64) source {
	for _, s := range f.sources {
		if offset < s.first+s.size {
			return s
		}
	}
	return source{}
}

// get asks for a source's bytes from the file's first to its end, exclusive.
func (f *file) get(s source, first, end int64) (io.ReadCloser, error) {
	out, err := f.d.client.GetObject(context.Background(), &s3.GetObjectInput{
		Bucket: &f.d.bucket, Key: s.key, IfMatch: &s.etag, Range: aws.String(fmt.Sprintf("bytes=%d-%d", first-s.first, end-s.first-1)),
	})
	if code, status := code(err); code == "NoSuchKey" || status == http.StatusPreconditionFailed {
		return nil, fmt.Errorf("read %s at %d: %w", f.path, first, errReplaced)
	}
	if err != nil {
		return nil, f.d.explain("read", f.path, err)
	}
	if n := aws.ToInt64(out.ContentLength); n != end-first {
		out.Body.Close()
		return nil, fmt.Errorf("read %s: the server sent %d bytes from %d on, not %d", f.path, n, first, end-first)
	}
	return out.Body, nil
}

var errReplaced = errors.New("it was deleted or replaced since it was opened")

func (f *file) Close() error {
	if f.body != nil {
		f.body.Close()
		f.body = nil
	}
	return nil
}

// wait waits after the attempt of a number, from 0.
func (d *Driver) wait(attempt int) { time.Sleep(backoff(d.delay, attempt)) }
