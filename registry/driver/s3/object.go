package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"gatehouse/registry/driver"
)

// User metadata of objects. Files that were never moved nor appended to have none, and distribution ignores it.
const (
	partsKey    = "gatehouse-parts"    // the object lists the parts of a file, whose size in bytes this is
	modifiedKey = "gatehouse-modified" // when the bytes were last changed, RFC 3339, where a copy would say when it was made
	uploadKey   = "gatehouse-upload"   // which multipart upload the object is of: a random UUID
)

const contentType = "application/octet-stream" // distribution's, for all files

// object is what a server tells of an object.
type object struct {
	etag    string
	size    int64 // the file's
	modTime time.Time
	inParts bool   // the object is a state
	upload  string // uploadKey
}

func newObject(etag *string, length *int64, modified *time.Time, metadata map[string]string) (object, error) {
	o := object{etag: aws.ToString(etag), size: aws.ToInt64(length), modTime: aws.ToTime(modified), upload: metadata[uploadKey]}
	var err error
	if size, ok := metadata[partsKey]; ok {
		o.inParts = true
		o.size, err = strconv.ParseInt(size, 10, 64)
	}
	if at, ok := metadata[modifiedKey]; ok && err == nil {
		o.modTime, err = time.Parse(time.RFC3339Nano, at)
	}
	if err != nil {
		return o, fmt.Errorf("the object's metadata: %w", err)
	}
	return o, nil
}

// copied is the metadata of a copy.
func (o object) copied() map[string]string {
	return map[string]string{modifiedKey: o.modTime.UTC().Format(time.RFC3339Nano)}
}

// errFolder is for a path where there is a folder, not a file.
var errFolder = errors.New("is a folder")

// head describes the file at a path. The answer to HEAD has no body that could tell a missing key from a missing bucket, so a
// second request asks whether there is a folder; only when that is answered is a file missing.
func (d *Driver) head(ctx context.Context, op, path string) (object, error) {
	out, err := d.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &d.bucket, Key: d.key(path)})
	if err == nil {
		o, err := newObject(out.ETag, out.ContentLength, out.LastModified, out.Metadata)
		return o, d.explain(op, path, err)
	}
	if _, status := code(err); status != http.StatusNotFound {
		return object{}, d.explain(op, path, err)
	}
	folder, err := d.isFolder(ctx, path)
	switch {
	case err != nil:
		return object{}, d.explain(op, path, err)
	case folder:
		return object{}, &fs.PathError{Op: op, Path: path, Err: errFolder}
	}
	return object{}, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
}

// state is what is at the key of a file in parts, as JSON. All parts but the last have at least minPart bytes: so S3 wants it.
type state struct {
	Parts []part `json:"parts"`
}

// part is an object that holds a part of a file. It is in the file's folder.
type part struct {
	Name string `json:"name"`
	ETag string `json:"etag"`
	Size int64  `json:"size"`
}

func (s state) size() (n int64) {
	for _, p := range s.Parts {
		n += p.Size
	}
	return n
}

// of returns the path of a part of a file.
func (p part) of(file string) string { return path.Join(path.Dir(file), p.Name) }

// maxState bounds a state: 10,000 parts with names of up to 255 bytes.
const maxState = 8 << 20

// parseState reads a state.
func parseState(r io.Reader) (s state, err error) {
	b, err := io.ReadAll(io.LimitReader(r, maxState))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("the list of its parts: %w", err)
	}
	for _, p := range s.Parts {
		if !driver.IsTemp(p.Name) || !driver.ValidPath(p.Name) {
			return s, fmt.Errorf("the list of its parts names %q, which is none", p.Name)
		}
	}
	return s, nil
}

// readState reads the parts of the file at a path. A plain file has none.
func (d *Driver) readState(ctx context.Context, op, path string) (s state, err error) {
	for n := range attempts {
		var out *s3.GetObjectOutput
		out, err = d.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &d.bucket, Key: d.key(path)})
		if err != nil {
			break
		}
		if out.Metadata[partsKey] != "" {
			s, err = parseState(out.Body)
		}
		out.Body.Close()
		if !passing(err) {
			break
		}
		d.wait(n)
	}
	return s, d.explain(op, path, err)
}

// writeState makes the file at a path one of parts.
func (d *Driver) writeState(ctx context.Context, path string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = d.put(ctx, path, b, map[string]string{partsKey: strconv.FormatInt(s.size(), 10)})
	return err
}

// attributes are what each object is given.
type attributes struct {
	class types.StorageClass
	acl   types.ObjectCannedACL
	sse   types.ServerSideEncryption
	keyID *string
}

func newAttributes(o Options) attributes {
	a := attributes{class: types.StorageClass(o.StorageClass), acl: types.ObjectCannedACL(o.ObjectACL)}
	if o.Encrypt {
		a.sse = types.ServerSideEncryptionAes256
		if o.KeyID != "" {
			a.sse, a.keyID = types.ServerSideEncryptionAwsKms, &o.KeyID
		}
	}
	return a
}

func (a attributes) put(in *s3.PutObjectInput) {
	in.ContentType, in.StorageClass, in.ACL = aws.String(contentType), a.class, a.acl
	in.ServerSideEncryption, in.SSEKMSKeyId = a.sse, a.keyID
}

func (a attributes) create(in *s3.CreateMultipartUploadInput) {
	in.ContentType, in.StorageClass, in.ACL = aws.String(contentType), a.class, a.acl
	in.ServerSideEncryption, in.SSEKMSKeyId = a.sse, a.keyID
}

func (a attributes) copy(in *s3.CopyObjectInput) {
	in.ContentType, in.StorageClass, in.ACL = aws.String(contentType), a.class, a.acl
	in.ServerSideEncryption, in.SSEKMSKeyId = a.sse, a.keyID
}
