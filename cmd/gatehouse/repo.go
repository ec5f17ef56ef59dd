package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/admin"
)

// configFlag adds --config to a verb with operands, which has no place for CONFIG, and to those below it.
func (p *program) configFlag(verb *cobra.Command) {
	verb.PersistentFlags().StringVar(&p.configFile, "config", "", "the server's configuration (default $REGISTRY_CONFIGURATION_PATH, else --data)")
}

// configArgs is --config in the place of CONFIG.
func (p *program) configArgs() []string {
	if p.configFile == "" {
		return nil
	}
	return []string{p.configFile}
}

func (p *program) repoVerb() *cobra.Command {
	verb := &cobra.Command{Use: "repo", Short: "List, show and remove repositories", Args: noArgs,
		Long: `Lists, shows and removes repositories: of a running server, or of the storage where none runs.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	p.configFlag(verb)
	verb.AddCommand(p.repoLsVerb(), p.repoShowVerb(), p.repoRmVerb())
	return verb
}

func (p *program) repoLsVerb() *cobra.Command {
	var asJSON bool
	verb := &cobra.Command{
		Use: "ls [PREFIX]", Short: "List repositories, with what they hold",
		Long: `Lists the repositories whose names begin with PREFIX, those without any manifest too. The size is that of the distinct blobs
and manifests of the repository; others may have the same.`,
		Args: func(c *cobra.Command, args []string) error { return operands(c, args, 0, 1, "one PREFIX at most") },
		RunE: func(c *cobra.Command, args []string) error {
			query := ""
			if len(args) > 0 {
				query = "?prefix=" + url.QueryEscape(args[0])
			}
			return p.withAdmin(c.Context(), p.configArgs(), reads, func(a *admin.Client) error {
				err := p.list(c.Context(), a, "/v1/repositories"+query, asJSON, func(t *table) func([]byte) error {
					t.header = []string{"REPOSITORY", "TAGS", "MANIFESTS", "SIZE"}
					return decoded(func(r admin.Repository) error {
						return t.row(r.Name, strconv.Itoa(r.Tags), strconv.Itoa(r.Manifests), byteSize(r.Bytes))
					})
				})
				if err != nil {
					return err
				}
				return p.warnOfAdoption(c.Context(), a)
			})
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each repository, one a line")
	return verb
}

// warnOfAdoption says that a list may lack what nobody has read from distribution's tree yet.
func (p *program) warnOfAdoption(ctx context.Context, a *admin.Client) error {
	var now admin.Adoption
	err := a.Call(ctx, http.MethodGet, "/v1/adoption", nil, &now)
	if err == nil && now.State != admin.AdoptionDone {
		fmt.Fprintln(p.stderr, "gatehouse: distribution's tree is not read to its end, so repositories may be missing here: `gatehouse adopt --status` says how far it is")
	}
	return err
}

func (p *program) repoShowVerb() *cobra.Command {
	var asJSON bool
	verb := &cobra.Command{
		Use: "show REPO", Short: "Show what a repository holds, and its tags",
		Long: `Shows a repository and its tags. A tag's size is that of its image: the manifest with all that it names. Untagged are
manifests to which no tag points, that no index names, and that refer to no subject.`,
		Args: oneRepository,
		RunE: func(c *cobra.Command, args []string) error {
			return p.withAdmin(c.Context(), p.configArgs(), reads, func(a *admin.Client) error {
				if asJSON {
					return p.showJSON(c.Context(), a, args[0])
				}
				var r admin.Repository
				if err := a.Call(c.Context(), http.MethodGet, admin.RepositoryPath(args[0], ""), nil, &r); err != nil {
					return err
				}
				fmt.Fprintf(p.stdout, "repository: %s\ntags: %d\nmanifests: %d\nuntagged: %d\nreferrers: %d\nblobs: %d\nsize: %s\n",
					r.Name, r.Tags, r.Manifests, r.Untagged, r.Referrers, r.Blobs, byteSize(r.Bytes))
				if r.Tags == 0 {
					return nil
				}
				fmt.Fprintln(p.stdout)
				return p.listTags(c.Context(), a, r.Name, false)
			})
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with a list of its tags")
	return verb
}

// showJSON prints a repository as one JSON object, its tags as they come.
func (p *program) showJSON(ctx context.Context, a *admin.Client, name string) error {
	var repository json.RawMessage
	if err := a.Call(ctx, http.MethodGet, admin.RepositoryPath(name, ""), nil, &repository); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, `%s,"tagList":[`, bytes.TrimSuffix(bytes.TrimSpace(repository), []byte("}")))
	separator := ""
	err := a.Stream(ctx, http.MethodGet, admin.RepositoryPath(name, "/tags"), nil, func(line json.RawMessage) error {
		_, err := fmt.Fprintf(p.stdout, "%s\n%s", separator, line)
		separator = ","
		return err
	})
	if err == nil {
		_, err = fmt.Fprint(p.stdout, "]}\n")
	}
	return err
}

func (p *program) repoRmVerb() *cobra.Command {
	var dryRun, yes, asJSON bool
	verb := &cobra.Command{
		Use: "rm REPO", Short: "Remove a repository: its tags, manifests and links to blobs",
		Long: `Removes all tags, manifests and links to blobs of a repository. The history of its tags stays. Bytes that nothing else needs
are freed by the collector. A tag that is pushed meanwhile stays whole. Interrupted, it goes on when it is run again.

It works where storage.delete.enabled is false too, but not while the registry is read-only.`,
		Args: oneRepository,
		RunE: func(c *cobra.Command, args []string) error {
			reach := changes
			if dryRun {
				reach = reads
			} else if !yes && !p.asks() {
				return usageError{errors.New("standard input is no terminal to ask on: use --yes, or --dry-run to see what would be removed")}
			}
			return p.withAdmin(c.Context(), p.configArgs(), reach, func(a *admin.Client) error {
				return p.removeRepository(c.Context(), a, args[0], dryRun, yes, asJSON)
			})
		},
	}
	verb.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	verb.Flags().BoolVar(&yes, "yes", false, "do not ask")
	verb.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return verb
}

func (p *program) removeRepository(ctx context.Context, a *admin.Client, name string, dryRun, yes, asJSON bool) error {
	remove := func(dryRun bool, each func(admin.RemovedRepository)) (last admin.RemovedRepository, err error) {
		in := admin.RemoveRepository{DryRun: dryRun}
		err = admin.StreamOf(ctx, a, http.MethodPost, admin.RepositoryPath(name, "/remove"), in, func(r admin.RemovedRepository) error {
			each(r)
			last = r
			return nil
		})
		if err == nil && !last.Done {
			err = errors.New("the server's answer has no end")
		}
		return last, err
	}
	counts := func(r admin.RemovedRepository) string {
		return fmt.Sprintf("%d tags, %d manifests, %d links to blobs", r.Tags, r.Manifests, r.Blobs)
	}
	if dryRun || !yes {
		would, err := remove(true, func(admin.RemovedRepository) {})
		if err != nil {
			return err
		}
		if dryRun && asJSON {
			return json.NewEncoder(p.stdout).Encode(removedRepository{name, true, would})
		}
		if dryRun {
			_, err = fmt.Fprintf(p.stdout, "%s: %s would be removed%s\n", name, counts(would), wouldFree(would.WouldFree))
			return err
		}
		if err := p.confirm(fmt.Sprintf("Remove %s: %s?", name, counts(would))); err != nil {
			return err
		}
	}
	bar := newProgress(p.stderr)
	removed, err := remove(false, func(r admin.RemovedRepository) { bar.show("%s", counts(r)) })
	bar.end()
	if err != nil && removed != (admin.RemovedRepository{}) {
		return fmt.Errorf("%w; removed so far: %s; run it again for the rest", err, counts(removed))
	}
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(p.stdout).Encode(removedRepository{name, false, removed})
	}
	fmt.Fprintf(p.stdout, "%s: %s removed\n", name, counts(removed))
	if removed.Remains {
		fmt.Fprintf(p.stdout, "%s: what was pushed meanwhile stays\n", name)
	}
	return nil
}

// removedRepository is what repo rm --json prints.
type removedRepository struct {
	Repository string `json:"repository"`
	DryRun     bool   `json:"dryRun"` // nothing was removed
	admin.RemovedRepository
}

// wouldFree says what the collector would free, where that is known.
func wouldFree(w *admin.WouldFree) string {
	switch {
	case w == nil:
		return ""
	case w.IfUntagged != nil && *w.IfUntagged > w.Bytes:
		return fmt.Sprintf("; that would free %s, since manifests without a tag are kept (gc.untagged); if they were not, %s",
			byteSize(w.Bytes), byteSize(*w.IfUntagged))
	}
	return "; that would free " + byteSize(w.Bytes)
}

// asks reports whether there is somebody to ask.
func (p *program) asks() bool {
	f, ok := p.stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks on the terminal, and returns nil for a yes.
func (p *program) confirm(question string) error {
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(p.stdin).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); err == nil && (answer == "y" || answer == "yes") {
		return nil
	}
	return errors.New("nothing was removed")
}

// oneRepository checks the operand of a verb that takes a repository.
func oneRepository(c *cobra.Command, args []string) error {
	if err := operands(c, args, 1, 1, "a REPO"); err != nil {
		return err
	}
	if err := admin.CheckRepository(args[0]); err != nil {
		return usageError{err}
	}
	return nil
}

// operands checks the number of a verb's operands.
func operands(c *cobra.Command, args []string, least, most int, takes string) error {
	if len(args) < least || len(args) > most {
		return usageError{fmt.Errorf("%s takes %s; the configuration is named by --config", c.CommandPath(), takes)}
	}
	return nil
}
