package index

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Explanation says why bytes are kept, or what becomes of them.
type Explanation struct {
	Digest   digest.Digest `json:"digest"`
	Stored   digest.Digest `json:"stored"` // under which the store has the bytes: another one, where the digest's link lends them
	Known    bool          `json:"known"`  // the index has a record of the bytes
	Size     int64         `json:"size"`
	State    State         `json:"state,omitempty"`
	Since    time.Time     `json:"since,omitzero"`   // of the state
	Reason   string        `json:"reason,omitempty"` // of the state
	Due      time.Time     `json:"due,omitzero"`     // when they are deleted, at the earliest
	Uses     []Use         `json:"uses"`             // of them by repositories
	Revision string        `json:"revision"`         // the number of the last change to the index that was seen
}

// Use is how a repository holds bytes.
type Use struct {
	Repository string        `json:"repository"`
	Kind       string        `json:"kind"` // "blob" or "manifest"
	Digest     digest.Digest `json:"digest"`
	// Path leads from a tag to what holds the bytes, by the shortest way; where no tag does, from what nothing needs.
	Path []Hop `json:"path"`
	// Tagged says that the path begins with a tag: then the bytes stay.
	Tagged bool `json:"tagged"`
	// Review is what the collector looks at, and Due when it is removed, at the earliest; where the path begins without a tag.
	// Without a Due it stays for ever, as untagged manifests do by the policy.
	Review *UseReview `json:"review,omitempty"`
	Due    time.Time  `json:"due,omitzero"`
	// Promised is until when the repository keeps what holds the bytes, since a client was told of it.
	Promised time.Time `json:"promised,omitzero"`
}

// UseReview is the review of what a path begins with.
type UseReview struct {
	Class  Class     `json:"class"`
	At     time.Time `json:"at"` // its place in the queue
	Reason string    `json:"reason,omitempty"`
}

// Hop is a step of a path.
type Hop struct {
	Kind   string        `json:"kind"` // "tag", "index", "manifest", "subject", "link" or "blob"
	Tag    string        `json:"tag,omitempty"`
	Digest digest.Digest `json:"digest,omitempty"`
}

func (h Hop) isManifest() bool { return h.Kind != hopTag && h.Kind != hopBlob && h.Kind != hopLink }

// The kinds of hops.
const (
	hopTag      = "tag"
	hopIndex    = "index"
	hopManifest = "manifest"
	hopSubject  = "subject"
	hopLink     = "link" // one that lends the bytes, under another digest
	hopBlob     = "blob"
)

// Explain says why bytes are kept under a policy, for all repositories that hold them or, if repo is not "", for that one. It
// is one look at the index.
func (x *Index) Explain(ctx context.Context, p Policy, dgst digest.Digest, repo string) (e Explanation, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		e = Explanation{Digest: dgst, Stored: dgst, Uses: []Use{}}
		if v, err := r.Get(sequenceKey); err == nil {
			e.Revision = string(v)
		} else if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		b, err := get[blobRecord](r, key(kindBlob, string(dgst)))
		if errors.Is(err, kv.ErrNotFound) {
			if e.Stored, err = lent(r, dgst); err != nil || e.Stored == "" {
				return err
			}
			b, err = get[blobRecord](r, key(kindBlob, string(e.Stored)))
		}
		if err != nil {
			return err
		}
		e.Known, e.Size, e.State, e.Since, e.Reason = true, b.Size, b.State, b.At, b.Former.Reason
		if b.State == StateLive {
			e.Since = b.Since
		}
		if b.State == StateCondemned {
			v, found, err := queued(r, Condemned, "", e.Stored)
			if err != nil {
				return err
			}
			if due, _ := p.Due(v); found {
				e.Due = later(due, e.Since)
			}
		}
		return explainUses(r, p, &e, repo)
	})
	return e, err
}

// lent returns the digest under which the store has the bytes of one that it does not know, or "": some repository has a link of
// it. It costs the repositories; only what distribution took in by another digest than sha256 comes to it.
func lent(r kv.Reader, dgst digest.Digest) (digest.Digest, error) {
	for repo := ""; ; {
		from := key(kindLink, "")
		if repo != "" {
			from = append(key(kindLink, repo), 1) // behind all links of it
		}
		next, err := anyIn(r, from, kv.End(key(kindLink, "")))
		if err != nil || next == nil {
			return "", err
		}
		repo = firstPart(next)
		l, err := get[linkRecord](r, key(kindLink, repo, string(dgst)))
		if err == nil || !errors.Is(err, kv.ErrNotFound) {
			return l.Stored, err
		}
	}
}

// explainUses explains each use of the bytes.
func explainUses(r kv.Reader, p Policy, e *Explanation, repo string) error {
	below := key(kindHolder, string(e.Stored), "")
	prefix := below
	if repo != "" {
		prefix = key(kindHolder, string(e.Stored), repo, "")
	}
	for pair, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return err
		}
		name, by, _ := strings.Cut(string(pair.Key[len(below):]), "\x00")
		u := Use{Repository: name, Kind: hopBlob, Digest: digest.Digest(by)}
		switch by {
		case asManifest:
			u.Kind, u.Digest = hopManifest, e.Stored
		case asUnread:
			hop := Hop{Kind: asUnread, Digest: e.Stored}
			e.Uses = append(e.Uses, Use{Repository: name, Kind: asUnread, Digest: e.Stored, Path: []Hop{hop}})
			continue
		}
		if err := u.explain(r, p); err != nil {
			return err
		}
		e.Uses = append(e.Uses, u)
	}
	return nil
}

// explain finds the path and what the collector has to do with it.
func (u *Use) explain(r kv.Reader, p Policy) error {
	first := Hop{Kind: u.Kind, Digest: u.Digest}
	if u.Kind == hopManifest {
		m, err := manifest(r, u.Repository, u.Digest)
		if err != nil {
			return err
		}
		if len(m.Manifests) > 0 {
			first.Kind = hopIndex
		}
	}
	last, err := u.promised(r, first)
	if err != nil {
		return err
	}
	if !last.IsZero() {
		u.Promised = last.Add(p.Grace)
	}
	if err := u.findPath(r, first); err != nil || u.Tagged {
		return err
	}
	root := u.Path[0]
	classes := []Class{Orphaned, Untagged}
	if !root.isManifest() {
		classes = []Class{Unreferenced}
	}
	for _, class := range classes {
		v, found, err := queued(r, class, u.Repository, root.Digest)
		if err != nil {
			return err
		}
		due, ever := p.Due(v)
		if !found {
			continue
		}
		u.Review = &UseReview{class, v.At, v.Reason}
		if !ever {
			return nil
		}
		last, err := u.promised(r, root)
		u.Due = later(due, last.Add(p.Grace))
		return err
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// promised returns when a client was last told of something.
func (u *Use) promised(r kv.Reader, h Hop) (time.Time, error) {
	var since time.Time
	if h.isManifest() {
		m, err := manifest(r, u.Repository, h.Digest)
		if err != nil {
			return since, err
		}
		since = m.PushedAt
	} else {
		l, err := get[linkRecord](r, key(kindLink, u.Repository, string(h.Digest)))
		if err != nil {
			return since, err
		}
		since = l.Since
	}
	return promised(r, u.Repository, h.Digest, since)
}

// node is something on the way up.
type node struct {
	hop  Hop
	from int // the index of the node below; -1 for the first
}

// findPath looks upwards from what holds the bytes, the nearest first, until it comes to a tag.
func (u *Use) findPath(r kv.Reader, first Hop) error {
	nodes := []node{{first, -1}}
	seen := map[Hop]bool{nodes[0].hop: true}
	end := 0 // the first that nothing is above of
	foundEnd := false
	for i := 0; i < len(nodes); i++ {
		above, err := u.above(r, nodes[i].hop)
		if err != nil {
			return err
		}
		if len(above) == 0 && !foundEnd {
			end, foundEnd = i, true
		}
		for _, hop := range above {
			if hop.Kind == hopTag {
				u.Tagged = true
				u.Path = append([]Hop{hop}, path(nodes, i)...)
				return nil
			}
			if !seen[hop] {
				seen[hop] = true
				nodes = append(nodes, node{hop, i})
			}
		}
	}
	u.Path = path(nodes, end)
	return nil
}

// path returns the hops from a node down to the first.
func path(nodes []node, i int) (hops []Hop) {
	for ; i >= 0; i = nodes[i].from {
		hops = append(hops, nodes[i].hop)
	}
	return hops
}

// above returns what needs a hop: of tags only the first, since one is enough.
func (u *Use) above(r kv.Reader, h Hop) (hops []Hop, err error) {
	if h.isManifest() {
		tag, err := anyBelow(r, key(kindTagged, u.Repository, string(h.Digest), ""))
		if err != nil {
			return nil, err
		}
		if tag != nil {
			return []Hop{{Kind: hopTag, Tag: lastPart(tag)}}, nil
		}
		m, err := manifest(r, u.Repository, h.Digest)
		if err != nil {
			return nil, err
		}
		if m.Subject != "" {
			found, err := has(r, key(kindManifest, u.Repository, string(m.Subject)))
			if err != nil {
				return nil, err
			}
			if found {
				hops = append(hops, Hop{Kind: hopSubject, Digest: m.Subject})
			}
		}
	}
	prefix := key(kindReference, string(h.Digest), u.Repository, "")
	for p, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return nil, err
		}
		d := digest.Digest(lastPart(p.Key))
		m, err := manifest(r, u.Repository, d)
		if err != nil {
			return nil, err
		}
		kind := hopManifest
		if slices.Contains(m.Manifests, h.Digest) {
			kind = hopIndex
		}
		hops = append(hops, Hop{Kind: kind, Digest: d})
	}
	if h.isManifest() {
		return hops, nil
	}
	prefix = key(kindHolder, string(h.Digest), u.Repository, "")
	for p, err := range r.Scan(prefix, kv.End(prefix)) {
		if err != nil {
			return nil, err
		}
		if by := lastPart(p.Key); by != string(h.Digest) && by != asManifest && by != asUnread {
			hops = append(hops, Hop{Kind: hopLink, Digest: digest.Digest(by)})
		}
	}
	return hops, nil
}
