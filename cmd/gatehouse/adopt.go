package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/admin"
	"gatehouse/registry/adopt"
	"gatehouse/registry/index"
)

func (p *program) adoptVerb() *cobra.Command {
	var status, again bool
	verb := &cobra.Command{
		Use:   "adopt [CONFIG]",
		Short: "Take over the tree that registry 2.x or 3.x wrote",
		Long: `Reads the tree that distribution's registry 2.x or 3.x wrote, enters its names into the index, and moves not a byte.
The server does the same by itself: what is asked for at once, the rest in the background. This verb does all of it
before the server is started. Oddities of the tree are warned of and harm nothing else. What was interrupted goes on
with the next adopt or serve.

After registry 2.x or 3.x has written to a tree that was adopted before, run it with --again: the index then follows
the tree, and keeps the history of tags.

The server must not run: adopting has the index to itself. --status also asks a server that runs.`,
		Args: optionalConfig,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case status && again:
				return usageError{fmt.Errorf("--status and --again do not go together")}
			case status:
				return p.adoptionStatus(c.Context(), args)
			}
			return p.adopt(c.Context(), args, again)
		},
	}
	verb.Flags().BoolVar(&status, "status", false, "say how far it is, and what was found, and change nothing")
	verb.Flags().BoolVar(&again, "again", false, "read the whole tree again, after the incumbent has written to it")
	return verb
}

// offline opens what the configuration names, for a verb that has it to itself. Warnings are shown as text.
func (p *program) offline(ctx context.Context, args []string) (*storage, error) {
	cfg, err := p.config(args)
	if err != nil {
		return nil, err
	}
	return openStorage(ctx, cfg, p.verbLog())
}

// verbLog shows the warnings of a verb as text.
func (p *program) verbLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// adopt adopts the tree to its end.
func (p *program) adopt(ctx context.Context, args []string, again bool) error {
	st, err := p.offline(ctx, args)
	if err != nil {
		return err
	}
	defer st.close()
	if again {
		err = st.adopter.Again(ctx)
	} else {
		err = st.adopter.Start(ctx)
	}
	if err != nil {
		return err
	}
	if err := p.adoptAll(ctx, st); err != nil {
		return err
	}
	now, err := st.index.Adoption(ctx)
	if err != nil {
		return err
	}
	return p.printAdoption(admin.Adoption{Adoption: now, State: admin.AdoptionDone})
}

// adoptAll goes on with an adoption that has begun, to its end.
func (p *program) adoptAll(ctx context.Context, st *storage) error {
	bar := newProgress(p.stderr)
	err := st.adopter.Pass(ctx, func(a index.Adoption) {
		bar.show("%d repositories, %d manifests, %d tags, %d blob links, %d findings", a.Repositories, a.Manifests, a.Tags, a.Links, a.Findings)
	})
	bar.end()
	if err != nil {
		return fmt.Errorf("%w: what was read is kept; run adopt again for the rest", err)
	}
	return nil
}

// catchUp adopts the tree once more if it has names that the index lacks: distribution serves it, and a job collects now and then.
func (p *program) catchUp(ctx context.Context, st *storage) error {
	if err := st.projector.Drain(ctx); err != nil {
		return err
	}
	at, err := adopt.Newer(ctx, st.index, st.driver)
	if err != nil || at == "" {
		return err
	}
	fmt.Fprintf(p.stderr, "gatehouse: the tree has names that the index does not know (%s): it is adopted again\n", at)
	if err := st.adopter.Again(ctx); err != nil {
		return err
	}
	return p.adoptAll(ctx, st)
}

// adoptionStatus prints how far the adoption is, and its findings.
func (p *program) adoptionStatus(ctx context.Context, args []string) error {
	return p.withAdmin(ctx, args, looks, func(a *admin.Client) error {
		var now admin.Adoption
		if err := a.Call(ctx, http.MethodGet, "/v1/adoption", nil, &now); err != nil {
			return err
		}
		return p.printAdoption(now)
	})
}

// printAdoption prints how far an adoption is, and the findings that now comes with.
func (p *program) printAdoption(now admin.Adoption) error {
	switch now.State {
	case admin.AdoptionNone:
		fmt.Fprintln(p.stdout, "adoption: not begun; it begins with serve or adopt")
		return nil
	case admin.AdoptionDone:
		fmt.Fprintf(p.stdout, "adoption: done since %s\n", now.Finished.Format(time.RFC3339))
	case admin.AdoptionFailed:
		fmt.Fprintf(p.stdout, "adoption: under way since %s; something could not be read and is tried again: %s\n", now.Started.Format(time.RFC3339), now.Reason)
	default:
		fmt.Fprintf(p.stdout, "adoption: under way since %s", now.Started.Format(time.RFC3339))
		if !now.Server {
			fmt.Fprint(p.stdout, "; serve or adopt go on with it")
		}
		fmt.Fprintln(p.stdout)
	}
	if now.Server && now.State != admin.AdoptionDone {
		total := strconv.Itoa(now.Found)
		if !now.Counted {
			total += " or more"
		}
		fmt.Fprintf(p.stdout, "read: %d repositories of %s\n", now.Read, total)
	}
	fmt.Fprintf(p.stdout, "repositories: %d\nmanifests: %d\ntags: %d\nblob links: %d\nfindings: %d\n",
		now.Repositories, now.Manifests, now.Tags, now.Links, now.Findings)
	if len(now.Kept) > 0 && len(now.Kept) < now.Findings {
		fmt.Fprintf(p.stdout, "the last %d of them:\n", len(now.Kept))
	}
	for _, f := range now.Kept {
		fmt.Fprintf(p.stdout, "%s\t%s\t%s\n", f.Kind, f.Path, f.Detail)
	}
	return nil
}

// progress is a line that is written over and over on a terminal, and nothing elsewhere.
type progress struct {
	w     io.Writer // nil: not a terminal
	shown time.Time
	width int
}

const progressEvery = 100 * time.Millisecond

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{w: w}
	}
	return &progress{}
}

func (b *progress) show(format string, args ...any) {
	if b.w == nil || time.Since(b.shown) < progressEvery {
		return
	}
	b.shown = time.Now()
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(b.w, "\r%-*s", b.width, line)
	b.width = len(line)
}

// end clears the line.
func (b *progress) end() {
	if b.w != nil {
		fmt.Fprintf(b.w, "\r%*s\r", b.width, "")
	}
}
