package registry

import (
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
	if more && len(tags) > 0 {
		link(w.Header(), c.URL.Path, n, tags[len(tags)-1])
	}
	return writeJSON(w, http.StatusOK, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.name, tags})
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

// link points to the page behind last (RFC 8288).
func link(h http.Header, path string, n int, last string) {
	query := url.Values{"n": {strconv.Itoa(n)}, "last": {last}}
	h.Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
}
