// Command peers measures gatehouse against the registry that it replaces, distribution's, side by side on this machine:
// `make bench-peers`.
//
// Both servers are the programs that operators run, each on a folder of its own in one temporary root, over TLS with the same
// certificate, and with the same token, which gatehouse signs and both verify. The same client drives them in turn: each round
// measures one and then the other, the next one in the other order, and the median of the rounds counts. A round that is not
// counted comes first. CPU and memory are what the operating system says of the server's process.
//
// Wall times of a shared machine say little, and those of one run only; ratios say more. The programme judges no time: it ends
// with 0 whether the aims are met or not, and with 1 when a server answers wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		stop()
		os.Exit(1)
	}
}

// options is the command line.
type options struct {
	ours, theirs string // the programs
	rounds       int
	period       time.Duration // of a round that counts operations
	clients      int
	largeMiB     int64
	tags         int
	only         string // prefix of the names of what is measured
	temp         string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.ours, "ours", "gatehouse", "gatehouse's `program`")
	flags.StringVar(&o.theirs, "theirs", "registry", "distribution's `program`")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds that count")
	flags.DurationVar(&o.period, "period", 500*time.Millisecond, "length of a round that counts small operations")
	flags.IntVar(&o.clients, "clients", 8, "clients at a time in such a round")
	flags.Int64Var(&o.largeMiB, "large", 512, "size of the large blob in `MiB`")
	flags.IntVar(&o.tags, "tags", 10_000, "tags to list")
	flags.StringVar(&o.only, "only", "", "measure only what is called so, or begins with this `name`")
	flags.StringVar(&o.temp, "temp", os.TempDir(), "`folder` for both servers' data")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.rounds < 1 || o.period <= 0 || o.clients < 1 || o.largeMiB < 1 || o.tags < 1 {
		return o, errors.New("rounds, period, clients, large and tags must be positive")
	}
	return o, nil
}

// run starts the servers, fills them, measures and prints.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.temp, "gatehouse-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := newBench(ctx, o, dir)
	if err != nil {
		return err
	}
	defer b.stop()
	fmt.Fprintf(stderr, "pushing what is pulled afterwards to both, %d tags and %d MiB among it\n", o.tags, o.largeMiB)
	if err := b.fill(ctx); err != nil {
		return err
	}
	var table table
	for _, m := range b.measures() {
		if !m.called(o.only) {
			continue
		}
		fmt.Fprintln(stderr, "measuring:", m.name)
		row, err := b.measure(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		table = append(table, row)
	}
	return table.print(stdout)
}

// newBench starts both servers.
func newBench(ctx context.Context, o options, dir string) (_ *bench, err error) {
	b := &bench{options: o}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	cert, err := newCertificate(dir)
	if err != nil {
		return nil, err
	}
	if b.ours, err = startOurs(ctx, o.ours, filepath.Join(dir, "ours"), cert); err != nil {
		return nil, err
	}
	keys, err := b.ours.keys(ctx)
	if err != nil {
		return nil, err
	}
	if b.theirs, err = startTheirs(ctx, o.theirs, filepath.Join(dir, "theirs"), cert, keys); err != nil {
		return nil, err
	}
	b.theirs.token = b.ours.token
	return b, nil
}
