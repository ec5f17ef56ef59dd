package testbench

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds for a hung program, not promises about speed.
const (
	outputTimeout = 60 * time.Second // until expected output appears
	stopTimeout   = 60 * time.Second // from SIGTERM to the exit
	pipeTimeout   = 5 * time.Second  // from the exit until inherited pipes are closed
)

// shownOutput is how much of a program's output a failure shows, in bytes,
// counted from the end.
const shownOutput = 16 << 10

// Process is a program that runs beside a test. The cleanup kills and waits for
// it and everything it started, and shows what it printed if the test failed.
//
// The methods may be called from several goroutines, but Kill, Stop and Restart
// call t.Fatal and so belong to the test's own.
type Process struct {
	t    testing.TB
	path string
	args []string
	env  []string // nil: the test's environment
	dir  string

	mu     sync.Mutex
	all    bytes.Buffer  // everything printed, over all restarts
	since  int           // where in all the present run's output starts
	cmd    *exec.Cmd     // the present run
	exited chan struct{} // closed when the present run is over
	err    error         // of Wait; valid once exited is closed
}

// Start runs the program name with args and returns when it has been started,
// which is before it is ready: see [Process.WaitOutput] and [Eventually]. A name
// without a slash is looked up by [Tool].
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	if !strings.Contains(name, "/") {
		name = Tool(t, name)
	}
	return StartCmd(t, exec.Command(name, args...))
}

// StartCmd is [Start] for a command with an environment or a directory of its
// own. Only the path, the arguments, Env and Dir of cmd are used.
func StartCmd(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, path: cmd.Path, args: cmd.Args[1:], env: cmd.Env, dir: cmd.Dir}
	p.start()
	t.Cleanup(p.cleanup)
	return p
}

// start begins a run; no other may be going on.
func (p *Process) start() {
	p.t.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.SysProcAttr = processAttr()
	cmd.WaitDelay = pipeTimeout
	cmd.Stdout, cmd.Stderr = output{p}, output{p}
	exited := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.exited, p.since = cmd, exited, p.all.Len()
	p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		close(exited)
		p.t.Fatalf("cannot start %s: %v", p.path, err)
	}
	go func() {
		err := cmd.Wait()
		// What the program started ends with it. At once, since the number of
		// an empty process group may be given to another.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(exited)
	}()
}

// output collects both streams of a process in the order in which they arrive.
type output struct{ p *Process }

func (o output) Write(b []byte) (int, error) {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	return o.p.all.Write(b)
}

// Output returns what the program has printed since it was last started, on
// both streams in the order of arrival. The last line may be unfinished.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.all.Bytes()[p.since:])
}

// Exited is closed when the present run is over.
func (p *Process) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// PID is the process id of the present run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// WaitOutput waits until the output of the present run matches pattern, a
// regular expression in which ^ and $ match at line ends, and returns the match
// and its groups. It fails the test when the program exits or a minute passes
// without a match.
func (p *Process) WaitOutput(pattern string) []string {
	p.t.Helper()
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		p.t.Fatalf("bad pattern: %v", err)
	}
	var match []string
	Eventually(p.t, outputTimeout, fmt.Sprintf("output of %s matching %q", p.path, pattern), func() error {
		exited := p.isOver() // looked at first: what is printed before the exit counts
		if match = re.FindStringSubmatch(p.Output()); match != nil {
			return nil
		}
		if exited {
			p.t.Fatalf("%s exited (%v) before it printed %q", p.path, p.waitError(), pattern)
		}
		return errors.New("no match yet")
	})
	return match
}

// Signal sends sig to the program alone, not to what it started.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.PID(), sig); err != nil {
		p.t.Fatalf("cannot send %v to %s: %v", sig, p.path, err)
	}
}

// Kill ends the program and everything it started at once (SIGKILL), and
// returns when it is gone. Killing what has exited is no error.
func (p *Process) Kill() {
	p.t.Helper()
	p.kill()
	p.await(stopTimeout)
}

// Stop asks the program to end (SIGTERM), waits until it has, and returns how:
// nil for exit code 0, otherwise an *exec.ExitError. One that does not stop
// within a minute fails the test.
func (p *Process) Stop() error {
	p.t.Helper()
	if !p.isOver() {
		p.Signal(syscall.SIGTERM)
	}
	p.await(stopTimeout)
	return p.waitError()
}

// Wait returns when the program has ended by itself, with Stop's result.
func (p *Process) Wait(timeout time.Duration) error {
	p.t.Helper()
	p.await(timeout)
	return p.waitError()
}

// Restart starts the program again with the same arguments; if it still runs,
// it is killed first.
func (p *Process) Restart() {
	p.t.Helper()
	p.Kill()
	p.start()
}

// isOver tells whether the present run has ended.
func (p *Process) isOver() bool {
	select {
	case <-p.Exited():
		return true
	default:
		return false
	}
}

// waitError is how the present run ended; meaningful once it has.
func (p *Process) waitError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// await fails the test when the present run does not end within timeout.
func (p *Process) await(timeout time.Duration) {
	p.t.Helper()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.Exited():
	case <-timer.C:
		p.kill()
		p.t.Fatalf("%s did not end within %v", p.path, timeout)
	}
}

// kill sends SIGKILL to the process group of a program that has not ended.
func (p *Process) kill() {
	if !p.isOver() {
		// ESRCH, the only error possible here, means that all are gone.
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
}

// cleanup ends the program and, for a failed test, shows the end of its output.
func (p *Process) cleanup() {
	p.kill()
	<-p.Exited()
	if !p.t.Failed() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	shown, omitted := p.all.Bytes(), 0
	if len(shown) > shownOutput {
		omitted = len(shown) - shownOutput
		shown = shown[omitted:]
	}
	p.t.Logf("output of %s %s (%d bytes before it omitted; %v):\n%s",
		p.path, strings.Join(p.args, " "), omitted, p.err, shown)
}
