package registry

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
)

// maxPage is the most that one answer lists unless another bound is set; catalogPage is what the catalog lists unless
// asked, as distribution's does.
const (
	maxPage     = 1000
	catalogPage = 100
)

// getTags lists the tags of a repository in byte order, a page at a time. What asks for more than a page gets a page.
func (g *Registry) getTags(w http.ResponseWriter, c *call) error {
	n, last, err := pagination(c.URL.Query(), g.MaxTags)
	if err != nil {
		return err
	}
	n = min(n, g.MaxTags)
	tags, more, err := g.Index.Tags(c.Context(), c.name, last, n)
	if err != nil {
		return err
	}
	link(w.Header(), c.URL.Path, tags, n, more)
	return writeJSON(w, http.StatusOK, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.name, tags})
}

// getCatalog lists the repositories in byte order, a page at a time. What asks for more than a page is refused, as by
// distribution (registry/handlers/catalog.go).
func (g *Registry) getCatalog(w http.ResponseWriter, c *call) error {
	n, last, err := pagination(c.URL.Query(), min(catalogPage, g.MaxRepositories))
	if err != nil {
		return err
	}
	if n > g.MaxRepositories {
		return problem(codePagination, fmt.Sprintf("n is at most %d here", g.MaxRepositories))
	}
	names, more, err := g.Index.Repositories(c.Context(), last, n)
	if err != nil {
		return err
	}
	link(w.Header(), c.URL.Path, names, n, more)
	return writeJSON(w, http.StatusOK, struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// pagination reads the query of a list: at most n entries, those after last.
func pagination(query url.Values, unasked int) (n int, last string, err error) {
	n = unasked
	if s := query.Get("n"); s != "" {
		asked, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			return 0, "", problem(codePagination, "n is a number of entries")
		}
		n = int(min(asked, math.MaxInt))
	}
	return n, query.Get("last"), nil
}

// link points to the page behind one that is not the last (RFC 8288).
func link(h http.Header, path string, page []string, n int, more bool) {
	if !more || len(page) == 0 {
		return
	}
	query := url.Values{"n": {strconv.Itoa(n)}, "last": {page[len(page)-1]}}
	h.Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
}
