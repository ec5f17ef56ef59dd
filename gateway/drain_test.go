package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
)

// A body whose bytes the test sends by hand.
func pipe(t *testing.T) (*io.PipeReader, *io.PipeWriter) {
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	return r, w
}

func TestDrainFinishesUpload(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		t.Run(string(p), func(t *testing.T) {
			started := make(chan struct{})
			d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadFull(r.Body, make([]byte, 1))
				close(started)
				rest, err2 := io.ReadAll(r.Body)
				_, _ = fmt.Fprint(w, string(rest), err, err2, r.Context().Err())
			})
			body, send := pipe(t)
			type answer struct {
				resp *http.Response
				err  error
			}
			answered := make(chan answer, 1)
			client := d.client(p)
			go func() {
				resp, err := client.Do(d.request("PATCH", "/v2/", body))
				answered <- answer{resp, err}
			}()
			_, _ = io.WriteString(send, "a")
			receive(t, "upload", started)

			ran := make(chan error, 1)
			go func() { ran <- d.stop() }()
			wait(t, "connections are refused", func() bool {
				c, err := net.Dial("tcp", d.Addr().String())
				if err == nil {
					_ = c.Close()
				}
				return err != nil
			})
			select {
			case err := <-ran:
				t.Fatalf("Run returned during an upload: %v", err)
			default:
			}
			_, _ = io.WriteString(send, "nd the rest")
			_ = send.Close()
			a := receive(t, "answer", answered)
			if a.err != nil {
				t.Fatal(a.err)
			}
			defer a.resp.Body.Close()
			if text, err := io.ReadAll(a.resp.Body); string(text) != "nd the rest<nil> <nil> <nil>" {
				t.Errorf("%q %v", text, err)
			}
			client.CloseIdleConnections()
			if err := receive(t, "Run", ran); err != nil {
				t.Errorf("Run: %v", err)
			}
			if lines := d.logs.with("drained"); len(lines) != 1 {
				t.Errorf("log %s", d.logs)
			}
		})
	}
}

func TestDrainTimeoutCuts(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		for _, wants := range []string{"the body", "the context"} {
			t.Run(string(p)+"/"+wants, func(t *testing.T) {
				started, ended := make(chan struct{}), make(chan error, 1)
				h := func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadFull(r.Body, make([]byte, 1))
					close(started)
					if wants == "the body" {
						_, err := io.Copy(io.Discard, r.Body)
						ended <- err
						return
					}
					gone(r.Context())
					ended <- r.Context().Err()
				}
				d := open(t, p, http.HandlerFunc(h), func(o *Options) { o.DrainTimeout = 30 * time.Millisecond })
				body, send := pipe(t)
				failed := make(chan error, 1)
				go func() {
					resp, err := d.client(p).Do(d.request("PATCH", "/v2/", body))
					if err == nil {
						_ = resp.Body.Close()
					}
					failed <- err
				}()
				_, _ = io.WriteString(send, "a")
				receive(t, "upload", started)
				err := d.stop()
				if err == nil || !strings.Contains(err.Error(), "http.draintimeout") {
					t.Errorf("Run: %v", err)
				}
				if err := receive(t, "handler", ended); err == nil {
					t.Error("handler was not told")
				}
				_ = send.Close()
				if err := receive(t, "client", failed); err == nil {
					t.Error("client takes the cut request for answered")
				}
				if lines := d.logs.with("handlers ignored that their connection was cut"); len(lines) > 0 {
					t.Errorf("log %v", lines)
				}
				if line := d.access(1)[0]; line["err"] != "cut at the end of the drain" {
					t.Errorf("log %v", line)
				}
			})
		}
	}
}

// Idle connections do not hold a drain up.
func TestDrainClosesIdleConnections(t *testing.T) {
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, configs.Gateway{}, ok)
		d.do(d.client(p), d.request("GET", "/v2/", nil))
		if err := d.stop(); err != nil {
			t.Errorf("%s: Run: %v", p, err)
		}
	}
}

// net/http's Shutdown forgets a stream that the client reset; its handler still counts.
func TestDrainWaitsForHandlerOfResetStream(t *testing.T) {
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	d := serve(t, h2, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
		close(started)
		gone(r.Context())
		<-release
		close(ended)
	})
	r := d.request("GET", "/v2/", nil)
	ctx, cancel := context.WithCancel(t.Context())
	client := d.client(h2)
	failed := make(chan error, 1)
	go func() {
		_, err := client.Do(r.WithContext(ctx))
		failed <- err
	}()
	receive(t, "request", started)
	cancel()
	receive(t, "client", failed)
	client.CloseIdleConnections()
	ran := make(chan error, 1)
	go func() { ran <- d.stop() }()
	wait(t, "draining", func() bool { return len(d.logs.with("draining")) == 1 })
	select {
	case <-ran:
		t.Error("Run returned before the handler")
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	receive(t, "handler", ended)
	if err := receive(t, "Run", ran); err != nil {
		t.Error(err)
	}
}

// A handler that minds neither its context nor its connection does not hold Run for ever.
func TestDrainLeavesADeafHandler(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	d := open(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-release
	}), func(o *Options) { o.DrainTimeout = time.Millisecond })
	c := d.dial()
	_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
	receive(t, "request", started)
	if err := d.stop(); err == nil {
		t.Error("Run says all is well")
	}
	if lines := d.logs.with("handlers ignored that their connection was cut"); len(lines) != 1 {
		t.Errorf("log %s", d.logs)
	}
	close(release)
}

func TestRunReportsADeadListener(t *testing.T) {
	d := open(t, plain, http.HandlerFunc(ok), nil)
	s, err := New(Options{Addr: "127.0.0.1:0", Routes: []Route{{Path: "/", Name: "n", Handler: http.HandlerFunc(ok)}}, Logger: d.log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	_ = s.listener.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run says all is well")
	}
}
