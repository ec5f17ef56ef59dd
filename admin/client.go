package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// ErrNoServer is a socket at which nobody answers.
var ErrNoServer = errors.New("no server answers on the admin socket")

// Client speaks to a Server.
type Client struct {
	http http.Client
}

// NewClient returns a client whose requests go through t: Dial's, or InProcess's.
func NewClient(t http.RoundTripper) *Client { return &Client{http.Client{Transport: t}} }

// Dial returns a transport to the server behind the socket at path, to which it has connected once. ErrNoServer when nobody
// answers there; other errors, such as a refused permission, do not say that.
func Dial(ctx context.Context, path string) (*http.Transport, error) {
	c, err := dial(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	case err != nil:
		return nil, fmt.Errorf("reach the server by %s (run the verb as the server's user or as root): %w", path, err)
	}
	c.Close()
	return &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
		IdleConnTimeout: 10 * time.Second,
	}, nil
}

// Call sends a request with in as its body, unless that is nil, and reads the answer into out, unless that is nil. path is
// escaped, with its query. An answer that refuses is an *Error.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("the server's answer is not what was expected: %w", err)
	}
	return nil
}

// Stream is Call for an answer in lines: each is called with every line as it comes, and ends the request with an error. A line
// is valid until each returns. An answer that breaks off is an error.
func (c *Client) Stream(ctx context.Context, method, path string, in any, each func(line json.RawMessage) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := bufio.NewReader(body); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the server's answer broke off: %w", err)
		}
		if bytes.Contains(line, []byte(`"error"`)) {
			if err := refusal(line); err != nil {
				return err
			}
		}
		if err := each(json.RawMessage(bytes.TrimSuffix(line, []byte("\n")))); err != nil {
			return err
		}
	}
}

// StreamOf is Stream into values of type T.
func StreamOf[T any](ctx context.Context, c *Client, method, path string, in any, each func(T) error) error {
	return c.Stream(ctx, method, path, in, func(line json.RawMessage) error {
		var value T
		if err := json.Unmarshal(line, &value); err != nil {
			return fmt.Errorf("the server's answer is not what was expected: %w", err)
		}
		return each(value)
	})
}

// send sends a request and returns the body of an answer that does not refuse.
func (c *Client) send(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://gatehouse"+path, body)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if answer.StatusCode < 300 {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	if err := refusal(b); err != nil {
		return nil, err
	}
	return nil, Errorf(answer.StatusCode, "the server answered %s", answer.Status)
}

// refusal returns the *Error that an answer is, or nil.
func refusal(b []byte) error {
	var f failure
	if json.Unmarshal(b, &f) != nil || f.Error == "" {
		return nil
	}
	return &Error{f.Status, f.Error}
}
