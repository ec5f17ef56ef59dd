package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"gatehouse/registry/index"
)

// Repository is what GET /v1/repositories has a line of for each repository, and GET /v1/repositories/{name} answers. The counts
// are index.Usage's.
type Repository struct {
	Name      string `json:"name"`
	Tags      int    `json:"tags"`
	Manifests int    `json:"manifests"`
	Untagged  int    `json:"untagged"`
	Referrers int    `json:"referrers"`
	Blobs     int    `json:"blobs"`
	Bytes     int64  `json:"bytes"`
}

// RemoveRepository is the body of POST /v1/repositories/{name}/remove.
type RemoveRepository struct {
	DryRun bool `json:"dryRun,omitempty"` // only say what would be removed
}

// RemovedRepository is a line of its answer: what was removed so far; the last has Done.
type RemovedRepository struct {
	Tags      int  `json:"tags"`
	Manifests int  `json:"manifests"`
	Blobs     int  `json:"blobs"` // links to them
	Done      bool `json:"done,omitempty"`
	// Remains says, with Done, that there is something that was pushed meanwhile.
	Remains bool `json:"remains,omitempty"`
	// WouldFree is of a dry run, where that is known.
	WouldFree *WouldFree `json:"wouldFree,omitempty"`
}

// listRepositories lists all repositories of which the index has anything, in byte order, those with a prefix if one is given.
func (n *Names) listRepositories(w http.ResponseWriter, r *http.Request) error {
	query, err := Query(r, "prefix")
	if err != nil {
		return err
	}
	prefix, lines := query.Get("prefix"), NewLines(w)
	name := before(prefix)
	for {
		if name, err = n.Index.Next(r.Context(), name); err != nil || name == "" {
			return err
		}
		if !strings.HasPrefix(name, prefix) {
			if name > prefix {
				return nil
			}
			continue
		}
		repository, err := n.describe(r.Context(), name)
		if err != nil {
			return err
		}
		if err := lines.Write(repository); err != nil {
			return err
		}
	}
}

// before returns a name that sorts before a prefix, with no repository between the two but the prefix itself: names have no zero
// bytes.
func before(prefix string) string {
	if prefix == "" {
		return ""
	}
	last := len(prefix) - 1
	if prefix[last] == 0 {
		return prefix[:last]
	}
	return prefix[:last] + string([]byte{prefix[last] - 1, 0xff})
}

// describe counts what a repository has.
func (n *Names) describe(ctx context.Context, name string) (Repository, error) {
	u, err := n.Index.Usage(ctx, name)
	return Repository{
		Name: name, Tags: u.Tags, Manifests: u.Manifests, Untagged: u.Untagged, Referrers: u.Referrers, Blobs: u.Links, Bytes: u.Bytes,
	}, err
}

func (n *Names) showRepository(w http.ResponseWriter, r *http.Request) error {
	name, err := n.repository(r, false)
	if err != nil {
		return err
	}
	if err := n.mustKnow(r.Context(), name); err != nil {
		return err
	}
	repository, err := n.describe(r.Context(), name)
	if err != nil {
		return err
	}
	return Reply(w, repository)
}

// mustKnow refuses where the index has nothing of a repository.
func (n *Names) mustKnow(ctx context.Context, name string) error {
	known, err := n.Index.Knows(ctx, name)
	if err == nil && !known {
		err = unknownRepository(name)
	}
	return err
}

// removeRepository removes a repository and says after each transaction how far it is. When the client goes, it ends where it is.
func (n *Names) removeRepository(w http.ResponseWriter, r *http.Request) error {
	var in RemoveRepository
	if err := Read(w, r, &in); err != nil {
		return err
	}
	Note(r, slog.Bool("dryrun", in.DryRun))
	if !in.DryRun {
		if err := n.writable(); err != nil {
			return err
		}
	}
	name, err := n.repository(r, !in.DryRun)
	if err != nil {
		return err
	}
	if err := n.mustKnow(r.Context(), name); err != nil {
		return err
	}
	lines := NewLines(w)
	if in.DryRun {
		repository, err := n.describe(r.Context(), name)
		if err != nil {
			return err
		}
		free, err := n.wouldFree(r.Context(), name, nil)
		if err != nil {
			return err
		}
		return lines.Write(RemovedRepository{
			Tags: repository.Tags, Manifests: repository.Manifests, Blobs: repository.Blobs, Done: true, WouldFree: free,
		})
	}
	removed, err := n.Index.RemoveRepository(r.Context(), name, Account(r.Context()), func(so index.Removal) error {
		if err := n.writable(); err != nil {
			return err
		}
		return lines.Write(RemovedRepository{Tags: so.Tags, Manifests: so.Manifests, Blobs: so.Links})
	})
	Note(r, slog.Int("tags", removed.Tags), slog.Int("manifests", removed.Manifests), slog.Int("blobs", removed.Links))
	if err != nil {
		return err
	}
	remains, err := n.Index.Knows(r.Context(), name)
	if err != nil {
		return err
	}
	return lines.Write(RemovedRepository{
		Tags: removed.Tags, Manifests: removed.Manifests, Blobs: removed.Links, Done: true, Remains: remains,
	})
}
