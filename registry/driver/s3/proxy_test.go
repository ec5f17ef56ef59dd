package s3

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fault is what the proxy does to a request.
type fault string

const (
	busy       fault = "503 SlowDown"              // it is not carried out
	dropped    fault = "the answer is dropped"     // it is carried out
	truncated  fault = "the answer is cut in half" // it is carried out
	cut        fault = "the request is cut in half"
	errorIn200 fault = "an error comes with 200" // it is not carried out; only for those whose answers can have one
	lostIn200  fault = "it is done, and an error comes with 200"
)

// proxy stands between a driver and its server and spoils requests as told.
type proxy struct {
	*httptest.Server
	server    string // its URL
	transport *http.Transport

	mu      sync.Mutex
	fault   fault                    // guarded by mu
	skip    int                      // so many requests are let pass first; guarded by mu
	times   int                      // so many are spoilt then; guarded by mu
	seen    int                      // requests since set that fault can spoil; guarded by mu
	gate    func(r *http.Request)    // each request passes it; guarded by mu
	refused func(*http.Request) bool // guarded by mu
}

func newProxy(t *testing.T, server string) *proxy {
	p := &proxy{server: server, transport: &http.Transport{DisableKeepAlives: true}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) set(f fault, skip, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.skip, p.times, p.seen = f, skip, times, 0
}

func (p *proxy) heal() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = 0
	return p.seen
}

// refuse answers 503 to the requests that match, until the next call; nil is none.
func (p *proxy) refuse(match func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = match
}

// strikes returns what to do to a request.
func (p *proxy) strikes(r *http.Request) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused != nil && p.refused(r) {
		return busy
	}
	if p.fault == errorIn200 || p.fault == lostIn200 {
		if r.Method != http.MethodPost && r.Header.Get("X-Amz-Copy-Source") == "" || r.URL.Query().Has("uploads") {
			return ""
		}
	}
	p.seen++
	if p.seen <= p.skip || p.times == 0 {
		return ""
	}
	p.times--
	return p.fault
}

const (
	slowDown = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`
	internal = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>`
)

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		gate(r)
	}
	f := p.strikes(r)
	body, err := readAll(r.Body, r.ContentLength)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	switch f {
	case busy:
		answer(w, http.StatusServiceUnavailable, slowDown)
		return
	case errorIn200:
		answer(w, http.StatusOK, internal)
		return
	}
	var send io.Reader = bytes.NewReader(body)
	if f == cut {
		send = io.LimitReader(send, int64(len(body)/2))
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.server+r.URL.RequestURI(), send)
	if err != nil {
		panic(err)
	}
	out.Host, out.Header, out.ContentLength = r.Host, r.Header.Clone(), int64(len(body)) // the signature covers them
	out.Header.Del("Expect")
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	data, err := readAll(resp.Body, resp.ContentLength)
	if r.Method == http.MethodHead {
		data, err = nil, nil
	}
	if err != nil || f == dropped || f == cut {
		panic(http.ErrAbortHandler)
	}
	if f == lostIn200 {
		answer(w, http.StatusOK, internal)
		return
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	if r.Method != http.MethodHead && resp.StatusCode != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	if f == truncated && len(data) == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(resp.StatusCode)
	if f == truncated {
		w.Write(data[:len(data)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(data)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	io.Copy(w, strings.NewReader(body))
}

func readAll(r io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		return io.ReadAll(r)
	}
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, err
}
