package gateway

import (
	"io"
	"net/http"
	"testing"
)

func TestRoutes(t *testing.T) {
	named := func(name string) Route {
		return Route{Path: name, Name: name, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, name+" "+r.URL.Path+" "+r.URL.RawQuery)
		})}
	}
	d := open(t, plain, nil, func(o *Options) {
		o.Routes = []Route{named("/v2/"), named("/token"), named("/ui/"), named("/ui/api/"), named("/exact/"), named("/exact"), named("/.well-known/jwks.json")}
	})
	c := d.client(plain)
	for path, want := range map[string]string{
		"/v2/":                   "/v2/ /v2/ ",
		"/v2":                    "/v2/ /v2/ ",
		"/v2?n=1":                "/v2/ /v2/ n=1",
		"/v2/a/tags/list?n=1":    "/v2/ /v2/a/tags/list n=1",
		"/token?scope=a%20b":     "/token /token scope=a%20b",
		"/ui/x":                  "/ui/ /ui/x ",
		"/ui/api":                "/ui/api/ /ui/api/ ",
		"/ui/api/x":              "/ui/api/ /ui/api/x ",
		"/ui/apix":               "/ui/ /ui/apix ",
		"/exact":                 "/exact /exact ",
		"/exact/":                "/exact/ /exact/ ",
		"/exact/x":               "/exact/ /exact/x ",
		"/.well-known/jwks.json": "/.well-known/jwks.json /.well-known/jwks.json ",
		"/token/":                "404", "/tokens": "404", "/": "404", "/v2x": "404", "/V2/": "404", "/.well-known/": "404",
		// The operators' listener is another one, and http.DefaultServeMux is nowhere.
		"/debug/pprof/": "404", "/metrics": "404", "/debug/health": "404",
	} {
		resp, body := d.do(c, d.request("GET", path, nil))
		if resp.StatusCode == 404 {
			if ociCode(t, resp, body) != codeNotFound {
				t.Errorf("%s: %s", path, body)
			}
			body = "404"
		}
		if body != want {
			t.Errorf("%s: %q, want %q", path, body, want)
		}
	}
	// The log has the path that the client sent.
	d.do(c, d.request("GET", "/ui", nil))
	wait(t, "log", func() bool {
		lines := d.logs.with("request")
		return lines[len(lines)-1]["path"] == "/ui"
	})
}
