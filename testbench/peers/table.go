package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
)

// round measures a server once.
type round func(context.Context, *server) (float64, error)

// measure is something that is measured of both servers.
type measure struct {
	name  string // on the command line
	title string
	unit  string
	aim   aim
	round round
}

// called reports whether the command line asks for it.
func (m measure) called(only string) bool { return strings.HasPrefix(m.name, only) }

// measure runs the rounds: one server and then the other, in the next round the other way round.
func (b *bench) measure(ctx context.Context, m measure) (row, error) {
	r := row{measure: m}
	order := []*server{b.ours, b.theirs}
	for i := range b.rounds + 1 {
		for _, s := range order {
			if err := s.rest(ctx); err != nil {
				return r, err
			}
			figure, err := m.round(ctx, s)
			if err != nil {
				return r, err
			}
			switch {
			case i == 0: // fills caches and connections
			case s == b.ours:
				r.ours = append(r.ours, figure)
			default:
				r.theirs = append(r.theirs, figure)
			}
		}
		slices.Reverse(order)
	}
	return r, nil
}

// aim is what ours should be: in words, and whether our figure and its ratio to theirs meet it. The zero aim is none.
type aim struct {
	text string
	met  func(ours, ratio float64) bool
}

// ratioAtMost is for what should be small: ours is at most a/b of theirs.
func ratioAtMost(a, b float64) aim {
	return aim{fmt.Sprintf("≤ %.3f", a/b), func(_, ratio float64) bool { return ratio <= a/b }}
}

// ratioAtLeast is for what should be large.
func ratioAtLeast(n float64) aim {
	return aim{fmt.Sprintf("≥ %g", n), func(_, ratio float64) bool { return ratio >= n }}
}

// oursAtMost has nothing to do with theirs.
func oursAtMost(n float64) aim {
	return aim{fmt.Sprintf("ours ≤ %g", n), func(ours, _ float64) bool { return ours <= n }}
}

// row is a measure with its figures, one of each server for each round.
type row struct {
	measure
	ours, theirs []float64
}

// ratios are ours to theirs, round by round: what else the machine does slows both of a round, so they differ less than figures.
func (r row) ratios() []float64 {
	list := make([]float64, len(r.ours))
	for i := range list {
		list[i] = r.ours[i] / r.theirs[i]
	}
	return list
}

// table is the result.
type table []row

// print writes the medians, with the least and the greatest ratio behind, so that a reader sees how calm the machine was.
func (t table) print(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "\tunit\tours\ttheirs\tours:theirs\tfrom–to\taim\t\t")
	for _, r := range t {
		ours, theirs, ratios := median(r.ours), median(r.theirs), r.ratios()
		verdict := ""
		switch {
		case r.aim.met == nil:
		case r.aim.met(ours, median(ratios)):
			verdict = "met"
		default:
			verdict = "not met"
		}
		fmt.Fprintf(tab, "%s\t%s\t%.4g\t%.4g\t%.3f\t%.3f–%.3f\t%s\t%s\t\n", r.title, r.unit, ours, theirs, median(ratios),
			slices.Min(ratios), slices.Max(ratios), r.aim.text, verdict)
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, `
ours: gatehouse, theirs: distribution; medians of the rounds. Both write an access log, verify the token and speak TLS 1.3.
A push is durable in ours: bytes, names and index are on disk before the 201. Theirs syncs each file that it writes, but not
the folder that a blob is moved to: a power cut can take a blob that was acknowledged.
`)
	return err
}

// median of figures, one at least.
func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// nextPage is where a list goes on (RFC 8288), or "" at its end.
func nextPage(answer *http.Response) (string, error) {
	link := answer.Header.Get("Link")
	if link == "" {
		return "", nil
	}
	target, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rest, `rel="next"`) {
		return "", fmt.Errorf("a link that leads nowhere: %q", link)
	}
	next, err := url.Parse(target)
	if err != nil {
		return "", fmt.Errorf("a link that leads nowhere: %w", err)
	}
	return answer.Request.URL.ResolveReference(next).String(), nil
}
