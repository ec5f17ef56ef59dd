package main_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"gatehouse/testbench"
)

// testCurl is what an operator types: Basic authentication, no token.
func testCurl(t *testing.T, l *lane) {
	crane := newCrane(t, l)
	craneLogin(t, crane, l, alice, alicePassword)
	layout, _ := testbench.Image{Seed: t.Name()}.Layout(t, "v1")
	for _, tag := range []string{"v2", "v10", "latest"} {
		crane.run(t, "push", layout, l.ref("pub/curl", tag))
	}
	curl := newClient(testbench.Tool(t, "curl"), t.TempDir())
	url := "https://" + l.host
	get := func(args ...string) []string {
		return append([]string{"--silent", "--show-error", "--fail-with-body", "--cacert", l.certs.CAFile}, args...)
	}
	asAlice := func(path string) []string { return get("--user", alice+":"+alicePassword, url+path) }
	asBob := func(path string) []string { return get("--user", bob+":"+bobPassword, url+path) }

	var catalog struct{ Repositories []string }
	decode(t, curl.run(t, asAlice("/v2/_catalog?n=1000")...), &catalog)
	if !slices.Contains(catalog.Repositories, "pub/curl") {
		t.Errorf("the catalog is %q, without pub/curl", catalog.Repositories)
	}
	for _, path := range []string{"/v2/pub/curl/tags/list", "/v2/pub/curl/tags/list?n=100"} {
		var tags struct {
			Name string
			Tags []string
		}
		decode(t, curl.run(t, asBob(path)...), &tags)
		if want := []string{"latest", "v10", "v2"}; tags.Name != "pub/curl" || !slices.Equal(tags.Tags, want) {
			t.Errorf("%s is %+v, want %q", path, tags, want)
		}
	}
	if page := curl.run(t, append(asBob("/v2/pub/curl/tags/list?n=2"), "--include")...); !strings.Contains(page, `rel="next"`) {
		t.Errorf("a page of tags that is not the last names no next one:\n%s", page)
	}

	// A token by hand.
	var granted struct{ Token string }
	scope := "/token?service=gatehouse&scope=repository:pub/curl:pull"
	decode(t, curl.run(t, asBob(scope)...), &granted)
	curl.run(t, get("--header", "Authorization: Bearer "+granted.Token, url+"/v2/pub/curl/manifests/v2")...)

	t.Run("refused", func(t *testing.T) {
		curl.refused(t, `401.*\n.*UNAUTHORIZED|UNAUTHORIZED[^$]*401`, get("--user", alice+":wrong", url+"/v2/_catalog")...)
		curl.refused(t, `401.*\n.*UNAUTHORIZED|UNAUTHORIZED[^$]*401`, asBob("/v2/_catalog")...)
		curl.refused(t, `401.*\n.*UNAUTHORIZED|UNAUTHORIZED[^$]*401`, get(url+"/v2/")...)
		curl.refused(t, `404`, asAlice("/v2/team/curl-unknown/tags/list")...)
		curl.refused(t, `certificate`, "--silent", "--show-error", url+"/v2/")
	})
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, text)
	}
}
