// Package registry is the OCI distribution API, version 1.1, as an http.Handler.
//
// The life of a request: ServeHTTP → parse (route.go: the API's URL grammar, a pure function) → the endpoint's row in one table
// (endpoints.go: what it needs, who serves it) → authorize (access.go) → the handler in the noun's file (blobs.go, uploads.go,
// manifests.go, tags.go) → the index for names, the store for bytes. Handlers return errors; errors.go alone turns them into
// codes and statuses.
package registry

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
	"gatehouse/registry/store"
	"gatehouse/tokenserver/token"
)

// Options is what a Registry is made of.
type Options struct {
	Index *index.Index
	Store *store.Store
	// Auth decides who may do what; nil lets everybody do everything.
	Auth *Auth
	// Secret authenticates the URLs of uploads. Servers that share uploads share it.
	Secret []byte
	// Prefix is what stands before /v2/ in the paths of requests: empty, or a path without a slash at its end.
	Prefix string
	// Origin returns what URLs in the answer to a request begin with, such as "https://registry.example.com". nil: they are
	// paths that begin with Prefix, which is right wherever the client thinks it is.
	Origin func(*http.Request) string
	// Headers are in every answer, unless it has one of that name by itself. Names are canonical.
	Headers http.Header
	// Manifests are the rules for those that are pushed; the zero value asks for all that it can.
	Manifests manifest.Rules
	// MaxRepositories and MaxTags are the most that one answer lists. 0: 1000.
	MaxRepositories, MaxTags int
	// Delete allows deletion of tags, manifests and blobs.
	Delete bool
	// Redirect has clients fetch blobs from the driver's backend, where it has URLs for them.
	Redirect bool
	// ReadOnly reports whether pushes and deletions are refused now. nil: never.
	ReadOnly func() bool
	// Adopt sees to it that the index knows what a tree written by distribution says of a repository: it is called before the
	// index is asked about one; writes says that the request may change it. nil: the index knows all.
	Adopt func(ctx context.Context, repo string, writes bool) error
	// Finish ends the deletion of a digest that a push has waited for in vain: the collector that began it may be paused. It may
	// do nothing. nil: there is no collector.
	Finish func(context.Context, digest.Digest) error
	// Observe is told the account of a request, for the access log. May be nil.
	Observe func(ctx context.Context, account string)
	// Now is the time, for the age of uploads. nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Registry serves /v2/.
type Registry struct {
	Options
	manifests *cache // of the bytes of manifests
	blobs     *cache // of small blobs
	missing   missing
	pushing   pushing
}

// New returns a registry over what the options name.
func New(o Options) *Registry {
	if o.Origin == nil {
		o.Origin = func(*http.Request) string { return o.Prefix }
	}
	o.MaxRepositories, o.MaxTags = cmp.Or(o.MaxRepositories, maxPage), cmp.Or(o.MaxTags, maxPage)
	if o.Adopt == nil {
		o.Adopt = func(context.Context, string, bool) error { return nil }
	}
	if o.ReadOnly == nil {
		o.ReadOnly = func() bool { return false }
	}
	if o.Observe == nil {
		o.Observe = func(context.Context, string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Registry{Options: o, manifests: newCache(), blobs: newCache()}
}

// call is one request on its way to a handler.
type call struct {
	*http.Request
	route
	who     *token.Claims                  // who sent it; nil where everybody may do everything
	account string                         // "" when nobody said who they are, or it does not matter
	grants  grants                         // what the account may do
	may     func(repo, action string) bool // what Auth.May returned, once it was asked
}

// ServeHTTP serves one request of the API.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for name, values := range g.Headers {
		h[name] = slices.Clip(values) // who adds to it gets a copy
	}
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	route, err := parse(g.Prefix, r.URL)
	if err == nil {
		err = g.serve(w, r, route)
	}
	if err != nil {
		g.writeError(w, r, route, err)
	}
}

func (g *Registry) serve(w http.ResponseWriter, r *http.Request, route route) error {
	e, err := find(r.Method, route.kind)
	if other := (methodError{}); r.Method == http.MethodOptions && errors.As(err, &other) {
		// A browser asks before it sends a page's request, without credentials, and looks at Headers. The answer says only
		// what every registry's table does.
		w.Header().Set("Allow", other.allowed)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if err != nil {
		return err
	}
	c := &call{Request: r, route: route}
	if err := g.authorize(c, e); err != nil {
		return err
	}
	if g.ReadOnly() && e.method != http.MethodGet && e.method != http.MethodHead {
		return problem(codeUnsupported, "the registry is read-only: storage.maintenance.readonly is enabled")
	}
	if e.deletes && !g.Delete {
		return problem(codeUnsupported, "deletion is disabled: set storage.delete.enabled")
	}
	if route.name != "" {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if err := g.adopt(r.Context(), route.name, !reads); err != nil {
			return err
		}
	}
	return e.serve(g, w, c)
}

// adopt is Adopt. A repository whose part of the tree cannot be read is not taken for an empty one: 503.
func (g *Registry) adopt(ctx context.Context, repo string, writes bool) error {
	if err := g.Adopt(ctx, repo, writes); err != nil {
		return unavailable(err, "the repository is being read from distribution's tree, which failed; it is tried again")
	}
	return nil
}
