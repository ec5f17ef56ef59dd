package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// InProcess returns a transport to a handler in this process. Requests are of account. As over a socket, an answer is read while it
// is written; closing its body waits until the handler has returned.
func InProcess(h http.Handler, account string) http.RoundTripper { return &inProcess{h, account} }

type inProcess struct {
	handler http.Handler
	account string
}

func (t *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(WithAccount(r.Context(), t.account))
	given := r.Clone(ctx)
	if given.Body == nil {
		given.Body = http.NoBody
	}
	given.RequestURI = r.URL.RequestURI()
	from, to := io.Pipe()
	w := &pipedAnswer{header: http.Header{}, body: to, begun: make(chan struct{})}
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		t.handler.ServeHTTP(w, given)
		given.Body.Close()
		w.WriteHeader(http.StatusOK)
		to.Close()
	}()
	<-w.begun // a handler ends soon when the context is done
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: -1, Request: r,
		Body: &pipedBody{from, cancel, returned},
	}, nil
}

// pipedAnswer is the writing end of an answer.
type pipedAnswer struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	begun  chan struct{} // closed when status and sent are set
	status int
	sent   http.Header
}

func (w *pipedAnswer) Header() http.Header { return w.header }

func (w *pipedAnswer) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

func (w *pipedAnswer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// FlushError is for http.ResponseController. What is written is read at once.
func (w *pipedAnswer) FlushError() error { return nil }

// pipedBody is the reading end.
type pipedBody struct {
	*io.PipeReader
	cancel   context.CancelFunc
	returned chan struct{}
}

func (b *pipedBody) Close() error {
	b.cancel()
	err := b.CloseWithError(errors.New("nobody reads the answer"))
	<-b.returned
	return err
}
