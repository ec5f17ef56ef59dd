package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/registry/index"
)

// garbageFlags are distribution's, and force.
type garbageFlags struct {
	dryRun, untagged, quiet, force bool
}

func (p *program) garbageCollectVerb() *cobra.Command {
	var flags garbageFlags
	verb := &cobra.Command{
		Use: "garbage-collect [CONFIG]", Short: "Collect as registry 3 does: with its flags and its output",
		Long: `Does what registry 3's garbage-collect does, for jobs that call that: marks what the manifests need, lists what is eligible for
deletion, and collects.

Where a server runs, its collector works, people may be pushing, and so what is younger than gc.grace and gc.quarantine waits.
On storage that no server has open nothing waits, and the space is free when the verb ends. In either case the breaker stops it before
it deletes more than is likely to be meant, unless there is --force.

A manifest is never eligible that a tag, an index or a kept subject needs: registry 3 also deletes signatures that live with their
subject, and layers that an image names by sha512.`,
		Args: optionalConfig,
		RunE: func(c *cobra.Command, args []string) error {
			return p.withAdmin(c.Context(), args, collects, func(a *admin.Client) error { return p.garbageCollect(c.Context(), a, flags) })
		},
	}
	f := verb.Flags()
	f.BoolVarP(&flags.dryRun, "dry-run", "d", false, "do everything except remove the blobs")
	f.BoolVarP(&flags.untagged, "delete-untagged", "m", false, "delete manifests that are not currently referenced via tag")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "silence output")
	f.BoolVar(&flags.force, "force", false, "also when it is more than the breaker lets pass")
	return verb
}

// garbageCollect lists what is eligible, and collects it.
func (p *program) garbageCollect(ctx context.Context, a *admin.Client, flags garbageFlags) error {
	g := garbage{Client: a, out: p.stdout, policy: admin.Policy{Untagged: "keep"}} // the flag decides, as in registry 3, not gc.untagged
	if flags.quiet {
		g.out = io.Discard
	}
	if flags.untagged {
		g.policy.Untagged = "0s"
	}
	now, err := p.collectorStatus(ctx, a)
	if err != nil {
		return err
	}
	if !now.Server { // nobody pushes
		g.policy.Grace, g.policy.Quarantine = "0s", "0s"
	}
	if err := g.list(ctx); err != nil {
		return err
	}
	if now.Server {
		fmt.Fprintf(p.stderr, "gatehouse: a server runs, and people may be pushing: what is younger than gc.grace (%s) and gc.quarantine (%s) waits; %d of %d blobs are due\n",
			now.Policy.Grace, now.Policy.Quarantine, g.due, len(g.blobs))
	}
	if flags.dryRun {
		return nil
	}
	_, err = p.collect(ctx, a, admin.RunCollector{Policy: g.policy, Scan: true, Force: flags.force}, now.Server)
	return err
}

// garbage is what is eligible for deletion, listed in the words of registry 3.1.2 (its registry/storage/garbagecollect.go).
type garbage struct {
	*admin.Client
	out    io.Writer
	policy admin.Policy

	manifests []ofRepository
	blobs     []digest.Digest
	links     []ofRepository
	unneeded  map[ofRepository]bool // manifests
	due       int                   // blobs that can be deleted now
}

type ofRepository struct {
	repository string
	digest     digest.Digest
}

// list finds out what is eligible, and prints it.
func (g *garbage) list(ctx context.Context) error {
	g.unneeded = map[ofRepository]bool{}
	query := url.Values{"grace": {g.policy.Grace}, "quarantine": {g.policy.Quarantine}, "untagged": {g.policy.Untagged}}
	if err := admin.StreamOf(ctx, g.Client, http.MethodGet, "/v1/gc/plan?"+query.Encode(), nil, g.step); err != nil {
		return err
	}
	if err := admin.StreamOf(ctx, g.Client, http.MethodGet, "/v1/gc/strays", nil, func(b index.StoredBlob) error {
		g.blobs = append(g.blobs, b.Digest)
		return nil
	}); err != nil {
		return err
	}
	marked, err := g.mark(ctx)
	if err != nil {
		return err
	}
	if err := g.printManifests(ctx); err != nil {
		return err
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n%d blobs marked, %d blobs and %d manifests eligible for deletion\n", marked, len(g.blobs), len(g.manifests))
	for _, d := range g.blobs {
		fmt.Fprintf(b, "blob eligible for deletion: %s\n", d)
	}
	for _, l := range g.links {
		fmt.Fprintf(b, "%s: layer link eligible for deletion: %s\n", l.repository, l.digest)
	}
	_, err = fmt.Fprint(g.out, b)
	return err
}

// step takes a line of the plan.
func (g *garbage) step(s admin.PlanStep) error {
	item := ofRepository{s.Repository, s.Digest}
	switch {
	case s.Total != nil:
	case ofManifest(s.Class):
		g.unneeded[item] = true
		g.manifests = append(g.manifests, item)
	case s.Class == index.Unreferenced:
		g.links = append(g.links, item)
	default:
		g.blobs = append(g.blobs, s.Digest)
		if !s.Due.After(time.Now()) {
			g.due++
		}
	}
	return nil
}

// mark prints what is kept, and returns how many digests that is.
func (g *garbage) mark(ctx context.Context) (int, error) {
	repo, marked := "", map[digest.Digest]bool{}
	err := admin.StreamOf(ctx, g.Client, http.MethodGet, "/v1/gc/manifests", nil, func(m admin.Marked) error {
		if m.Repository != "" {
			repo = m.Repository
			_, err := fmt.Fprintln(g.out, repo)
			return err
		}
		if g.unneeded[ofRepository{repo, m.Manifest}] {
			return nil
		}
		b := &strings.Builder{}
		fmt.Fprintf(b, "%s: marking manifest %s \n", repo, m.Manifest)
		marked[m.Manifest] = true
		for _, d := range m.References {
			if !marked[d] {
				fmt.Fprintf(b, "%s: marking blob %s\n", repo, d)
			}
			marked[d] = true
		}
		_, err := fmt.Fprint(g.out, b)
		return err
	})
	return len(marked), err
}

// printManifests prints the manifests that are eligible, with all tags of their repositories, as registry 3 does: it looks for them
// in the tags' history.
func (g *garbage) printManifests(ctx context.Context) error {
	tags := map[string][]string{}
	for _, m := range g.manifests {
		list, known := tags[m.repository]
		if !known {
			var err error
			if list, err = g.tags(ctx, m.repository); err != nil {
				return err
			}
			tags[m.repository] = list
		}
		if _, err := fmt.Fprintf(g.out, "manifest eligible for deletion: {%s %s %v}\n", m.repository, m.digest, list); err != nil {
			return err
		}
	}
	return nil
}

func (g *garbage) tags(ctx context.Context, repo string) (tags []string, err error) {
	err = g.Stream(ctx, http.MethodGet, admin.RepositoryPath(repo, "/tags"), nil, func(line json.RawMessage) error {
		var t admin.Tag
		if err := json.Unmarshal(line, &t); err != nil {
			return errors.New("the server's answer is not what was expected")
		}
		tags = append(tags, t.Name)
		return nil
	})
	return tags, err
}
