package admin

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index"
)

// Tag is what GET /v1/repositories/{name}/tags has a line of for each tag.
type Tag struct {
	Name         string        `json:"name"`
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Size         int64         `json:"size"`     // of the manifest with all that it names, each digest once, in bytes
	PushedAt     time.Time     `json:"pushedAt"` // since when the tag points there
	PushedBy     string        `json:"pushedBy,omitempty"`
}

// Move is what GET /v1/repositories/{name}/history?tag= has a line of: at a time, by an account, a tag came to point from one
// digest to another. No From: it was new. No To: it was deleted.
type Move struct {
	Tag  string        `json:"tag"`
	To   digest.Digest `json:"to,omitempty"`
	From digest.Digest `json:"from,omitempty"`
	At   time.Time     `json:"at"`
	By   string        `json:"by,omitempty"`
}

// Untag is the body of POST /v1/repositories/{name}/untag.
type Untag struct {
	Tags   []string `json:"tags"`
	DryRun bool     `json:"dryRun,omitempty"` // only say what would be removed
}

// Untagged is its answer: the tags that were taken away, each once.
type Untagged struct {
	Tags []Tag `json:"tags"`
	// WouldFree is of a dry run, where that is known.
	WouldFree *WouldFree `json:"wouldFree,omitempty"`
}

// tagsAtOnce is how many tags are looked up at a time.
const tagsAtOnce = 100

func (n *Names) listTags(w http.ResponseWriter, r *http.Request) error {
	name, err := n.repository(r, false)
	if err != nil {
		return err
	}
	if err := n.mustKnow(r.Context(), name); err != nil {
		return err
	}
	lines := NewLines(w)
	for last := ""; ; {
		states, more, err := n.Index.TagStates(r.Context(), name, last, tagsAtOnce)
		if err != nil {
			return err
		}
		for _, state := range states {
			tag, err := n.tag(r, name, state)
			if err != nil {
				return err
			}
			if err := lines.Write(tag); err != nil {
				return err
			}
			last = state.Name
		}
		if !more {
			return nil
		}
	}
}

func (n *Names) tag(r *http.Request, repo string, s index.TagState) (Tag, error) {
	size, err := n.Index.ImageSize(r.Context(), repo, s.Manifest.Digest)
	return Tag{
		Name: s.Name, Digest: s.Manifest.Digest, MediaType: s.Manifest.MediaType, ArtifactType: s.Manifest.ArtifactType,
		Size: size, PushedAt: s.At, PushedBy: s.By,
	}, err
}

// history lists what the tags of a repository pointed to, those that are gone and those of a repository that is gone too.
func (n *Names) history(w http.ResponseWriter, r *http.Request) error {
	query, err := Query(r, "tag")
	if err != nil {
		return err
	}
	tag := query.Get("tag")
	if strings.ContainsRune(tag, 0) { // it would lead to other records
		return Errorf(http.StatusBadRequest, "%q cannot be a tag", tag)
	}
	name, err := n.repository(r, false)
	if err != nil {
		return err
	}
	lines, any := NewLines(w), false
	err = n.Index.Moves(r.Context(), name, tag, func(m index.TagMoved) error {
		any = true
		return lines.Write(Move{Tag: m.Tag, To: m.To, From: m.From, At: m.At, By: m.By})
	})
	switch {
	case err != nil || any:
		return err
	case tag != "":
		return Errorf(http.StatusNotFound, "repository %s never had a tag %s", name, tag)
	}
	return Errorf(http.StatusNotFound, "there never was a tag in a repository %s", name)
}

// maxUntag is how many tags one request takes away.
const maxUntag = 1000

// untag takes tags away. When one of them is not there, none is; the manifests stay.
func (n *Names) untag(w http.ResponseWriter, r *http.Request) error {
	var in Untag
	if err := Read(w, r, &in); err != nil {
		return err
	}
	Note(r, slog.Any("tags", in.Tags[:min(len(in.Tags), maxUntag)]), slog.Bool("dryrun", in.DryRun))
	if len(in.Tags) == 0 || len(in.Tags) > maxUntag {
		return Errorf(http.StatusBadRequest, "name between 1 and %d tags", maxUntag)
	}
	if !in.DryRun {
		if err := n.writable(); err != nil {
			return err
		}
	}
	name, err := n.repository(r, !in.DryRun)
	if err != nil {
		return err
	}
	out, seen := Untagged{}, map[string]bool{}
	for _, tag := range in.Tags {
		if seen[tag] {
			continue
		}
		seen[tag] = true
		state, err := n.Index.TagState(r.Context(), name, tag)
		if absent(err) || strings.ContainsRune(tag, 0) {
			return Errorf(http.StatusNotFound, "repository %s has no tag %s; nothing was removed", name, tag)
		}
		if err != nil {
			return err
		}
		t, err := n.tag(r, name, state)
		if err != nil {
			return err
		}
		out.Tags = append(out.Tags, t)
	}
	if in.DryRun {
		if out.WouldFree, err = n.wouldFree(r.Context(), name, in.Tags); err != nil {
			return err
		}
		return Reply(w, out)
	}
	for _, tag := range out.Tags {
		if err := n.Index.DeleteTag(r.Context(), name, tag.Name, Account(r.Context())); err != nil && !absent(err) { // somebody else did
			return err
		}
	}
	return Reply(w, out)
}
