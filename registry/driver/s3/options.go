package s3

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// Options are the keys of distribution's storage.s3, with its defaults. Only Bucket, and Region or RegionEndpoint, are needed.
type Options struct {
	AccessKey string // accesskey; empty: what AWS's programs take (environment, shared files, the machine's or the pod's role)
	SecretKey Secret // secretkey

	Region         string // region; with an endpoint "us-east-1" if empty
	RegionEndpoint string // regionendpoint: another server than AWS's, "https://host:port" or "host:port"
	Bucket         string // bucket; it is never created

	RootDirectory string // rootdirectory: the folder in the bucket below which everything is

	Insecure   bool // secure: false: HTTP where RegionEndpoint does not say it
	SkipVerify bool // skipverify: take any certificate

	// ForcePathStyle is forcepathstyle: the bucket is in the URL's path, not in its host. It needs not be said where
	// RegionEndpoint is: few such servers have a name for each bucket.
	ForcePathStyle bool
	UseDualStack   bool // usedualstack: IPv6 too
	Accelerate     bool // accelerate: AWS's edge
	UseFIPS        bool // usefipsendpoint

	Encrypt      bool   // encrypt: on the server, with its own key or with KeyID's
	KeyID        string // keyid: of a key in AWS KMS; only with Encrypt
	StorageClass string // storageclass: empty and "NONE" leave it to the bucket
	ObjectACL    string // objectacl: empty and "private", S3's own default, are not sent: a bucket may refuse any
	UserAgent    string // useragent: added to the one that is sent

	// ChunkSize is chunksize, in bytes: in parts of it a large file is sent and kept in memory, see Driver. At least 5 MiB; 0 is
	// 10 MiB. A file has at most 10,000 parts.
	ChunkSize int64
	// What is larger than CopyThreshold (multipartcopythresholdsize; 0 is 32 MiB, at most 5 GiB) is copied in parts of CopyChunkSize
	// (multipartcopychunksize; 0 is 32 MiB), CopyConcurrency (multipartcopymaxconcurrency; 0 is 100) at a time for all.
	CopyThreshold, CopyChunkSize int64
	CopyConcurrency              int

	// RedirectEndpoint is redirectendpoint: scheme and host, and nothing else, of the URLs that Redirect gives.
	RedirectEndpoint string

	// V4Auth (v4auth) and LogLevel (loglevel) are taken and have no effect: requests are always signed with version 4, as every
	// server wants today, and nothing of them is logged, since a log of them would hold signatures.
	V4Auth   bool
	LogLevel string
}

// Secret is text that must not be shown: printed, logged or marshalled it is "***".
type Secret string

// String returns "***", or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Bounds of S3: the smallest part that is not the last, the most parts, the largest copy in one request.
const (
	minPart  = 5 << 20
	maxParts = 10_000
	maxCopy  = 5 << 30
)

// complete checks the options and sets their defaults.
func (o *Options) complete() error {
	if o.Bucket == "" {
		return errors.New("s3 storage: no bucket")
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return errors.New("s3 storage: give both accesskey and secretkey, or neither")
	}
	if o.RegionEndpoint != "" {
		if !strings.Contains(o.RegionEndpoint, "://") {
			scheme := "https://"
			if o.Insecure {
				scheme = "http://"
			}
			o.RegionEndpoint = scheme + o.RegionEndpoint
		}
		if u, err := url.Parse(o.RegionEndpoint); err != nil || u.Host == "" || u.User != nil {
			return errors.New("s3 storage: regionendpoint is not a URL like https://host:port")
		}
		o.ForcePathStyle = true
		o.Region = or(o.Region, "us-east-1")
	}
	if o.Region == "" {
		return errors.New("s3 storage: no region and no regionendpoint")
	}
	if o.RedirectEndpoint != "" {
		u, err := url.Parse(o.RedirectEndpoint)
		if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return errors.New("s3 storage: redirectendpoint is not a scheme and a host like https://host:port")
		}
	}
	if strings.EqualFold(o.StorageClass, "NONE") {
		o.StorageClass = ""
	}
	if o.ObjectACL == "private" {
		o.ObjectACL = ""
	}
	return o.sizes()
}

func (o *Options) sizes() error {
	o.ChunkSize = or(o.ChunkSize, 10<<20)
	o.CopyThreshold = or(o.CopyThreshold, 32<<20)
	o.CopyChunkSize = or(o.CopyChunkSize, 32<<20)
	o.CopyConcurrency = or(o.CopyConcurrency, 100)
	for key, size := range map[string]int64{"chunksize": o.ChunkSize, "multipartcopychunksize": o.CopyChunkSize} {
		if size < minPart || size > maxCopy {
			return fmt.Errorf("s3 storage: %s is %d, not from 5 MiB to 5 GiB", key, size)
		}
	}
	if o.CopyThreshold < 0 || o.CopyThreshold > maxCopy {
		return fmt.Errorf("s3 storage: multipartcopythresholdsize is %d, not from 0 to 5 GiB", o.CopyThreshold)
	}
	if o.CopyConcurrency < 1 {
		return fmt.Errorf("s3 storage: multipartcopymaxconcurrency is %d, not at least 1", o.CopyConcurrency)
	}
	return nil
}

// or returns v, or the default for none.
func or[T comparable](v, otherwise T) T {
	if v == *new(T) {
		return otherwise
	}
	return v
}

// rootPrefix is what the keys of all files begin with: nothing, or a folder with its "/". Source: distribution,
// registry/storage/driver/s3-aws/s3.go, s3Path.
func (o *Options) rootPrefix() string {
	return strings.TrimLeft(strings.TrimRight(o.RootDirectory, "/")+"/", "/")
}

// escaped is a key as the header of a copy's source wants it. Some servers take "+" for a space there.
func escaped(bucket, key string) string {
	return strings.ReplaceAll((&url.URL{Path: bucket + "/" + key}).EscapedPath(), "+", "%2B")
}
