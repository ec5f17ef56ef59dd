package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/manifest"
)

// Collector are the handlers about the collector: the one of a running server, or of a verb's own process.
type Collector struct {
	GC *gc.Collector
	// Touch is Names.Touch.
	Touch func(ctx context.Context, repo string, writes bool) error
	// Server says that a server runs; Enabled that its collector works by itself.
	Server, Enabled bool
}

// Register adds the handlers to a server.
func (c *Collector) Register(s *Server) {
	s.Handle("GET /v1/gc", c.status)
	s.Handle("GET /v1/gc/plan", c.plan)
	s.Handle("GET /v1/gc/explain", c.explain)
	s.Handle("GET /v1/gc/manifests", c.manifests)
	s.Handle("GET /v1/gc/strays", c.strays)
	s.Handle("POST /v1/gc/run", c.run)
	s.Handle("POST /v1/gc/pause", c.pause)
	s.Handle("POST /v1/gc/resume", c.resume)
	s.Handle("POST /v1/gc/restore", c.restore)
}

// CollectorStatus is what GET /v1/gc answers.
type CollectorStatus struct {
	gc.Status
	Policy  Policy `json:"policy"`
	Server  bool   `json:"server"`  // one runs
	Enabled bool   `json:"enabled"` // it collects by itself
}

func (c *Collector) status(w http.ResponseWriter, r *http.Request) error {
	s, err := c.GC.Status(r.Context())
	if err != nil {
		return err
	}
	return Reply(w, CollectorStatus{Status: s, Policy: policyOf(s.Policy), Server: c.Server, Enabled: c.Enabled})
}

// Policy is how long the collector waits, in the words of the configuration. In a request "" is as the collector has it.
type Policy struct {
	Grace      string `json:"grace,omitempty"`
	Quarantine string `json:"quarantine,omitempty"`
	Untagged   string `json:"untagged,omitempty"` // "keep" or a duration
}

const keepUntagged = "keep"

func policyOf(p index.Policy) Policy {
	out := Policy{Grace: p.Grace.String(), Quarantine: p.Quarantine.String(), Untagged: keepUntagged}
	if p.Untagged >= 0 {
		out.Untagged = p.Untagged.String()
	}
	return out
}

// over returns a policy with what a request changes of it.
func (p Policy) over(base index.Policy) (index.Policy, error) {
	for _, f := range []struct {
		name, value string
		to          *time.Duration
	}{{"grace", p.Grace, &base.Grace}, {"quarantine", p.Quarantine, &base.Quarantine}, {"untagged", p.Untagged, &base.Untagged}} {
		switch {
		case f.value == "":
		case f.to == &base.Untagged && f.value == keepUntagged:
			base.Untagged = index.KeepUntagged
		default:
			d, err := time.ParseDuration(f.value)
			if err != nil || d < 0 {
				return base, Errorf(http.StatusBadRequest, "%s is %q: a duration with its unit, such as 24h or 0s", f.name, f.value)
			}
			*f.to = d
		}
	}
	return base, nil
}

// Check returns an error that names the first word that cannot be meant.
func (p Policy) Check() error {
	_, err := p.over(index.Policy{})
	return err
}

// PlanStep is what GET /v1/gc/plan has a line of for each thing that the collector would do, in the order of time. The last line has
// Total instead.
type PlanStep struct {
	Class      index.Class   `json:"class,omitempty"`
	Repository string        `json:"repository,omitempty"` // none for bytes, which no repository holds
	Digest     digest.Digest `json:"digest,omitempty"`
	Bytes      int64         `json:"bytes"` // that are deleted
	Reason     string        `json:"reason,omitempty"`
	Due        time.Time     `json:"due,omitzero"` // at the earliest
	Total      *PlanTotal    `json:"total,omitempty"`
}

// PlanTotal is what a plan comes to.
type PlanTotal struct {
	Links     int   `json:"links"`
	Manifests int   `json:"manifests"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`
}

// add counts a step.
func (t *PlanTotal) add(s index.Step) {
	switch s.Class {
	case index.Unreferenced:
		t.Links++
	case index.Untagged, index.Orphaned:
		t.Manifests++
	default:
		t.Blobs++
		t.Bytes += s.Size
	}
}

// plan lists what the collector would do within a duration, "" for all, under its policy or another one.
func (c *Collector) plan(w http.ResponseWriter, r *http.Request) error {
	query, err := Query(r, "until", "grace", "quarantine", "untagged")
	if err != nil {
		return err
	}
	in := Policy{query.Get("grace"), query.Get("quarantine"), query.Get("untagged")}
	policy, err := in.over(c.GC.Policy)
	if err != nil {
		return err
	}
	until := time.Duration(1 << 62)
	if v := query.Get("until"); v != "" {
		if until, err = time.ParseDuration(v); err != nil || until < 0 {
			return Errorf(http.StatusBadRequest, "until is %q: a duration with its unit, such as 24h or 0s", v)
		}
	}
	if err := c.adopted(r.Context()); err != nil {
		return err
	}
	lines, total := NewLines(w), PlanTotal{}
	err = c.GC.Index.Plan(r.Context(), policy, c.GC.Now().Add(until), func(s index.Step) error {
		total.add(s)
		return lines.Write(PlanStep{
			Class: s.Class, Repository: s.Repository, Digest: s.Digest, Bytes: s.Size, Reason: s.Reason, Due: s.Due,
		})
	})
	if err != nil {
		return err
	}
	return lines.Write(PlanStep{Total: &total})
}

// adopted refuses while distribution's tree is not read to its end.
func (c *Collector) adopted(ctx context.Context) error {
	a, err := c.GC.Index.Adoption(ctx)
	if err == nil && a.State != index.AdoptionDone {
		err = gc.ErrAdopting
	}
	return err
}

// explain answers why a digest is kept, with an index.Explanation.
func (c *Collector) explain(w http.ResponseWriter, r *http.Request) error {
	query, err := Query(r, "digest", "repository")
	if err != nil {
		return err
	}
	dgst, err := parseDigest(query.Get("digest"))
	if err != nil {
		return err
	}
	repo := query.Get("repository")
	if repo != "" {
		if err := CheckRepository(repo); err != nil {
			return err
		}
		if err := c.Touch(r.Context(), repo, false); err != nil {
			return fmt.Errorf("read repository %s from distribution's tree: %w", repo, err)
		}
	}
	e, err := c.GC.Index.Explain(r.Context(), c.GC.Policy, dgst, repo)
	if err != nil {
		return err
	}
	if e.Revision, err = decimal(e.Revision); err != nil {
		return err
	}
	if !e.Known {
		return Errorf(http.StatusNotFound, "the registry does not know %s: no repository has it, and the collector has not deleted it of late", dgst)
	}
	return Reply(w, e)
}

// decimal returns the number of a change of the index, which that writes with the digits of 16, as people write numbers. An index that
// nobody has changed is at 0.
func decimal(revision string) (string, error) {
	if revision == "" {
		return "0", nil
	}
	n, err := strconv.ParseUint(revision, 16, 64)
	if err != nil {
		return "", fmt.Errorf("read the number of the index's last change: %w", err)
	}
	return strconv.FormatUint(n, 10), nil
}

// CheckDigest returns an error for what is no digest.
func CheckDigest(s string) error {
	_, err := parseDigest(s)
	return err
}

func parseDigest(s string) (digest.Digest, error) {
	d, err := manifest.ParseDigest(s)
	if err != nil {
		return d, Errorf(http.StatusBadRequest, "%q is no digest: %v", s, err)
	}
	return d, nil
}

// Marked is what GET /v1/gc/manifests has a line of: a repository, and then each of its manifests with what that needs.
type Marked struct {
	Repository string          `json:"repository,omitempty"`
	Manifest   digest.Digest   `json:"manifest,omitempty"`
	References []digest.Digest `json:"references,omitempty"`
}

// manifests lists all manifests by repository. It takes many looks at the index.
func (c *Collector) manifests(w http.ResponseWriter, r *http.Request) error {
	if _, err := Query(r); err != nil {
		return err
	}
	lines, x := NewLines(w), c.GC.Index
	for name := ""; ; {
		var err error
		if name, err = x.Next(r.Context(), name); err != nil || name == "" {
			return err
		}
		if err := lines.Write(Marked{Repository: name}); err != nil {
			return err
		}
		err = x.EachManifest(r.Context(), name, func(m index.Manifest) error {
			return lines.Write(Marked{Manifest: m.Digest, References: slices.Concat(m.Blobs, m.Foreign, m.Manifests)})
		})
		if err != nil {
			return err
		}
	}
}

// strays lists the bytes that the storage has and the index does not know, as index.StoredBlobs. It goes through the storage.
func (c *Collector) strays(w http.ResponseWriter, r *http.Request) error {
	if _, err := Query(r); err != nil {
		return err
	}
	if err := c.adopted(r.Context()); err != nil {
		return err
	}
	strays, err := c.GC.FindStrays(r.Context())
	if err != nil {
		return err
	}
	lines := NewLines(w)
	for _, b := range strays {
		if err := lines.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// RunCollector is the body of POST /v1/gc/run.
type RunCollector struct {
	Policy
	Force bool `json:"force,omitempty"` // past the breaker
	Scan  bool `json:"scan,omitempty"`  // compares storage and index
}

// CollectorProgress is a line of its answer: what was done so far; the last has Done. So has the last before an error. The first has
// Waits, and nothing else, where another collection is at work: then this one begins when that has ended.
type CollectorProgress struct {
	gc.Report
	Waits bool `json:"waits,omitempty"`
	Done  bool `json:"done,omitempty"`
}

// run has the collector work until nothing is due, after what it is at. When the client goes, it ends after the step that it is at.
func (c *Collector) run(w http.ResponseWriter, r *http.Request) error {
	var in RunCollector
	if err := Read(w, r, &in); err != nil {
		return err
	}
	Note(r, slog.Any("policy", in.Policy), slog.Bool("force", in.Force))
	policy, err := in.over(c.GC.Policy)
	if err != nil {
		return err
	}
	lines := NewLines(w)
	report, err := c.GC.Cycle(r.Context(), gc.Request{
		Policy: &policy, Force: in.Force, Scan: in.Scan, Drain: true,
		Wait:     func() { _ = lines.Write(CollectorProgress{Waits: true}) },
		Progress: func(so gc.Report) { _ = lines.Write(CollectorProgress{Report: so}) }, // a client that has gone ends the context
	})
	Note(r, slog.String("cycle", report.Number), slog.Int("deleted", report.Deleted), slog.Int64("bytes", report.Bytes))
	if err != nil && report.Number == "" {
		return err
	}
	return errors.Join(err, lines.Write(CollectorProgress{Report: report, Done: true}))
}

func (c *Collector) pause(w http.ResponseWriter, r *http.Request) error {
	if err := c.GC.Pause(r.Context(), Account(r.Context())); err != nil {
		return err
	}
	return c.status(w, r)
}

func (c *Collector) resume(w http.ResponseWriter, r *http.Request) error {
	if err := c.GC.Resume(r.Context()); err != nil {
		return err
	}
	return c.status(w, r)
}

// Restore is the body of POST /v1/gc/restore, Restored its answer: the bytes that live again.
type (
	Restore struct {
		Digest string `json:"digest"`
	}
	Restored struct {
		Restored []digest.Digest `json:"restored"`
	}
)

func (c *Collector) restore(w http.ResponseWriter, r *http.Request) error {
	var in Restore
	if err := Read(w, r, &in); err != nil {
		return err
	}
	dgst, err := parseDigest(in.Digest)
	if err != nil {
		return err
	}
	Note(r, slog.Any("digest", dgst))
	if c.GC.ReadOnly() {
		return gc.ErrReadOnly
	}
	restored, err := c.GC.Index.Restore(r.Context(), dgst)
	if err != nil {
		return err
	}
	return Reply(w, Restored{restored})
}

// WouldFree is Names.WouldFree.
func (c *Collector) WouldFree(ctx context.Context, repo string, tags []string) (out WouldFree, err error) {
	x, policy := c.GC.Index, c.GC.Policy
	if tags == nil {
		freed, err := x.FreedByRepository(ctx, policy, repo)
		return WouldFree{Bytes: freed.Bytes}, err
	}
	freed, err := x.FreedByTags(ctx, policy, repo, tags)
	out.Bytes = freed.Bytes
	if err != nil || policy.Untagged >= 0 {
		return out, err
	}
	policy.Untagged = 0
	freed, err = x.FreedByTags(ctx, policy, repo, tags)
	out.IfUntagged = &freed.Bytes
	return out, err
}
