package testbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3Timeout bounds how long an S3 server may take to answer after a start.
const s3Timeout = 60 * time.Second

// S3 is a real server that speaks S3's protocol, on loopback ports and a folder that it keeps over restarts, without TLS. The
// cleanup ends it.
type S3 struct {
	*Process
	// Endpoint is its URL, "http://127.0.0.1:PORT".
	Endpoint             string
	AccessKey, SecretKey string
	// Bucket is there and empty at first.
	Bucket string
	// Client is one with all rights, for looking at what a test did.
	Client *s3.Client

	t       testing.TB
	buckets atomic.Int32
}

// EachS3 runs a test against each kind of server, side by side.
func EachS3(t *testing.T, test func(*testing.T, *S3)) {
	for name, start := range map[string]func(testing.TB) *S3{"versitygw": StartVersityGW, "minio": StartMinIO} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// StartVersityGW runs versitygw over a folder, which it keeps as files, and returns when it answers.
func StartVersityGW(t testing.TB) *S3 {
	t.Helper()
	program := Tool(t, "versitygw")
	s := newS3(t)
	s.Process = Start(t, program, "--access", s.AccessKey, "--secret", s.SecretKey, "--port", strings.TrimPrefix(s.Endpoint, "http://"),
		"--quiet", "--keep-alive", "posix", "--sidecar", t.TempDir(), t.TempDir())
	s.awaitHealth()
	return s
}

// StartMinIO runs MinIO over a folder, and returns when it answers.
func StartMinIO(t testing.TB) *S3 {
	t.Helper()
	program := Tool(t, "minio")
	s := newS3(t)
	cmd := exec.Command(program, "server", "--quiet", "--address", strings.TrimPrefix(s.Endpoint, "http://"), t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=on", "MINIO_CONFIG_DIR="+t.TempDir())
	s.Process = StartCmd(t, cmd)
	s.awaitHealth()
	return s
}

func newS3(t testing.TB) *S3 {
	t.Helper()
	s := &S3{Endpoint: "http://" + FreeAddr(t), AccessKey: "testaccess", SecretKey: "testsecretkey", t: t}
	s.Client = s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &s.Endpoint, UsePathStyle: true,
		Credentials:      credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		RetryMaxAttempts: 1,
	})
	return s
}

// awaitHealth returns when the first bucket is made, or there again.
func (s *S3) awaitHealth() {
	s.t.Helper()
	Eventually(s.t, s3Timeout, "the S3 server's health", func() error {
		if s.isOver() {
			s.t.Fatalf("the S3 server exited: %v", s.waitError())
		}
		resp, err := http.Get(s.Endpoint)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode >= http.StatusInternalServerError {
			return errors.New(resp.Status)
		}
		if s.Bucket == "" {
			name := "registry"
			if err := s.create(name); err != nil {
				return err
			}
			s.Bucket = name
		}
		return nil
	})
}

// Restart starts it again on the same data and ports, and returns when it answers; if it still runs, it is killed first.
func (s *S3) Restart() {
	s.t.Helper()
	s.Process.Restart()
	s.awaitHealth()
}

// NewBucket makes another bucket and returns its name.
func (s *S3) NewBucket() string {
	s.t.Helper()
	name := fmt.Sprintf("registry-%d", s.buckets.Add(1))
	if err := s.create(name); err != nil {
		s.t.Fatalf("create bucket %s: %v", name, err)
	}
	return name
}

func (s *S3) create(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), s3Timeout)
	defer cancel()
	_, err := s.Client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	return err
}

// Settings returns distribution's storage.s3 for a folder of a bucket, as a YAML mapping on one line. endpoint is the server's or
// that of a proxy before it.
func (s *S3) Settings(endpoint, bucket, folder string) string {
	return fmt.Sprintf("{bucket: %s, region: us-east-1, regionendpoint: %q, forcepathstyle: true, secure: false, v4auth: true, "+
		"accesskey: %s, secretkey: %s, chunksize: 5242880, rootdirectory: %q}", bucket, endpoint, s.AccessKey, s.SecretKey, folder)
}

// Object returns the bytes at a key of a bucket, and whether there is something.
func (s *S3) Object(bucket, key string) (data []byte, ok bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s3Timeout)
	defer cancel()
	out, err := s.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if missing := (*types.NoSuchKey)(nil); errors.As(err, &missing) {
		return nil, false
	}
	if err == nil {
		defer out.Body.Close()
		data, err = io.ReadAll(out.Body)
	}
	if err != nil {
		s.t.Fatalf("get %s of bucket %s: %v", key, bucket, err)
	}
	return data, true
}

// Objects returns all keys of a bucket.
func (s *S3) Objects(bucket string) (keys []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s3Timeout)
	defer cancel()
	for pages := s3.NewListObjectsV2Paginator(s.Client, &s3.ListObjectsV2Input{Bucket: &bucket}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			s.t.Fatalf("list bucket %s: %v", bucket, err)
		}
		for _, o := range page.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
	}
	return keys
}

// Uploads returns the keys of the multipart uploads in a bucket that are neither complete nor aborted.
func (s *S3) Uploads(bucket string) (keys []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s3Timeout)
	defer cancel()
	out, err := s.Client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		s.t.Fatalf("list the multipart uploads of bucket %s: %v", bucket, err)
	}
	for _, u := range out.Uploads {
		keys = append(keys, aws.ToString(u.Key))
	}
	return keys
}
