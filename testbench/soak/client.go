package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// client is one actor's way to the server: it enters all that it does into the history. For one goroutine.
type client struct {
	*soak
	name string
	rand *rand.Rand
	http *http.Client
}

// answer is what came of a request.
type answer struct {
	op
	header http.Header
	body   []byte
}

// clientTimeout is how long an answer may take; a server that stands still for three seconds answers then.
const clientTimeout = 30 * time.Second

func (s *soak) newClient(name string, seed uint64) *client {
	return &client{
		soak: s, name: name, rand: rand.New(rand.NewPCG(s.seed, seed)),
		http: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 2},
			Timeout:   clientTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
}

// ask sends a request when the server serves, and enters what came of it. header is "Name: value" lines.
func (c *client) ask(o op, method, target string, body []byte, header ...string) answer {
	if !strings.HasPrefix(target, "http") {
		target = "http://" + c.server.addr + target
	}
	o.actor = c.name
	id := c.history.begin(o)
	var a answer
	var err error
	for {
		if err = c.server.wait(c.ctx); err != nil {
			break
		}
		a, err = c.send(method, target, body, header)
		if network := new(net.OpError); !errors.As(err, &network) || network.Op != "dial" {
			break // it may have arrived
		}
		if err = pause(c.ctx, 5*time.Millisecond); err != nil {
			break
		}
	}
	a.op = c.history.finish(id, func(o *op) {
		o.status = a.status
		switch {
		case err != nil:
			o.outcome, o.note, o.status = unknown, err.Error(), 0
		case a.status >= 500:
			o.outcome, o.note = unknown, strings.TrimSpace(string(a.body))
		case a.status >= 400:
			o.outcome, o.note = refused, strings.TrimSpace(string(a.body))
		default:
			o.outcome = done
			if o.kind == getTag {
				o.digest = digestOf(a.body)
			}
		}
	})
	return a
}

func (c *client) send(method, target string, body []byte, header []string) (a answer, err error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequest(method, target, content)
	if err != nil {
		return a, err
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	response, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	a.status, a.header = response.StatusCode, response.Header
	a.body, err = io.ReadAll(response.Body)
	return a, err
}

// rest waits about so long, or less when the soak ends. It reports whether the soak goes on.
func (c *client) rest(about time.Duration) bool {
	wait := time.NewTimer(about/2 + time.Duration(c.rand.Int64N(int64(about)+1)))
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-c.over:
		return false
	}
}

// verify compares bytes with the digest under which they came (I11).
func (c *client) verify(a answer, digest string) {
	if a.outcome != done {
		return
	}
	switch named := a.header.Get("Docker-Content-Digest"); {
	case digestOf(a.body) != digest:
		c.verdict.violate(violation{class: wrong, repo: a.repo, names: []string{digest}, at: a.end, text: fmt.Sprintf("I11: %d bytes of %s", len(a.body), digestOf(a.body))})
	case named != digest:
		c.verdict.violate(violation{class: wrong, repo: a.repo, names: []string{digest}, at: a.end, text: "I11: the header says " + named})
	}
}

// fetch gets a blob, or now and then a range of it, and compares it with what it must be.
func (c *client) fetch(repo, digest string) answer {
	o := op{kind: getBlob, repo: repo, digest: digest}
	target := "/v2/" + repo + "/blobs/" + digest
	known := c.pool.blob(digest)
	if len(known.bytes) < 2 || c.rand.IntN(6) > 0 {
		a := c.ask(o, "GET", target, nil)
		c.verify(a, digest)
		return a
	}
	from := c.rand.IntN(len(known.bytes))
	to := from + c.rand.IntN(len(known.bytes)-from)
	a := c.ask(o, "GET", target, nil, fmt.Sprintf("Range: bytes=%d-%d", from, to))
	if a.outcome == done && !bytes.Equal(a.body, known.bytes[from:to+1]) {
		c.verdict.violate(violation{class: wrong, repo: repo, names: []string{digest}, at: a.end, text: fmt.Sprintf("I11: bytes %d to %d are others", from, to)})
	}
	return a
}

// manifest gets a manifest by tag or digest.
func (c *client) manifest(repo, reference string) answer {
	o := op{kind: getTag, repo: repo, tag: reference}
	if strings.HasPrefix(reference, "sha256:") {
		o = op{kind: getManifest, repo: repo, digest: reference}
	}
	a := c.ask(o, "GET", "/v2/"+repo+"/manifests/"+reference, nil, accept)
	if a.outcome == done {
		c.verify(a, digestOr(o.digest, a.header.Get("Docker-Content-Digest")))
	}
	return a
}

func digestOr(digest, other string) string {
	if digest == "" {
		return other
	}
	return digest
}
