package testbench

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// S3Fault is what an [S3Proxy] does to a request.
type S3Fault string

// What can go wrong between a client and S3.
const (
	S3Works      S3Fault = ""
	S3Busy       S3Fault = "503 SlowDown"               // it is not carried out
	S3Dropped    S3Fault = "the answer is dropped"      // it is carried out
	S3Truncated  S3Fault = "the answer is cut in half"  // it is carried out
	S3Cut        S3Fault = "the request is cut in half" // S3Dropped for one without a body
	S3Slow       S3Fault = "the answer comes slowly, in pieces"
	S3ErrorIn200 S3Fault = "an error comes with 200" // it is not carried out; only those whose answers can have one are counted
	S3LostIn200  S3Fault = "it is done, and an error comes with 200"
)

// S3Proxy stands between a program and an [S3] server and spoils requests as told; at first it spoils none. Its methods may be
// called at once from many goroutines. The cleanup ends it.
type S3Proxy struct {
	*httptest.Server
	server    string
	transport *http.Transport

	mu     sync.Mutex
	choose func(*http.Request) S3Fault // guarded by mu
	seen   int                         // requests since Spoil that its fault can spoil; guarded by mu
}

// NewS3Proxy starts a proxy before a server, which is named by its URL.
func NewS3Proxy(t testing.TB, server string) *S3Proxy {
	p := &S3Proxy{server: server, transport: &http.Transport{DisableKeepAlives: true}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// Choose has a function, called at once from many goroutines, say what happens to each request; it may wait. nil: all works.
func (p *S3Proxy) Choose(choose func(*http.Request) S3Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choose = choose
}

// Spoil lets skip requests pass and spoils so many that follow.
func (p *S3Proxy) Spoil(f S3Fault, skip, times int) {
	p.mu.Lock()
	p.seen = 0
	p.mu.Unlock()
	p.Choose(func(r *http.Request) S3Fault {
		if (f == S3ErrorIn200 || f == S3LostIn200) && !FailsIn200(r) {
			return S3Works
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen++
		if p.seen <= skip || p.seen-skip > times {
			return S3Works
		}
		return f
	})
}

// FailsIn200 reports whether the answer to a request begins before it is carried out: a copy, the completion of an upload.
func FailsIn200(r *http.Request) bool {
	return (r.Method == http.MethodPost || r.Header.Get("X-Amz-Copy-Source") != "") && !r.URL.Query().Has("uploads")
}

// Heal ends all faults, and returns how many requests there were since Spoil that its fault could spoil.
func (p *S3Proxy) Heal() int {
	p.Choose(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

func (p *S3Proxy) fault(r *http.Request) S3Fault {
	p.mu.Lock()
	choose := p.choose
	p.mu.Unlock()
	if choose == nil {
		return S3Works
	}
	return choose(r)
}

// What S3 says when it has too much to do, and when something in it broke.
const (
	slowDown = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`
	internal = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>`
)

func (p *S3Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := p.fault(r)
	body, err := readBody(r.Body, r.ContentLength)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	switch f {
	case S3Busy:
		answerXML(w, http.StatusServiceUnavailable, slowDown)
		return
	case S3ErrorIn200:
		answerXML(w, http.StatusOK, internal)
		return
	}
	resp, data, err := p.forward(r, body, f == S3Cut)
	switch {
	case err != nil || f == S3Dropped || f == S3Cut:
		panic(http.ErrAbortHandler)
	case f == S3LostIn200:
		answerXML(w, http.StatusOK, internal)
		return
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	if r.Method != http.MethodHead && resp.StatusCode != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	if f == S3Truncated && len(data) == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(resp.StatusCode)
	switch f {
	case S3Truncated:
		w.Write(data[:len(data)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case S3Slow:
		trickle(w, r, data)
	default:
		w.Write(data)
	}
}

// forward sends a request on, or half of its body, and returns the answer.
func (p *S3Proxy) forward(r *http.Request, body []byte, half bool) (*http.Response, []byte, error) {
	var send io.Reader = bytes.NewReader(body)
	if half {
		send = io.LimitReader(send, int64(len(body)/2))
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.server+r.URL.RequestURI(), send)
	if err != nil {
		return nil, nil, err
	}
	out.Host, out.Header, out.ContentLength = r.Host, r.Header.Clone(), int64(len(body)) // the signature covers them
	out.Header.Del("Expect")
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if r.Method == http.MethodHead {
		return resp, nil, nil
	}
	data, err := readBody(resp.Body, resp.ContentLength)
	return resp, data, err
}

// trickle sends data in pieces with pauses between: the fault itself, not a wait for anything.
func trickle(w http.ResponseWriter, r *http.Request, data []byte) {
	const pieces, pause = 4, 25 * time.Millisecond
	for i := range pieces {
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
		w.Write(data[len(data)*i/pieces : len(data)*(i+1)/pieces])
		http.NewResponseController(w).Flush()
	}
}

func answerXML(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	io.Copy(w, strings.NewReader(body))
}

func readBody(r io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		return io.ReadAll(r)
	}
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, err
}
