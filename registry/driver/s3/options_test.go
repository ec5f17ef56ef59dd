package s3

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gatehouse/registry/driver"
	"gatehouse/testbench"
)

func TestOptions(t *testing.T) {
	base := Options{Bucket: "b", Region: "eu-west-1"}
	for want, change := range map[string]func(*Options){
		"":                        func(*Options) {},
		"no bucket":               func(o *Options) { o.Bucket = "" },
		"no region":               func(o *Options) { o.Region = "" },
		"both accesskey":          func(o *Options) { o.AccessKey = "a" },
		"chunksize":               func(o *Options) { o.ChunkSize = 5<<20 - 1 },
		"multipartcopychunksize":  func(o *Options) { o.CopyChunkSize = 1 },
		"multipartcopythreshold":  func(o *Options) { o.CopyThreshold = 5<<30 + 1 },
		"multipartcopymaxconcurr": func(o *Options) { o.CopyConcurrency = -1 },
		"regionendpoint":          func(o *Options) { o.RegionEndpoint = "https://" },
		"redirectendpoint":        func(o *Options) { o.RedirectEndpoint = "https://host/path" },
	} {
		o := base
		change(&o)
		if err := o.complete(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	for endpoint, want := range map[string]string{"host:9000": "http://host:9000", "https://host": "https://host"} {
		o := Options{Bucket: "b", RegionEndpoint: endpoint, Insecure: true}
		if err := o.complete(); err != nil || o.RegionEndpoint != want || !o.ForcePathStyle || o.Region == "" || o.ChunkSize != 10<<20 {
			t.Errorf("%s: %+v, %v", endpoint, o, err)
		}
	}
}

// TestAttributes: what the options say of encryption, class and rights is asked for with each way to make an object.
func TestAttributes(t *testing.T) {
	o := Options{Encrypt: true, KeyID: "key", StorageClass: "STANDARD_IA", ObjectACL: "bucket-owner-full-control"}
	var (
		put    s3.PutObjectInput
		create s3.CreateMultipartUploadInput
		copied s3.CopyObjectInput
	)
	a := newAttributes(o)
	a.put(&put)
	a.create(&create)
	a.copy(&copied)
	for what, got := range map[string]string{
		"put":    fmt.Sprint(put.ServerSideEncryption, *put.SSEKMSKeyId, put.StorageClass, put.ACL, *put.ContentType),
		"create": fmt.Sprint(create.ServerSideEncryption, *create.SSEKMSKeyId, create.StorageClass, create.ACL, *create.ContentType),
		"copy":   fmt.Sprint(copied.ServerSideEncryption, *copied.SSEKMSKeyId, copied.StorageClass, copied.ACL, *copied.ContentType),
	} {
		if want := fmt.Sprint("aws:kms", "key", "STANDARD_IA", "bucket-owner-full-control", "application/octet-stream"); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
}

// TestSecret prints options, a driver and the errors of a wrong key in all ways.
func TestSecret(t *testing.T) {
	const secret = "hunter2hunter2"
	s := testbench.StartVersityGW(t)
	o := options(s)
	o.SecretKey = secret
	d := newDriver(t, o)
	var printed bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&printed, nil))
	text := slog.New(slog.NewTextHandler(&printed, nil))
	_, statErr := d.Stat(t.Context(), "file")
	writeErr := d.WriteFile(t.Context(), "file", nil)
	for _, v := range []any{o, &o, d, statErr, writeErr, []Options{o}, o.SecretKey} {
		fmt.Fprintf(&printed, "%v %+v %#v %s %q\n", v, v, v, v, v)
		log.Info("value", "value", v)
		text.Info("value", "value", v)
		json.NewEncoder(&printed).Encode(v)
	}
	if strings.Contains(printed.String(), secret) || !strings.Contains(printed.String(), "***") {
		t.Errorf("printed: %s", printed.String())
	}
	for what, err := range map[string]error{"stat": statErr, "write": writeErr} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "check the keys") {
			t.Errorf("%s with a wrong key: %v", what, err)
		}
	}
}

// TestNoBucket: where there is no bucket, nothing is called missing.
func TestNoBucket(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(start(t))
			o.Bucket = "no-such-bucket"
			d := newDriver(t, o)
			_, statErr := d.Stat(t.Context(), "file")
			_, rootErr := d.Stat(t.Context(), ".")
			_, readErr := d.ReadFile(t.Context(), "file", 10)
			_, appendErr := d.Append(t.Context(), "file", 0)
			var listErr error
			for _, err := range d.List(t.Context(), "dir") {
				listErr = err
			}
			for what, err := range map[string]error{
				"stat": statErr, "stat of the root": rootErr, "read": readErr, "append": appendErr, "list": listErr,
				"move": d.Move(t.Context(), "a", "b"), "delete": d.Delete(t.Context(), "a"), "write": d.WriteFile(t.Context(), "a", nil),
			} {
				if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no-such-bucket does not exist") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// TestGone: a server that does not answer is ErrUnavailable.
func TestGone(t *testing.T) {
	s := testbench.StartVersityGW(t)
	d := newDriver(t, options(s))
	s.Kill()
	if err := d.WriteFile(t.Context(), "file", nil); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("write: %v", err)
	}
	if _, err := d.Stat(t.Context(), "file"); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("stat: %v", err)
	}
}

// TestKeys: keys and content type are distribution's, whatever the form of rootdirectory.
func TestKeys(t *testing.T) {
	s := testbench.StartVersityGW(t)
	for root, prefix := range map[string]string{"": "", "/": "", "/foo/": "foo/", "foo": "foo/", "/a b/+c//": "a b/+c/"} {
		o := options(s)
		o.RootDirectory = root
		d := newDriver(t, o)
		must(t, push(t, d, "up/data", "docker/data", small, new(int64)))
		must(t, d.WriteFile(t.Context(), "docker/link", small))
		out, err := s.Client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &o.Bucket})
		must(t, err)
		var keys []string
		for _, c := range out.Contents {
			head, err := s.Client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &o.Bucket, Key: c.Key})
			must(t, err)
			keys = append(keys, *c.Key+" "+aws.ToString(head.ContentType))
		}
		if want := []string{prefix + "docker/data application/octet-stream", prefix + "docker/link application/octet-stream"}; !slices.Equal(keys, want) {
			t.Errorf("rootdirectory %q: %q, want %q", root, keys, want)
		}
		holds(t, d, "docker/data", small)
		must(t, d.Delete(t.Context(), "docker"))
	}
}

func TestRedirect(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p := testbench.NewS3Proxy(t, s.Endpoint)
			for _, endpoint := range []string{"", p.URL} {
				o := options(s)
				o.RedirectEndpoint = endpoint
				d := newDriver(t, o)
				must(t, d.WriteFile(t.Context(), "blobs/data", small))
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					to, ok, err := d.Redirect(t.Context(), "blobs/data", method)
					if err != nil || !ok {
						t.Fatalf("redirect: %v, %v", ok, err)
					}
					u, err := url.Parse(to)
					must(t, err)
					if want := or(endpoint, s.Endpoint); u.Scheme+"://"+u.Host != want || u.Query().Get("X-Amz-Expires") != "1200" {
						t.Errorf("%s, want it at %s for 1200 seconds", to, want)
					}
					req, err := http.NewRequest(method, to, nil)
					must(t, err)
					resp, err := http.DefaultClient.Do(req)
					must(t, err)
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					must(t, err)
					if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(small)) || method == http.MethodGet && !bytes.Equal(got, small) {
						t.Errorf("%s: %s, %d bytes", method, resp.Status, resp.ContentLength)
					}
				}
				if _, ok, err := d.Redirect(t.Context(), "blobs/data", http.MethodPut); ok || err != nil {
					t.Errorf("redirect of PUT: %v, %v", ok, err)
				}
			}
		})
	}
}
