package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/registry/index"
)

func (p *program) gcVerb() *cobra.Command {
	verb := &cobra.Command{Use: "gc", Short: "Say what the collector does and why, and have it work", Args: noArgs,
		Long: `Says what the collector is going to delete and why it keeps the rest, has it work now, and brings back what it has condemned: that
of a running server, or one of its own on the storage where none runs.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	p.configFlag(verb)
	verb.AddCommand(p.gcPlanVerb(), p.gcExplainVerb(), p.gcRunVerb(), p.gcStatusVerb(), p.gcRestoreVerb(),
		p.gcSwitchVerb("pause", "Let no collection begin, and end the one under way, until gc resume", `The collector ends after the step that it is at. It stays paused over restarts. Pushes and pulls go on.`),
		p.gcSwitchVerb("resume", "End a pause, and what the breaker has stopped", `Lets the collector go on after gc pause, and after it has stopped itself.`))
	return verb
}

func (p *program) gcPlanVerb() *cobra.Command {
	var asJSON bool
	var until time.Duration
	verb := &cobra.Command{
		Use: "plan", Short: "List what the collector would do",
		Long: `Lists all that the collector would do if nobody pushed and nobody asked for anything any more, in the order of time, and what
that leads to: links to blobs and manifests that go from a repository, then the bytes that no repository holds. The class says why:

  unreferenced  a link to a blob that no manifest of the repository names
  untagged      a manifest with no tag, no index above it and no subject
  orphaned      a manifest whose subject has gone
  condemned     bytes that no repository holds then
  deleting      bytes whose deletion has begun`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			query := ""
			if until < 0 {
				return usageError{fmt.Errorf("until is %q: a duration with its unit, such as 24h or 0s", until)}
			}
			if c.Flags().Changed("until") {
				query = "?until=" + url.QueryEscape(until.String())
			}
			return p.withAdmin(c.Context(), p.configArgs(), adopted, func(a *admin.Client) error {
				var total *admin.PlanTotal
				err := p.list(c.Context(), a, "/v1/gc/plan"+query, asJSON, func(t *table) func([]byte) error {
					t.header = []string{"DUE", "CLASS", "REPOSITORY", "DIGEST", "BYTES", "REASON"}
					return decoded(func(s admin.PlanStep) error {
						if total = s.Total; total != nil {
							return nil
						}
						bytes := "" // "-": nothing is deleted by it
						if s.Repository == "" {
							bytes = strconv.FormatInt(s.Bytes, 10)
						}
						return t.row(s.Due.Format(time.RFC3339), string(s.Class), s.Repository, string(s.Digest), bytes, s.Reason)
					})
				})
				if err != nil || asJSON {
					return err
				}
				if total == nil {
					return errors.New("the server's answer has no end")
				}
				_, err = fmt.Fprintf(p.stdout, "%d links to blobs, %d manifests; %d blobs are deleted: %s\n",
					total.Links, total.Manifests, total.Blobs, byteSize(total.Bytes))
				return err
			})
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each step, one a line, and one with the total")
	verb.Flags().DurationVar(&until, "until", 0, "only what is due within this time; 0s: what is due now (default all)")
	return verb
}

func (p *program) gcRunVerb() *cobra.Command {
	var in admin.RunCollector
	verb := &cobra.Command{
		Use: "run", Short: "Collect now, until nothing is due",
		Long: `Collects now, until nothing is due, by the configured times or by others. Of a running server it is the server's own collector
that works, when it has ended what it is at, and pushes and pulls go on. --grace 0s breaks the promise to clients that have just been
told that the registry has a blob: a push that relied on it is refused then, and has to be sent again. What is acknowledged is never
harmed.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := in.Check(); err != nil {
				return usageError{err}
			}
			return p.withAdmin(c.Context(), p.configArgs(), collects, func(a *admin.Client) error {
				now, err := p.collectorStatus(c.Context(), a)
				if err != nil {
					return err
				}
				report, err := p.collect(c.Context(), a, in, now.Server)
				if report.Done {
					p.printReport(report)
				}
				return err
			})
		},
	}
	f := verb.Flags()
	f.StringVar(&in.Grace, "grace", "", "instead of gc.grace, such as 1h or 0s")
	f.StringVar(&in.Quarantine, "quarantine", "", "instead of gc.quarantine")
	f.StringVar(&in.Untagged, "untagged", "", "instead of gc.untagged: keep, or after how long manifests without a tag go")
	f.BoolVar(&in.Force, "force", false, "also when it is more than the breaker lets pass; done, it ends what the breaker has stopped")
	f.BoolVar(&in.Scan, "scan", false, "compare the storage with the index too, which takes a walk through the storage")
	return verb
}

// collect has the collector work and returns how far it came. It is an error, too, when items failed.
func (p *program) collect(ctx context.Context, a *admin.Client, in admin.RunCollector, server bool) (last admin.CollectorProgress, err error) {
	bar := &progress{}
	if server { // else the lines of the log are on the terminal
		bar = newProgress(p.stderr)
	}
	err = admin.StreamOf(ctx, a, http.MethodPost, "/v1/gc/run", in, func(now admin.CollectorProgress) error {
		if now.Waits {
			fmt.Fprintln(p.stderr, "gatehouse: another collection is at work: this one begins when that has ended; `gatehouse gc status` says how far it is")
			return nil
		}
		last = now
		bar.show("%d looked at, %d blobs deleted, %s free", now.Reviewed, now.Deleted, byteSize(now.Bytes))
		return nil
	})
	bar.end()
	switch {
	case err == nil && !last.Done:
		err = errors.New("the server's answer has no end")
	case err == nil && last.Errors > 0:
		err = fmt.Errorf("%d items failed: the log says why, and the next collection tries them again", last.Errors)
	}
	return last, err
}

// printReport prints what a collection did.
func (p *program) printReport(r admin.CollectorProgress) {
	fmt.Fprintf(p.stdout, "collection %s: %d links to blobs and %d manifests removed from repositories, %d blobs deleted, %s freed, in %s\n",
		r.Number, r.Links, r.Manifests, r.Deleted, byteSize(r.Bytes), r.Duration.Round(time.Millisecond))
	for _, more := range []struct {
		n    int
		what string
	}{
		{r.Postponed, "items wait longer: a client was told of them"},
		{r.Waiting, "blobs wait until the tree follows the index"},
		{r.Strays, "blobs of the storage were unknown to the index, and are condemned"},
		{r.Missing, "blobs of the index are not in the storage: gatehouse fsck says who needs them"},
	} {
		if more.n > 0 {
			fmt.Fprintf(p.stdout, "%d %s\n", more.n, more.what)
		}
	}
}

func (p *program) collectorStatus(ctx context.Context, a *admin.Client) (now admin.CollectorStatus, err error) {
	return now, a.Call(ctx, http.MethodGet, "/v1/gc", nil, &now)
}

func (p *program) gcStatusVerb() *cobra.Command {
	var asJSON bool
	verb := &cobra.Command{
		Use: "status", Short: "Say how the collector is, and how long its queues are", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withAdmin(c.Context(), p.configArgs(), looks, func(a *admin.Client) error {
				if asJSON {
					return p.list(c.Context(), a, "/v1/gc", true, func(*table) func([]byte) error { return nil })
				}
				now, err := p.collectorStatus(c.Context(), a)
				if err != nil {
					return err
				}
				return p.printCollector(now)
			})
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return verb
}

// printCollector prints how the collector is.
func (p *program) printCollector(now admin.CollectorStatus) error {
	when := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.Format(time.RFC3339)
	}
	state := "waits for its next cycle"
	switch {
	case now.Running != nil:
		state = fmt.Sprintf("at work since %s: %d looked at, %d blobs deleted", when(now.Running.Started), now.Running.Reviewed, now.Running.Deleted)
	case now.Paused != "":
		state = fmt.Sprintf("paused %s since %s; `gatehouse gc resume` ends it", now.Paused, when(now.PausedAt))
	case now.Tripped != "":
		state = fmt.Sprintf("has stopped itself at %s: %s; look, then `gatehouse gc resume`, or `gatehouse gc run --force`", when(now.TrippedAt), now.Tripped)
	case now.Held != "":
		state = "does nothing: " + now.Held
	case !now.Server:
		state = "no server runs"
	case !now.Enabled:
		state = "works only when it is asked to: gc.enabled is false"
	}
	waiting := ""
	if now.Waiting > 0 {
		waiting = fmt.Sprintf("\nwaiting since then: %d blobs or more, until the tree follows the index", now.Waiting)
	}
	fmt.Fprintf(p.stdout, "collector: %s\nlast cycle: %s\nlast comparison of storage and index: %s\npolicy: grace %s, quarantine %s, untagged %s\ndeleted so far: %d blobs, %s\n\n",
		state, when(now.LastCycle)+waiting, when(now.LastScan), now.Policy.Grace, now.Policy.Quarantine, now.Policy.Untagged, now.Deleted, byteSize(now.DeletedBytes))
	t := newTable(p.stdout)
	t.header = []string{"QUEUE", "ITEMS", "OLDEST"}
	for _, q := range now.Queues {
		oldest := ""
		if !q.Oldest.IsZero() {
			oldest = when(q.Oldest)
		}
		if err := t.row(string(q.Class), strconv.Itoa(q.Depth), oldest); err != nil {
			return err
		}
	}
	return t.w.Flush()
}

func (p *program) gcSwitchVerb(name, short, long string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Long: long, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return p.withAdmin(c.Context(), p.configArgs(), looks, func(a *admin.Client) error {
			var now admin.CollectorStatus
			if err := a.Call(c.Context(), http.MethodPost, "/v1/gc/"+name, nil, &now); err != nil {
				return err
			}
			return p.printCollector(now)
		})
	}}
}

func (p *program) gcRestoreVerb() *cobra.Command {
	return &cobra.Command{
		Use: "restore DIGEST", Short: "Bring back what is in quarantine",
		Long: `Brings condemned bytes back to the repository that held them last: a blob as what it was, a manifest with all that it needs. It gets
no tag: give it one (pull it by its digest, tag and push it) before the grace time is over, or push a tag to it.`,
		Args: oneDigest,
		RunE: func(c *cobra.Command, args []string) error {
			return p.withAdmin(c.Context(), p.configArgs(), changes, func(a *admin.Client) error {
				var out admin.Restored
				err := a.Call(c.Context(), http.MethodPost, "/v1/gc/restore", admin.Restore{Digest: args[0]}, &out)
				for _, d := range out.Restored {
					fmt.Fprintf(p.stdout, "%s restored\n", d)
				}
				return err
			})
		},
	}
}

// oneDigest checks the operand of a verb that takes a digest.
func oneDigest(c *cobra.Command, args []string) error {
	if err := operands(c, args, 1, 1, "a DIGEST"); err != nil {
		return err
	}
	if err := admin.CheckDigest(args[0]); err != nil {
		return usageError{err}
	}
	return nil
}

// The classes of steps that take something from a repository, and those that delete bytes.
func ofManifest(c index.Class) bool { return c == index.Untagged || c == index.Orphaned }
