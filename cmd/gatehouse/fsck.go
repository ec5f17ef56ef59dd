package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/registry/fsck"
)

func (p *program) fsckVerb() *cobra.Command {
	var repair, digests bool
	verb := &cobra.Command{
		Use:   "fsck [CONFIG]",
		Short: "Compare tree, index and bytes",
		Long: `Compares the bytes, distribution's tree of links, and the index, and names what does not agree: one line for each
defect, with its kind, its path below the root directory, and the repository; then a summary. Notes are oddities that
harm nothing: bytes that nothing names, foreign files, what old versions left.

--repair writes links that are missing or wrong from the index, and enters into the index what only the tree has. It
deletes nothing, and cannot bring back bytes: pushing an image again does. --digests reads everything and hashes it.

The server must not run: it has the index to itself. After registry 2.x or 3.x has written to the tree, run
` + "`gatehouse adopt --again`" + ` and not --repair, which takes the index for the newer of the two.

Ends with 0 when there is no defect left, else with 1.`,
		Args: optionalConfig,
		RunE: func(c *cobra.Command, args []string) error {
			st, err := p.offline(c.Context(), args)
			if err != nil {
				return err
			}
			defer st.close()
			bar := newProgress(p.stderr)
			sum, err := fsck.Check(c.Context(), fsck.Options{
				Index: st.index, Driver: st.driver, Repair: repair, Digests: digests, Log: slog.New(slog.DiscardHandler),
				Progress: func(s fsck.Summary) {
					bar.show("%d blobs, %d MiB hashed, %d repositories, %d defects", s.Blobs, s.Bytes>>20, s.Repositories, s.Defects)
				},
				Defect: func(d fsck.Defect) {
					bar.end()
					p.printDefect(d)
				},
			})
			bar.end()
			if err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "%d blobs, %d repositories, %d manifests, %d tags, %d blob links\n%d defects, %d repaired, %d notes\n",
				sum.Blobs, sum.Repositories, sum.Manifests, sum.Tags, sum.Links, sum.Defects, sum.Repaired, sum.Notes)
			if sum.Defects > 0 {
				return fmt.Errorf("%d defects", sum.Defects)
			}
			return nil
		},
	}
	verb.Flags().BoolVar(&repair, "repair", false, "write links from the index, enter what only the tree has")
	verb.Flags().BoolVar(&digests, "digests", false, "read all bytes and compare them with their digests")
	return verb
}

// printDefect prints a line: what became of it, its kind, where it is.
func (p *program) printDefect(d fsck.Defect) {
	word := "defect"
	switch {
	case d.Note:
		word = "note"
	case d.Repaired:
		word = "repaired"
	}
	var fields []string
	for _, f := range []struct{ name, value string }{{"repository", d.Repository}, {"path", d.Path}, {"digest", string(d.Digest)}} {
		if f.value != "" {
			fields = append(fields, f.name+" "+f.value)
		}
	}
	line := word + ": " + d.Kind + ": " + strings.Join(fields, ", ")
	if d.Detail != "" {
		line += ": " + d.Detail
	}
	fmt.Fprintln(p.stdout, line)
}
