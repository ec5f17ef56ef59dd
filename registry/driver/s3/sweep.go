package s3

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Sweep is driver.Sweeper's. It finds the multipart uploads that Move, Place and distribution left by listing those of the
// whole bucket: MinIO answers no other question. What a server does not list stays until a rule of the bucket
// (AbortIncompleteMultipartUpload) takes it away; nothing but room depends on it.
func (d *Driver) Sweep(ctx context.Context, olderThan time.Duration) (n int, err error) {
	if err := d.isOpen("sweep"); err != nil {
		return 0, err
	}
	before := time.Now().Add(-olderThan)
	var failed error
	pages := s3.NewListMultipartUploadsPaginator(d.client, &s3.ListMultipartUploadsInput{Bucket: &d.bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return n, errors.Join(failed, d.explain("sweep", "uploads", err))
		}
		for _, u := range page.Uploads {
			if !strings.HasPrefix(aws.ToString(u.Key), d.prefix) || aws.ToTime(u.Initiated).After(before) {
				continue
			}
			_, err := d.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &d.bucket, Key: u.Key, UploadId: u.UploadId})
			if code, _ := code(err); code == "NoSuchUpload" {
				continue // it has ended meanwhile
			}
			if err != nil {
				failed = errors.Join(failed, d.explain("sweep", aws.ToString(u.Key), err))
				continue
			}
			n++
		}
	}
	return n, failed
}

// redirectTime is how long a URL of Redirect works: distribution's 20 minutes.
const redirectTime = 20 * time.Minute

// Redirect is driver.Redirector's, for GET and HEAD. It asks the server nothing.
func (d *Driver) Redirect(ctx context.Context, path, method string) (url string, ok bool, err error) {
	if err := d.begin(ctx, "redirect", path); err != nil {
		return "", false, err
	}
	var r *v4.PresignedHTTPRequest
	switch method {
	case http.MethodGet:
		r, err = d.presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &d.bucket, Key: d.key(path)})
	case http.MethodHead:
		r, err = d.presign.PresignHeadObject(ctx, &s3.HeadObjectInput{Bucket: &d.bucket, Key: d.key(path)})
	default:
		return "", false, nil
	}
	if err != nil {
		return "", false, d.explain("redirect", path, err)
	}
	return r.URL, true, nil
}
