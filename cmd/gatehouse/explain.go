package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/registry/index"
)

func (p *program) gcExplainVerb() *cobra.Command {
	var asJSON bool
	var repo string
	verb := &cobra.Command{
		Use: "explain DIGEST", Short: "Say why bytes are kept, or when they go",
		Long: `Says which repositories hold the bytes of a digest, and for each the shortest way from a tag to them; or what it is that nothing
needs, and when it goes. What is said is one look at the index, at the change whose number is given.`,
		Args: oneDigest,
		RunE: func(c *cobra.Command, args []string) error {
			query := "?digest=" + url.QueryEscape(args[0])
			if c.Flags().Changed("repo") {
				if err := admin.CheckRepository(repo); err != nil {
					return usageError{err}
				}
				query += "&repository=" + url.QueryEscape(repo)
			}
			return p.withAdmin(c.Context(), p.configArgs(), adopted, func(a *admin.Client) error {
				if err := p.warnOfAdoption(c.Context(), a); err != nil {
					return err
				}
				if asJSON {
					return p.list(c.Context(), a, "/v1/gc/explain"+query, true, func(*table) func([]byte) error { return nil })
				}
				return p.explain(c.Context(), a, query, repo)
			})
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	verb.Flags().StringVar(&repo, "repo", "", "only what this repository has to do with it")
	return verb
}

func (p *program) explain(ctx context.Context, a *admin.Client, query, repo string) error {
	var e index.Explanation
	if err := a.Call(ctx, http.MethodGet, "/v1/gc/explain"+query, nil, &e); err != nil {
		return err
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s: %s\n", e.Digest, stateOf(e))
	if e.Stored != e.Digest {
		fmt.Fprintf(b, "  the store has its bytes as %s\n", e.Stored)
	}
	for _, u := range e.Uses {
		describeUse(b, u)
	}
	if len(e.Uses) == 0 && repo != "" && e.State == index.StateLive {
		fmt.Fprintf(b, "  %s does not hold it\n", repo)
	}
	fmt.Fprintf(b, "(the index as of its change %s)\n", e.Revision)
	_, err := fmt.Fprint(p.stdout, b)
	return err
}

// stateOf says what becomes of bytes.
func stateOf(e index.Explanation) string {
	switch e.State {
	case index.StateCondemned:
		return fmt.Sprintf("nothing needs it: %s; condemned since %s, deleted at %s at the earliest; until then `gatehouse gc restore` brings it back",
			e.Reason, e.Since.Format(time.RFC3339), e.Due.Format(time.RFC3339))
	case index.StateDeleting:
		return fmt.Sprintf("nothing needs it: it is being deleted since %s: %s", e.Since.Format(time.RFC3339), e.Reason)
	case index.StateGone:
		return "it was deleted at " + e.Since.Format(time.RFC3339)
	}
	return fmt.Sprintf("%s, in the store since %s", byteSize(e.Size), e.Since.Format(time.RFC3339))
}

// describeUse says why a repository holds bytes.
func describeUse(b *strings.Builder, u index.Use) {
	fmt.Fprintf(b, "%s: ", u.Repository)
	switch {
	case u.Tagged:
		b.WriteString("a tag leads to it")
	case u.Due.IsZero() && u.Review == nil:
		b.WriteString("kept")
	case u.Due.IsZero():
		b.WriteString("kept: manifests without a tag stay (gc.untagged: keep); " + u.Review.Reason)
	case len(u.Path) == 1:
		fmt.Fprintf(b, "nothing needs it: %s; removed at %s at the earliest", u.Review.Reason, u.Due.Format(time.RFC3339))
	default:
		fmt.Fprintf(b, "only what nothing needs leads to it: %s; that is removed at %s at the earliest", u.Review.Reason, u.Due.Format(time.RFC3339))
	}
	b.WriteString("\n  ")
	for i, h := range u.Path {
		if i > 0 {
			b.WriteString(" → ")
		}
		b.WriteString(hopName(h))
	}
	b.WriteByte('\n')
	if !u.Promised.IsZero() && !u.Tagged {
		fmt.Fprintf(b, "  a client was told of it: promised until %s\n", u.Promised.Format(time.RFC3339))
	}
}

// hopName names a step of a path.
func hopName(h index.Hop) string {
	switch h.Kind {
	case "tag":
		return "tag " + h.Tag
	case "subject":
		return "subject " + string(h.Digest)
	case "link":
		return "link " + string(h.Digest) + ", whose bytes these are,"
	}
	return h.Kind + " " + string(h.Digest)
}
