package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/tokenserver/token"
)

// pages follows the Links of the catalog from a first URL, and returns the names of each page and what the Links said.
func (h *harness) pages(next, authorization string) (pages [][]string, links []string) {
	h.Helper()
	for next != "" {
		if len(pages) > 10_000 {
			h.Fatal("the catalog has no end")
		}
		a := h.want(h.do("GET", next, nil, authorization), 200)
		var list struct{ Repositories []string }
		if err := json.Unmarshal(a.body, &list); err != nil || list.Repositories == nil {
			h.Fatalf("%s: %v", a.body, err)
		}
		pages, next = append(pages, list.Repositories), ""
		if to := a.Header.Get("Link"); to != "" {
			links = append(links, to)
			next = strings.TrimSuffix(strings.TrimPrefix(to, "<"), `>; rel="next"`)
		}
	}
	return pages, links
}

// TestCatalogOfAnAccount: of 10,000 repositories an account is shown, page by page, exactly those that it may pull, and learns
// nothing of the others; a request asks the rules about maxAsked at most.
func TestCatalogOfAnAccount(t *testing.T) {
	h, counter := newCountedHarness(t)
	const count = 10_000
	h.manyRepositories(count)
	var every []string
	for i := range count {
		every = append(every, fmt.Sprintf("r/%06d", i))
	}
	few := []string{"r/000003", "r/004999", "r/005000", "r/009998"}
	asked, opened := 0, 0
	h.Auth = ruled(nil)
	h.Auth.May = func(_ context.Context, who *token.Claims) func(repo, action string) bool {
		opened++
		return func(repo, action string) bool {
			asked++
			if action != "pull" {
				t.Errorf("asked about %s", action)
			}
			switch who.Subject {
			case "all":
				return true
			case "few":
				return slices.Contains(few, repo)
			}
			return false
		}
	}
	for _, test := range []struct {
		bearer string
		n      int
		want   []string
		pages  int
	}{
		{"all;registry:catalog:*", 1000, every, 10},
		{"all;registry:catalog:*", 999, every, 11},
		{"few;registry:catalog:*", 1000, few, 2},
		{"few;registry:catalog:*", 2, few, 3}, // and of the last, that nothing follows that is theirs
		{"few;registry:catalog:*", 1, few, 5},
		{";registry:catalog:*", 100, nil, 2},
		{";registry:catalog:*;repository:r/000007:pull;repository:r/000008:push;registry:r/000009:pull", 100, []string{"r/000007"}, 2},
	} {
		asked, opened = 0, 0
		pages, links := h.pages(fmt.Sprintf("/v2/_catalog?n=%d", test.n), "Authorization: Bearer "+test.bearer)
		if got := slices.Concat(pages...); !slices.Equal(got, test.want) {
			t.Errorf("%s, n=%d: %d names %.200v, want %d", test.bearer, test.n, len(got), got, len(test.want))
		}
		if len(pages) != test.pages || opened != test.pages {
			t.Errorf("%s, n=%d: %d pages, and the rules opened %d times, want %d", test.bearer, test.n, len(pages), opened, test.pages)
		}
		if asked > len(pages)*maxAsked {
			t.Errorf("%s, n=%d: %d questions for %d pages", test.bearer, test.n, asked, len(pages))
		}
		checkPages(t, test.n, pages, links)
	}
	asked = 0
	counter.Take()
	h.want(h.do("GET", "/v2/_catalog?n=7&last=r/001000", nil, "Authorization: Bearer all;registry:catalog:*"), 200)
	if read := counter.Take(); asked != 7 || read > 7+5 {
		t.Errorf("a page of 7 asked %d times and read %d entries of the index", asked, read)
	}
}

// checkPages checks that no page is longer than n, and that no Link names a repository but the last of its own page.
func checkPages(t *testing.T, n int, pages [][]string, links []string) {
	t.Helper()
	for i, page := range pages {
		if len(page) > n {
			t.Errorf("n=%d: a page of %d", n, len(page))
		}
		if i == len(links) {
			break
		}
		u, err := url.Parse(strings.TrimSuffix(strings.TrimPrefix(links[i], "<"), `>; rel="next"`))
		if err != nil {
			t.Fatal(err)
		}
		if last := u.Query().Get("last"); !strings.HasPrefix(last, sealed) && !slices.Contains(page[max(len(page)-1, 0):], last) {
			t.Errorf("n=%d: the Link behind %v names %q", n, page, last)
		}
	}
}

// TestCatalogLast: n and last mean what they mean without rules, and a place in a Link is for the account that it was made for.
func TestCatalogLast(t *testing.T) {
	h := newHarness(t, nil)
	for _, repo := range []string{"a", "b/c", "secret", "z"} {
		h.image(repo, "v1")
	}
	h.Auth = ruled(map[string][]string{"alice": {"a", "b/c", "z"}, "bob": {"secret"}})
	const alice = "Authorization: Bearer alice;registry:catalog:*"
	for query, want := range map[string]struct{ body, link string }{
		"":                     {`["a","b/c","z"]`, ""},
		"?n=1":                 {`["a"]`, `</v2/_catalog?last=a&n=1>; rel="next"`},
		"?n=2":                 {`["a","b/c"]`, `</v2/_catalog?last=b%2Fc&n=2>; rel="next"`},
		"?n=3":                 {`["a","b/c","z"]`, ""},
		"?n=1&last=a":          {`["b/c"]`, `</v2/_catalog?last=b%2Fc&n=1>; rel="next"`},
		"?n=5&last=b":          {`["b/c","z"]`, ""},
		"?n=1&last=b/c":        {`["z"]`, ""},
		"?n=5&last=zz":         {`[]`, ""},
		"?n=0":                 {`[]`, ""},
		"?n=1&last=../x%00%ff": {`["a"]`, `</v2/_catalog?last=a&n=1>; rel="next"`},
	} {
		a := h.want(h.do("GET", "/v2/_catalog"+query, nil, alice), 200)
		if got := strings.TrimSpace(string(a.body)); got != `{"repositories":`+want.body+`}` {
			t.Errorf("%s: %s, want %s", query, got, want.body)
		}
		h.wantHeader(a, "Link", want.link)
	}
	place := h.seal("a", "alice")
	a := h.want(h.do("GET", "/v2/_catalog?n=5&last="+place, nil, alice), 200)
	if got := strings.TrimSpace(string(a.body)); got != `{"repositories":["b/c","z"]}` {
		t.Errorf("behind a sealed place: %s", got)
	}
	if place == h.seal("a", "alice") {
		t.Error("a seal is the same each time")
	}
	for _, bad := range []string{h.seal("a", "bob"), "~", "~x", "~" + strings.Repeat("A", 100), place[:len(place)-2]} {
		h.want(h.do("GET", "/v2/_catalog?last="+bad, nil, alice), 400, codePagination)
	}
	h.want(h.do("GET", "/v2/_catalog", nil, "Authorization: Bearer alice;repository:a:*"), 401, codeUnauthorized)

	h.Auth.May = nil // an outside issuer's accounts: everything, as its grant says
	a = h.want(h.do("GET", "/v2/_catalog", nil, alice), 200)
	if got := strings.TrimSpace(string(a.body)); got != `{"repositories":["a","b/c","secret","z"]}` {
		t.Errorf("without rules: %s", got)
	}
}
