package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"gatehouse/registry/adopt"
	"gatehouse/registry/index"
)

// Names are the handlers about repositories and tags.
type Names struct {
	Index *index.Index
	// Touch sees to it that the index knows what a tree of distribution's says of a repository, as adopt.Adopter's does.
	Touch func(ctx context.Context, repo string, writes bool) error
	// ReadOnly reports whether nothing may be changed now.
	ReadOnly func() bool
	// WouldFree returns what the collector would delete if tags of a repository were taken away, or the repository whole for no
	// tags. nil: nobody knows.
	WouldFree func(ctx context.Context, repo string, tags []string) (WouldFree, error)
}

// WouldFree is what the collector would delete because of a change, in bytes.
type WouldFree struct {
	Bytes int64 `json:"bytes"`
	// IfUntagged is what it would be if manifests without a tag were collected, where they are kept.
	IfUntagged *int64 `json:"ifUntagged,omitempty"`
}

// Register adds the handlers to a server.
func (n *Names) Register(s *Server) {
	s.Handle("GET /v1/repositories", n.listRepositories)
	s.Handle("GET /v1/repositories/{name}", n.showRepository)
	s.Handle("POST /v1/repositories/{name}/remove", n.removeRepository)
	s.Handle("GET /v1/repositories/{name}/tags", n.listTags)
	s.Handle("GET /v1/repositories/{name}/history", n.history)
	s.Handle("POST /v1/repositories/{name}/untag", n.untag)
}

// RepositoryPath is the path of a request about a repository, with what comes behind its name.
func RepositoryPath(name, rest string) string {
	return "/v1/repositories/" + url.PathEscape(name) + rest
}

// CheckRepository returns an error for what no repository can be called.
func CheckRepository(name string) error {
	if !adopt.ValidName(name) {
		return Errorf(http.StatusBadRequest, "%q cannot be the name of a repository", name)
	}
	return nil
}

// repository returns the repository that a request is about, and sees to it that the index knows it.
func (n *Names) repository(r *http.Request, writes bool) (string, error) {
	name := r.PathValue("name")
	if err := CheckRepository(name); err != nil {
		return "", err
	}
	if err := n.Touch(r.Context(), name, writes); err != nil {
		return "", fmt.Errorf("read repository %s from distribution's tree: %w", name, err)
	}
	return name, nil
}

// writable refuses while the registry is read-only.
func (n *Names) writable() error {
	if n.ReadOnly() {
		return Errorf(http.StatusConflict, "the registry is read-only: `gatehouse readonly off` ends that until the next start, storage.maintenance.readonly for good")
	}
	return nil
}

// wouldFree is WouldFree, for an answer; nil when nobody knows.
func (n *Names) wouldFree(ctx context.Context, repo string, tags []string) (*WouldFree, error) {
	if n.WouldFree == nil {
		return nil, nil
	}
	would, err := n.WouldFree(ctx, repo, tags)
	if err != nil {
		return nil, fmt.Errorf("find out what would be free: %w", err)
	}
	return &would, nil
}

// unknownRepository is the answer about a repository of which the index has nothing.
func unknownRepository(name string) error {
	return Errorf(http.StatusNotFound, "there is no repository %s", name)
}

// absent reports whether an error says that a tag or its repository is not there.
func absent(err error) bool {
	return errors.Is(err, index.ErrManifestUnknown) || errors.Is(err, index.ErrNameUnknown)
}
