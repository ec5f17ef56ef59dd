package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"gatehouse/registry/driver"
)

// Error codes by what they mean to the caller. A status alone says nothing is missing: a proxy answers 404 too.
var (
	missingCodes = []string{"NoSuchKey"}
	fullCodes    = []string{"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "EntityStorageFull", "InsufficientStorage"}
	deniedCodes  = []string{"AccessDenied", "AllAccessDisabled", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)

// code returns a server's error code and status; "" and 0 when it did not answer.
func code(err error) (code string, status int) {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = e.HTTPStatusCode()
	}
	return code, status
}

// failure is an error of the server that explain has explained: kind is what it means to the caller, or nil.
type failure struct {
	op, path, text string
	kind           error
}

func (f *failure) Error() string {
	if f.kind == nil {
		return f.op + " " + f.path + ": " + f.text
	}
	return f.op + " " + f.path + ": " + f.kind.Error() + ": " + f.text
}

func (f *failure) Unwrap() error { return f.kind }

// explain returns what an error of the server means: fs.ErrNotExist, driver.ErrUnavailable, driver.ErrNoSpace, or words. It has
// nothing of the request but its path. Other errors come back as they are.
func (d *Driver) explain(op, path string, err error) error {
	code, status := code(err)
	f := &failure{op: op, path: path, text: reason(err)}
	switch {
	case err == nil:
		return nil
	case slices.Contains(missingCodes, code):
		return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
	case code == "NoSuchBucket":
		f.text = "bucket " + d.bucket + " does not exist: create it or correct its name"
	case slices.Contains(fullCodes, code) || status == http.StatusInsufficientStorage:
		f.kind = driver.ErrNoSpace
	case slices.Contains(deniedCodes, code) || status == http.StatusForbidden:
		f.text = "bucket " + d.bucket + " refuses it: check the keys and the bucket's policy: " + f.text
	case passing(err) || d.retryer.IsErrorRetryable(err):
		f.kind = driver.ErrUnavailable
	case code == "" && status == 0:
		return err
	}
	return f
}

// reason is an error in the server's words, or in those of the connection, without what the library adds for its own users.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode() + ": " + e.ErrorMessage()
	}
	if e, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// begin is what each method begins with.
func (d *Driver) begin(ctx context.Context, op string, paths ...string) error {
	if err := driver.Check(ctx, op, paths...); err != nil {
		return err
	}
	return d.isOpen(op)
}

func (d *Driver) beginFolder(ctx context.Context, op, path string) error {
	if err := driver.CheckFolder(ctx, op, path); err != nil {
		return err
	}
	return d.isOpen(op)
}

func (d *Driver) isOpen(op string) error {
	if d.closed.Load() {
		return fmt.Errorf("%s: the s3 driver: %w", op, fs.ErrClosed)
	}
	return nil
}
