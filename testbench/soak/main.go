// Program soak runs the real server under clients that push, pull, delete, retag and mount the same few blobs at once, with a
// collector that works all the time, kills it again and again, and looks whether it kept its promises: what was acknowledged is
// there, what can be seen is complete, what was deleted stays away, what nothing needs goes, and nothing else (DESIGN.md, §6).
//
// What clients saw is kept in the history, outside the server; each judgement is from there. It prints one line, the verdict,
// and before it what was broken, with the history of that tag or digest. `make soak` runs it for ten minutes, the test in this
// package for less than one.
//
// The program works against the server alone: it shares no code with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// errBroken ends the program when a promise was broken; the verdict says which.
var errBroken = errors.New("the server broke its promises")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := soakMain(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func soakMain(ctx context.Context, args []string, out io.Writer) (err error) {
	o := options{out: out}
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.DurationVar(&o.length, "for", 10*time.Minute, "how long clients work")
	flags.IntVar(&o.kills, "kills", 0, "end after so many SIGKILLs, however long that takes")
	flags.DurationVar(&o.pause, "pause", 3*time.Second, "the longest time between two ends of the server")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64(), "the random source of what clients choose")
	flags.StringVar(&o.binary, "binary", "", "the program (default: built from ./cmd/gatehouse, with the tag bugs where -bug is used)")
	flags.StringVar(&o.bug, "bug", "", "a planted bug (registry/planted)")
	flags.BoolVar(&o.first, "first", false, "end at the first broken promise")
	flags.BoolVar(&o.verbose, "verbose", false, "say what is being done")
	keep := flags.Bool("keep", false, "keep the storage and the server's log, also when all is well")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp("", "soak-"); err != nil {
		return err
	}
	defer func() {
		if err == nil && !*keep {
			err = os.RemoveAll(o.dir)
		} else {
			fmt.Fprintln(out, "storage and log:", o.dir)
		}
	}()
	if o.binary == "" {
		if o.binary, err = build(ctx, o.dir, o.bug != ""); err != nil {
			return err
		}
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	v, err := run(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, v.line())
	if !v.good() {
		return errBroken
	}
	return nil
}

// build builds the program into dir.
func build(ctx context.Context, dir string, bugs bool) (binary string, err error) {
	binary = filepath.Join(dir, "gatehouse")
	args := []string{"build", "-trimpath", "-o", binary}
	if bugs {
		args = append(args, "-tags=bugs")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "gatehouse/cmd/gatehouse")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return binary, nil
}
