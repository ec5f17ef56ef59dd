package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
)

func (p *program) tagVerb() *cobra.Command {
	verb := &cobra.Command{Use: "tag", Short: "List and remove tags, and show their history", Args: noArgs,
		Long: `Lists and removes tags, and shows their history: of a running server, or of the storage where none runs.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	p.configFlag(verb)
	verb.AddCommand(p.tagLsVerb(), p.tagRmVerb(), p.tagHistoryVerb())
	return verb
}

func (p *program) tagLsVerb() *cobra.Command {
	var asJSON bool
	verb := &cobra.Command{
		Use: "ls REPO", Short: "List the tags of a repository",
		Args: oneRepository,
		RunE: func(c *cobra.Command, args []string) error {
			return p.withAdmin(c.Context(), p.configArgs(), reads, func(a *admin.Client) error {
				return p.listTags(c.Context(), a, args[0], asJSON)
			})
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each tag, one a line")
	return verb
}

func (p *program) listTags(ctx context.Context, a *admin.Client, repo string, asJSON bool) error {
	return p.list(ctx, a, admin.RepositoryPath(repo, "/tags"), asJSON, func(t *table) func([]byte) error {
		t.header = []string{"TAG", "DIGEST", "TYPE", "SIZE", "PUSHED", "BY"}
		return decoded(func(g admin.Tag) error {
			return t.row(g.Name, string(g.Digest), g.MediaType, byteSize(g.Size), g.PushedAt.Format(time.RFC3339), g.PushedBy)
		})
	})
}

func (p *program) tagRmVerb() *cobra.Command {
	var dryRun, asJSON bool
	verb := &cobra.Command{
		Use: "rm REPO:TAG...", Short: "Remove tags",
		Long: `Removes tags; the manifests that they point to stay until the collector finds that nothing needs them. When one of the tags is not
there, none is removed.

It works where storage.delete.enabled is false too, but not while the registry is read-only.`,
		Args: func(c *cobra.Command, args []string) error {
			return operands(c, args, 1, math.MaxInt, "one REPO:TAG or more")
		},
		RunE: func(c *cobra.Command, args []string) error {
			var repos []string
			tags := map[string][]string{}
			for _, arg := range args {
				repo, tag, err := repoTag(arg)
				if err == nil && tag == "" {
					err = usageError{fmt.Errorf("%s names no tag: REPO:TAG", arg)}
				}
				if err != nil {
					return err
				}
				if tags[repo] == nil {
					repos = append(repos, repo)
				}
				tags[repo] = append(tags[repo], tag)
			}
			reach := changes
			if dryRun {
				reach = reads
			}
			return p.withAdmin(c.Context(), p.configArgs(), reach, func(a *admin.Client) error {
				return p.untag(c.Context(), a, repos, tags, dryRun, asJSON)
			})
		},
	}
	verb.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	verb.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each repository, one a line")
	return verb
}

// untag removes tags by repository, when all are there.
func (p *program) untag(ctx context.Context, a *admin.Client, repos []string, tags map[string][]string, dryRun, asJSON bool) error {
	show := func(repo string, u admin.Untagged, what string) error {
		if asJSON {
			return json.NewEncoder(p.stdout).Encode(untagged{repo, dryRun, u})
		}
		p.printUntagged(repo, u, what)
		return nil
	}
	ask := func(repo string, dryRun bool) (out admin.Untagged, err error) {
		return out, a.Call(ctx, http.MethodPost, admin.RepositoryPath(repo, "/untag"), admin.Untag{Tags: tags[repo], DryRun: dryRun}, &out)
	}
	if dryRun || len(repos) > 1 { // of one repository the server removes all or none
		for _, repo := range repos {
			would, err := ask(repo, true)
			if err != nil {
				return err
			}
			if dryRun {
				if err := show(repo, would, "would be removed"); err != nil {
					return err
				}
			}
		}
	}
	if dryRun {
		return nil
	}
	for _, repo := range repos {
		removed, err := ask(repo, false)
		if err != nil {
			return err
		}
		if err := show(repo, removed, "removed"); err != nil {
			return err
		}
	}
	return nil
}

// untagged is a line of tag rm --json.
type untagged struct {
	Repository string `json:"repository"`
	DryRun     bool   `json:"dryRun"` // nothing was removed
	admin.Untagged
}

// printUntagged prints what became of tags, or would.
func (p *program) printUntagged(repo string, u admin.Untagged, what string) {
	for _, tag := range u.Tags {
		fmt.Fprintf(p.stdout, "%s:%s %s (%s)\n", repo, tag.Name, what, tag.Digest)
	}
	if u.WouldFree != nil {
		fmt.Fprintf(p.stdout, "%s: %s\n", repo, strings.TrimPrefix(wouldFree(u.WouldFree), "; "))
	}
}

func (p *program) tagHistoryVerb() *cobra.Command {
	var asJSON bool
	verb := &cobra.Command{
		Use: "history REPO[:TAG]", Short: "Show what tags pointed to, since when, and who moved them",
		Long: `Shows every manifest that a tag, or each tag of a repository, pointed to, since when, and who moved it there, oldest first.
Tags and repositories that are gone have their history too.`,
		Args: func(c *cobra.Command, args []string) error { return operands(c, args, 1, 1, "a REPO or a REPO:TAG") },
		RunE: func(c *cobra.Command, args []string) error {
			repo, tag, err := repoTag(args[0])
			if err != nil {
				return err
			}
			query := ""
			if tag != "" {
				query = "?tag=" + url.QueryEscape(tag)
			}
			return p.withAdmin(c.Context(), p.configArgs(), reads, func(a *admin.Client) error {
				return p.list(c.Context(), a, admin.RepositoryPath(repo, "/history"+query), asJSON, func(t *table) func([]byte) error {
					t.header = []string{"TAG", "SINCE", "BY", "DIGEST"}
					return decoded(func(m admin.Move) error {
						to := string(m.To)
						if to == "" {
							to = "(deleted)"
						}
						return t.row(m.Tag, m.At.Format(time.RFC3339), m.By, to)
					})
				})
			})
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each entry, one a line")
	return verb
}

// repoTag takes REPO or REPO:TAG apart.
func repoTag(arg string) (repo, tag string, err error) {
	if strings.Contains(arg, "@") {
		return "", "", usageError{fmt.Errorf("%s names a manifest by its digest: this verb is about tags", arg)}
	}
	repo, tag, found := strings.Cut(arg, ":")
	if repo == "" || found && tag == "" {
		return "", "", usageError{fmt.Errorf("%q is not REPO:TAG", arg)}
	}
	if err := admin.CheckRepository(repo); err != nil {
		return "", "", usageError{err}
	}
	return repo, tag, nil
}
