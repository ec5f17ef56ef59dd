package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// Move is driver.Driver's. The server copies the bytes, then from is deleted; a crash between leaves both.
func (d *Driver) Move(ctx context.Context, from, to string) error {
	if err := d.begin(ctx, "move", from, to); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	for try := range attempts {
		o, err := d.head(ctx, "move", from)
		if err != nil || from == to {
			return err
		}
		var s state
		list := []source{{key: d.key(from), etag: o.etag, size: o.size}}
		if o.inParts {
			if s, err = d.readState(ctx, "move", from); err != nil {
				return err
			}
			if s.size() != o.size {
				continue // replaced between the two requests
			}
			list = sources(d, from, s.Parts)
		}
		_, err = d.assemble(ctx, list, to, o.copied())
		if code, status := code(err); code == "NoSuchKey" || status == http.StatusPreconditionFailed {
			d.wait(try) // from was moved or replaced meanwhile; head says which
			continue
		}
		if err == nil {
			err = d.remove(ctx, from)
		}
		if err != nil {
			return d.explain("move", from, err)
		}
		d.removeParts(ctx, from, s.Parts)
		return nil
	}
	return fmt.Errorf("move %s: its bytes, or a part of them, are missing or replaced again and again: %w", from, errReplaced)
}

// assemble makes the file to of sources, in order, in one step: a copy, or a multipart upload of copies. It returns the ETag.
func (d *Driver) assemble(ctx context.Context, list []source, to string, metadata map[string]string) (etag string, err error) {
	if len(list) == 1 && list[0].size <= d.copyThreshold {
		in := &s3.CopyObjectInput{
			Bucket: &d.bucket, Key: d.key(to), CopySource: aws.String(escaped(d.bucket, *list[0].key)), CopySourceIfMatch: &list[0].etag,
			MetadataDirective: types.MetadataDirectiveReplace, Metadata: metadata,
		}
		d.attributes.copy(in)
		out, err := d.client.CopyObject(ctx, in)
		if err != nil {
			return "", err
		}
		if out.CopyObjectResult == nil || aws.ToString(out.CopyObjectResult.ETag) == "" {
			return "", errors.New("the server's answer to a copy says nothing of its result")
		}
		return *out.CopyObjectResult.ETag, nil
	}
	u, err := d.newUpload(ctx, to, metadata)
	if err != nil {
		return "", err
	}
	ranges := split(list, d.copyChunk)
	parts := make([]types.CompletedPart, len(ranges))
	g, groupCtx := errgroup.WithContext(ctx)
	for i, r := range ranges {
		d.copying <- struct{}{}
		g.Go(func() error {
			defer func() { <-d.copying }()
			etag, err := u.copyPart(groupCtx, i, r)
			parts[i] = completed(i, etag)
			return err
		})
	}
	if err = g.Wait(); err == nil {
		last := list[len(list)-1]
		etag, err = u.complete(ctx, parts, last.first+last.size)
	}
	if err != nil {
		u.abort(ctx)
	}
	return etag, err
}

// span is a range of a source's bytes.
type span struct {
	source
	from, to int64 // in the source, to exclusive
}

// split cuts sources into spans of at least chunk bytes, where they are that large, and less than twice as many; larger ones
// where there would be too many.
func split(list []source, chunk int64) (spans []span) {
	last := list[len(list)-1]
	chunk = max(min(chunk, maxCopy/2), (last.first+last.size)/int64(max(1, maxParts-len(list)))+1)
	for _, s := range list {
		n := max(1, s.size/chunk)
		for i := range n {
			spans = append(spans, span{s, s.size * i / n, s.size * (i + 1) / n})
		}
	}
	return spans
}

// upload is a multipart upload.
type upload struct {
	d    *Driver
	path string
	id   *string
	name string // that the object will have as uploadKey
}

func (d *Driver) newUpload(ctx context.Context, path string, metadata map[string]string) (*upload, error) {
	u := &upload{d: d, path: path, name: uuid.NewString()}
	marked := map[string]string{uploadKey: u.name}
	for k, v := range metadata {
		marked[k] = v
	}
	in := &s3.CreateMultipartUploadInput{Bucket: &d.bucket, Key: d.key(path), Metadata: marked}
	d.attributes.create(in)
	out, err := d.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return nil, err
	}
	u.id = out.UploadId
	return u, nil
}

// number is S3's number of the part n, which is from 0.
func number(n int) *int32 { return aws.Int32(int32(n + 1)) }

func completed(n int, etag string) types.CompletedPart {
	return types.CompletedPart{PartNumber: number(n), ETag: &etag}
}

// copyPart has the server copy a part from another object.
func (u *upload) copyPart(ctx context.Context, n int, r span) (etag string, err error) {
	in := &s3.UploadPartCopyInput{
		Bucket: &u.d.bucket, Key: u.d.key(u.path), UploadId: u.id, PartNumber: number(n),
		CopySource: aws.String(escaped(u.d.bucket, *r.key)), CopySourceIfMatch: &r.etag,
	}
	if r.to-r.from < r.size { // a range of a small object is refused
		in.CopySourceRange = aws.String(fmt.Sprintf("bytes=%d-%d", r.from, r.to-1))
	}
	out, err := u.d.client.UploadPartCopy(ctx, in)
	if err != nil {
		return "", err
	}
	if out.CopyPartResult == nil || aws.ToString(out.CopyPartResult.ETag) == "" {
		return "", errors.New("the server's answer to a copy says nothing of its result")
	}
	return *out.CopyPartResult.ETag, nil
}

// complete makes the parts, of size bytes together, the object. A server that says that it has no such upload, or that does
// not answer, may have completed it before: the object says whether it is this upload's.
func (u *upload) complete(ctx context.Context, parts []types.CompletedPart, size int64) (etag string, err error) {
	_, err = u.d.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.d.bucket, Key: u.d.key(u.path), UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	o, headErr := u.d.head(ctx, "write", u.path)
	switch {
	case err == nil && headErr == nil && o.size != size:
		return "", fmt.Errorf("the server made %d bytes of %d", o.size, size)
	case err == nil && errors.Is(headErr, fs.ErrNotExist):
		return "", errors.New("the server said that the upload is complete, and has no object")
	case err == nil:
		return o.etag, headErr
	case headErr == nil && o.upload == u.name && o.size == size:
		return o.etag, nil
	}
	return "", err
}

// abort gives the upload up. When that fails, Sweep does it.
func (u *upload) abort(ctx context.Context) {
	_, _ = u.d.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.d.bucket, Key: u.d.key(u.path), UploadId: u.id})
}
