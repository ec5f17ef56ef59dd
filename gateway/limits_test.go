package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/configs"
)

func TestSpoofableHeadersAreDropped(t *testing.T) {
	seen := make(chan http.Header, 1)
	for _, p := range []protocol{plain, h1, h2} {
		d := serve(t, p, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() })
		r := d.request("GET", "/v2/", nil)
		for _, name := range []string{
			"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
			"X-Forwarded-Anything", "x-forwarded-for", "X-Real-Ip", "True-Client-Ip", "X_Forwarded_For", "X_Real-Ip",
		} {
			r.Header[name] = []string{"evil.example"}
		}
		r.Header.Set("Authorization", "Bearer t")
		r.Header.Set("X-Meta", "kept")
		d.do(d.client(p), r)
		got := receive(t, "request", seen)
		for name, values := range got {
			if strings.Contains(strings.Join(values, " "), "evil") {
				t.Errorf("%s: %s reaches the handler", p, name)
			}
		}
		if got.Get("Authorization") == "" || got.Get("X-Meta") == "" {
			t.Errorf("%s: too much is dropped: %v", p, got)
		}
	}
}

// The list of hop-by-hop headers must not take others away, and an upgrade is not offered.
func TestUpgradeIsStripped(t *testing.T) {
	d := serve(t, plain, configs.Gateway{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("Upgrade"), r.Header.Get("Http2-Settings"), r.Header.Get("X-Meta"))
	})
	c := d.dial()
	_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, X-Meta\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Meta: kept\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != "kept" {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
}
