package main_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// clientTimeout bounds a hung client, not a slow one.
const clientTimeout = 3 * time.Minute

// client is a program in the hands of one person: with a home, settings and
// credentials of its own.
type client struct {
	path string
	env  []string // all of it but PATH
}

// newClient returns a client that reads nothing of the machine's user: env
// completes HOME and TMPDIR, which are home.
func newClient(path, home string, env ...string) client {
	return client{path, append([]string{"HOME=" + home, "TMPDIR=" + home}, env...)}
}

// run runs the client, which must succeed, and returns what it printed on both
// streams.
func (c client) run(t *testing.T, args ...string) string {
	t.Helper()
	return c.runWith(t, "", args...)
}

// runWith is run with stdin.
func (c client) runWith(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := c.exec(t, stdin, args)
	if err != nil {
		t.Fatalf("%s: %v\n%s", c.line(args), err, out)
	}
	return out
}

// refused runs the client, which must fail and say something that matches the
// regular expression want.
func (c client) refused(t *testing.T, want string, args ...string) {
	t.Helper()
	c.refusedWith(t, want, "", args...)
}

// refusedWith is refused with stdin.
func (c client) refusedWith(t *testing.T, want, stdin string, args ...string) {
	t.Helper()
	out, err := c.exec(t, stdin, args)
	if err == nil {
		t.Errorf("%s succeeded, want a refusal\n%s", c.line(args), out)
		return
	}
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("%s: %v, and its user reads\n%s\nwant a match of %s", c.line(args), err, out, want)
		return
	}
	t.Logf("%s is told\n%s", c.line(args), out)
}

func (c client) exec(t *testing.T, stdin string, args []string) (string, error) {
	return c.execContext(t.Context(), stdin, args)
}

// execContext is for what must run when the test's own context is over.
func (c client) execContext(ctx context.Context, stdin string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// line is a command line, for a reader.
func (c client) line(args []string) string {
	return c.path + " " + strings.Join(args, " ")
}
