package registry

import (
	"context"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver/inmemory"
)

// elsewhere is a driver whose backend clients can ask, as ok and err say.
type elsewhere struct {
	*inmemory.Driver
	ok  bool
	err error
}

func (d elsewhere) Redirect(_ context.Context, path, method string) (string, bool, error) {
	return "https://bucket.test/" + path + "?signature=" + method, d.ok, d.err
}

// TestRedirect: a blob is fetched elsewhere only where there is a URL, and only by who may have it from here.
func TestRedirect(t *testing.T) {
	const content = "layer"
	blob := "/v2/a/blobs/" + string(digest.FromString(content))
	for name, test := range map[string]struct {
		driver   elsewhere
		disabled bool
		status   int
	}{
		"redirects":          {elsewhere{ok: true}, false, 307},
		"disabled":           {elsewhere{ok: true}, true, 200},
		"no URL":             {elsewhere{}, false, 200},
		"signing has failed": {elsewhere{ok: true, err: errors.New("no credentials")}, false, 200},
	} {
		t.Run(name, func(t *testing.T) {
			test.driver.Driver = inmemory.New()
			h := newHarness(t, test.driver)
			h.Redirect = !test.disabled
			h.blob("a", content)
			a := h.want(h.do("GET", blob, nil), test.status)
			h.wantHeader(a, "Docker-Content-Digest", string(digest.FromString(content)))
			if test.status == 200 {
				if string(a.body) != content {
					t.Errorf("served %q", a.body)
				}
				h.want(h.do("GET", blob, nil, "Range: bytes=1-2"), 206)
				return
			}
			h.wantHeader(a, "Location", "https://bucket.test/docker/registry/v2/blobs/sha256/"+blob[len("/v2/a/blobs/sha256:"):][:2]+"/"+blob[len("/v2/a/blobs/sha256:"):]+"/data?signature=GET")
			h.wantHeader(a, "Cache-Control", "no-store")
			h.wantHeader(a, "Etag", "")
			if len(a.body) > 0 {
				t.Errorf("the answer says %q", a.body)
			}
			h.want(h.do("GET", blob, nil, "Range: bytes=1-2"), 307) // the client repeats its header
			h.wantHeader(h.want(h.do("HEAD", blob, nil), 200), "Content-Length", "5")
			h.want(h.do("GET", blob, nil, `If-None-Match: "`+string(digest.FromString(content))+`"`), 304)
			for path, code := range map[string]code{
				"/v2/b/blobs/" + string(digest.FromString(content)):  codeBlobUnknown, // another repository has it
				"/v2/a/blobs/" + string(digest.FromString("no one")): codeBlobUnknown,
			} {
				a := h.want(h.do("GET", path, nil), 404, code)
				h.wantHeader(a, "Location", "")
			}
			h.want(h.do("DELETE", blob, nil), 202)
			h.wantHeader(h.want(h.do("GET", blob, nil), 404, codeBlobUnknown), "Location", "")
		})
	}
}
