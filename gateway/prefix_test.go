package gateway

import (
	"net/http"
	"net/url"
	"testing"
)

// TestPrefix: below its prefix, and nowhere else, is the registry's API, also for the gateway's own refusals.
func TestPrefix(t *testing.T) {
	d := open(t, plain, http.HandlerFunc(ok), func(o *Options) { o.Prefix = "/in" })
	for target, api := range map[string]bool{
		"/in/v2/a": true, "/in/v2": true, "/in/v2//a": true, "/in/v2/%2e%2e": true,
		"/v2/a": false, "/v2//a": false, "/in/v2x": false, "/inn/v2/": false, "/in/in/v2/": false, "/in": false,
	} {
		_, header, _ := raw(t, d, "GET "+target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if got := header.Get(versionHeader) != ""; got != api {
			t.Errorf("%s: taken for the API %v, want %v", target, got, api)
		}
	}
}

func TestBase(t *testing.T) {
	host, err := url.Parse("https://r.example.com/ignored")
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{Host: "r.example.com"}
	if got := (Origin{Host: host, Path: "/out"}).Base(r); got != "https://r.example.com/out" {
		t.Error(got)
	}
	if got := (Origin{}).Base(r); got != "http://r.example.com" {
		t.Error(got)
	}
}

// TestOnlyHTTP1: a client that prefers HTTP/2 gets HTTP/1.1, and one that speaks nothing else gets nothing.
func TestOnlyHTTP1(t *testing.T) {
	for only, want := range map[bool]string{false: "HTTP/2.0", true: "HTTP/1.1"} {
		d := open(t, h1, http.HandlerFunc(ok), func(o *Options) {
			o.OnlyHTTP1 = only
			o.TLS.NextProtos = []string{"h2", "http/1.1"} // as a provider of certificates has it
		})
		c := d.client(h1)
		c.Transport.(*http.Transport).Protocols.SetHTTP2(true)
		if resp, _ := d.do(c, d.request("GET", "/", nil)); resp.Proto != want {
			t.Errorf("only HTTP/1.1 %v: %s, want %s", only, resp.Proto, want)
		}
		if resp, err := d.client(h2).Do(d.request("GET", "/", nil)); (err == nil) == only {
			t.Errorf("only HTTP/1.1 %v: over HTTP/2: %v", only, err)
		} else if err == nil {
			_ = resp.Body.Close()
		}
	}
}
