package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

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

The server must not run: it has the index to itself.`,
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
	return openStorage(ctx, cfg, slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
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
	bar := newProgress(p.stderr)
	err = st.adopter.Pass(ctx, func(a index.Adoption) {
		bar.show("%d repositories, %d manifests, %d tags, %d blob links, %d findings", a.Repositories, a.Manifests, a.Tags, a.Links, a.Findings)
	})
	bar.end()
	if err != nil {
		return fmt.Errorf("%w: what was read is kept; run adopt again for the rest", err)
	}
	return p.printAdoption(ctx, st.index, false)
}

// adoptionStatus prints how far the adoption is, and its findings.
func (p *program) adoptionStatus(ctx context.Context, args []string) error {
	st, err := p.offline(ctx, args)
	if err != nil {
		return err
	}
	defer st.close()
	return p.printAdoption(ctx, st.index, true)
}

func (p *program) printAdoption(ctx context.Context, x *index.Index, findings bool) error {
	a, err := x.Adoption(ctx)
	if err != nil {
		return err
	}
	switch a.State {
	case index.AdoptionNone:
		fmt.Fprintln(p.stdout, "adoption: not begun; it begins with serve or adopt")
		return nil
	case index.AdoptionDone:
		fmt.Fprintf(p.stdout, "adoption: done since %s\n", a.Finished.Format(time.RFC3339))
	default:
		fmt.Fprintf(p.stdout, "adoption: under way since %s; serve or adopt go on with it\n", a.Started.Format(time.RFC3339))
	}
	fmt.Fprintf(p.stdout, "repositories: %d\nmanifests: %d\ntags: %d\nblob links: %d\nfindings: %d\n",
		a.Repositories, a.Manifests, a.Tags, a.Links, a.Findings)
	if !findings {
		return nil
	}
	found, err := x.Findings(ctx)
	if err != nil {
		return err
	}
	if len(found) < a.Findings {
		fmt.Fprintf(p.stdout, "the last %d of them:\n", len(found))
	}
	for _, f := range found {
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
