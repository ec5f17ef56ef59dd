package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Route gives the requests for a path to a handler.
type Route struct {
	// Path is exact, or a prefix where it ends in "/". A prefix without its slash is the same path: the handler of "/v2/"
	// gets "/v2" as "/v2/". The longest path that matches wins.
	Path string
	// Name is the handler's label in metrics.
	Name string
	// Label, where set, names a request more finely: manifest, blob, tags. Its values must be few and its own, never the
	// client's words. It must not read the body.
	Label   func(*http.Request) string
	Handler http.Handler
}

// routes are the routes by path.
type routes struct {
	exact    map[string]*route // prefixes with and without their slash as well
	prefixes []*route          // longest first
}

// route is a Route with the metrics of its name.
type route struct {
	Route
	metrics *handlerMetrics
}

// newRoutes checks and sorts the routes.
func newRoutes(list []Route, m *metrics) (routes, error) {
	rs := routes{exact: map[string]*route{}}
	for _, r := range list {
		switch {
		case !strings.HasPrefix(r.Path, "/"):
			return rs, fmt.Errorf("path %q of route %q must begin with a slash", r.Path, r.Name)
		case rs.exact[r.Path] != nil:
			return rs, fmt.Errorf("path %q has two routes", r.Path)
		case r.Handler == nil || r.Name == "":
			return rs, fmt.Errorf("route for %q must have a name and a handler", r.Path)
		}
		to := &route{r, m.handler(r.Name)}
		rs.exact[r.Path] = to
		if strings.HasSuffix(r.Path, "/") {
			rs.prefixes = append(rs.prefixes, to)
		}
	}
	if len(rs.exact) == 0 {
		return rs, errors.New("there must be a route")
	}
	slices.SortFunc(rs.prefixes, func(a, b *route) int { return cmp.Compare(len(b.Path), len(a.Path)) })
	for _, to := range rs.prefixes {
		if bare := strings.TrimSuffix(to.Path, "/"); rs.exact[bare] == nil {
			rs.exact[bare] = to
		}
	}
	return rs, nil
}

// match finds the route of a canonical path, or nil.
func (rs routes) match(path string) *route {
	if to := rs.exact[path]; to != nil {
		return to
	}
	for _, to := range rs.prefixes {
		if strings.HasPrefix(path, to.Path) {
			return to
		}
	}
	return nil
}

// route is the end of the chain: refuse, or find the handler, count and call it.
func (s *Server) route(x *exchange, r *http.Request) {
	if x.v2 {
		x.w.Header().Set(versionHeader, version)
	}
	if no := hygiene(r); no != nil {
		s.refuse(x, r, no)
		return
	}
	to := s.routes.match(r.URL.Path)
	if to == nil {
		s.refuse(x, r, &refusal{http.StatusNotFound, codeNotFound, "no such path"})
		return
	}
	if len(r.URL.Path) < len(to.Path) {
		// A prefix without its slash. The URL is shared with the request that net/http and the log hold.
		u := *r.URL
		u.Path, u.RawPath = to.Path, ""
		r.URL = &u
	}
	counted := to.metrics
	if to.Label != nil && counted != nil {
		counted = s.metrics.handler(to.Label(r))
	}
	counted.begin()
	defer counted.end(x, r.Method)
	s.rescue(x, r, to.Handler)
}

// refuse answers and counts a request that has no handler.
func (s *Server) refuse(x *exchange, r *http.Request, no *refusal) {
	refused := s.metrics.handler("none")
	refused.begin()
	defer refused.end(x, r.Method)
	x.fail(no.status, no.code, no.message)
}
