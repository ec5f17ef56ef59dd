package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	attempts    = 6                      // of each request
	firstDelay  = 200 * time.Millisecond // before the second, doubled for each one more; it is drawn between 0 and this
	longestWait = 5 * time.Second        // between two
	silence     = time.Minute            // after which a connection that we wait on is given up
	dialTimeout = 10 * time.Second
	idleConns   = 128
)

// newClient returns a client of o's server, and what closes its idle connections.
func newClient(ctx context.Context, o Options, delay time.Duration) (*s3.Client, *http.Transport, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return conn{c}, nil
		},
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.SkipVerify},
		TLSHandshakeTimeout:   dialTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConns:          idleConns,
		MaxIdleConnsPerHost:   idleConns,
		IdleConnTimeout:       silence / 2,
		DisableCompression:    true,
	}
	c := aws.Config{Region: o.Region}
	if o.AccessKey != "" {
		c.Credentials = aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(o.AccessKey, string(o.SecretKey), ""))
	} else {
		var err error
		if c, err = config.LoadDefaultConfig(ctx, config.WithRegion(o.Region)); err != nil {
			return nil, nil, err
		}
	}
	c.HTTPClient = &http.Client{Transport: transport, CheckRedirect: redirected}
	c.Retryer = func() aws.Retryer { return newRetryer(delay) }
	// Each body is signed with its SHA-256, which the server checks: checksums beside it cost time, and not every server knows them.
	c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	return s3.NewFromConfig(c, o.apply), transport, nil
}

func (o *Options) apply(c *s3.Options) {
	if o.RegionEndpoint != "" {
		c.BaseEndpoint = &o.RegionEndpoint
	}
	c.UsePathStyle = o.ForcePathStyle
	c.UseAccelerate = o.Accelerate
	c.EndpointOptions.DisableHTTPS = o.Insecure && o.RegionEndpoint == "" // else the endpoint says it
	if o.UseDualStack {
		c.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	if o.UseFIPS {
		c.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
	}
	if o.UserAgent != "" {
		c.APIOptions = append(c.APIOptions, middleware.AddUserAgentKey(o.UserAgent))
	}
}

// redirected follows what keeps the method, as AWS answers for a new bucket, and leaves the rest to be an error.
func redirected(r *http.Request, via []*http.Request) error {
	if status := r.Response.StatusCode; len(via) < 5 && (status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect) {
		return nil
	}
	return http.ErrUseLastResponse
}

// conn is a connection on which nobody is waited for longer than silence.
type conn struct{ net.Conn }

func (c conn) Read(p []byte) (int, error) {
	c.SetReadDeadline(time.Now().Add(silence))
	return c.Conn.Read(p)
}

func (c conn) Write(p []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(silence))
	return c.Conn.Write(p)
}

// newRetryer returns the policy for each request: what may succeed later is tried again, after delays that are drawn, so that
// many who were refused at the same time do not come back at the same time.
func newRetryer(delay time.Duration) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.RateLimiter = ratelimit.None // a budget for all would fail one client's push for another's
		o.Retryables = append(slices.Clone(o.Retryables), retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			return aws.BoolTernary(passing(err))
		}))
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return backoff(delay, attempt), nil })
	})
}

// newCarefulRetryer returns the policy for a request that must not be under way any more when a later one is answered: it is
// tried again only where the server said that it did nothing.
func newCarefulRetryer(delay time.Duration) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.RateLimiter = ratelimit.None
		o.Retryables = []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			e, answered := errors.AsType[smithy.APIError](err)
			return aws.BoolTernary(answered && slices.Contains(refusedCodes, e.ErrorCode()))
		})}
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return backoff(delay, attempt), nil })
	})
}

// refusedCodes are error codes of a server that has too much to do to begin with a request.
var refusedCodes = []string{"SlowDown", "ServiceUnavailable", "Throttling"}

// backoff is how long to wait after the attempt of a number, from 0.
func backoff(delay time.Duration, attempt int) time.Duration {
	return rand.N(min(delay<<min(attempt, 10), longestWait) + 1)
}

// passing reports whether what a request met may be over soon, beyond what the library knows: an answer that was cut off, a
// request that was damaged on its way, a server that stumbled.
func passing(err error) bool {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return true
	}
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		if status := e.HTTPStatusCode(); status >= 500 && status != http.StatusNotImplemented && status != http.StatusInsufficientStorage || status == http.StatusTooManyRequests {
			return true
		}
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return slices.Contains(passingCodes, e.ErrorCode())
	}
	return false
}

// passingCodes are error codes that come with other statuses than 5xx, or inside an answer with status 200.
var passingCodes = []string{
	"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch",
	"OperationAborted", "ConditionalRequestConflict", "Throttling",
	"ExistingObjectIsDirectory", // versitygw's, when it removes the folder of another object as it makes one there
}
