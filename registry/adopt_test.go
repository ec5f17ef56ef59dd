package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestAdopt: before the index is asked about a repository it is adopted, and what could not be read is not taken for nothing.
func TestAdopt(t *testing.T) {
	var asked []string
	var failure error
	h := newHarness(t, nil)
	d := h.blob("a", "layer")
	h.Adopt = func(_ context.Context, repo string, writes bool) error {
		asked = append(asked, fmt.Sprintf("%s %v", repo, writes))
		return failure
	}
	for _, c := range []struct {
		method, path string
		want         []string
	}{
		{"GET", "/v2/", nil},
		{"GET", "/v2/_catalog", nil},
		{"HEAD", "/v2/a/blobs/" + string(d), []string{"a false"}},
		{"GET", "/v2/a/blobs/" + string(d), []string{"a false"}},
		{"GET", "/v2/a/manifests/v1", []string{"a false"}},
		{"GET", "/v2/a/tags/list", []string{"a false"}},
		{"PUT", "/v2/a/manifests/v1", []string{"a true"}},
		{"DELETE", "/v2/a/manifests/v1", []string{"a true"}},
		{"POST", "/v2/b/blobs/uploads/?from=a&mount=" + string(d), []string{"b true", "a false"}},
	} {
		for _, failure = range []error{nil, errors.New("input/output error")} {
			asked = nil
			answer := h.do(c.method, c.path, nil)
			want := c.want
			if failure != nil {
				want = want[:min(1, len(want))]
			}
			if !slices.Equal(asked, want) {
				t.Errorf("%s %s: asked for %v, want %v", c.method, c.path, asked, want)
			}
			if refused := failure != nil && c.want != nil; (answer.StatusCode == 503 && answer.Header.Get("Retry-After") != "") != refused {
				t.Errorf("%s %s: %s with adoption's error %v", c.method, c.path, answer.Status, failure)
			}
		}
		failure = nil
	}
}
