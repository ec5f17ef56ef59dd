package testbench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProcessOutput(t *testing.T) {
	p := Start(t, "sh", "-c", "echo listening on 127.0.0.1:4711; echo oops >&2; exec sleep 600")
	if m := p.WaitOutput(`^listening on .*:(\d+)$`); m[1] != "4711" {
		t.Errorf("matched %q", m)
	}
	p.WaitOutput("oops")
	p.Kill()
	var exit *exec.ExitError
	if err := p.Wait(time.Minute); !errors.As(err, &exit) {
		t.Errorf("a killed program ended with %v", err)
	}
}

func TestProcessExitsFirst(t *testing.T) {
	p := Start(t, "sh", "-c", "echo last words; exit 3")
	p.WaitOutput("last words") // even though it may be gone by now
	v := verdictOf(func(t testing.TB) {
		p.t = t
		p.WaitOutput("never said")
	})
	p.t = t
	if !strings.Contains(v.failed, "exit status 3") || !strings.Contains(v.failed, "never said") {
		t.Errorf("failed with %q", v.failed)
	}
}

func TestProcessStop(t *testing.T) {
	p := Start(t, "sh", "-c", `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	p.WaitOutput("ready")
	if err := p.Stop(); err != nil {
		t.Errorf("a program that exits with 0 on SIGTERM ended with %v", err)
	}
	if !strings.Contains(p.Output(), "bye") {
		t.Errorf("no last words in %q", p.Output())
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

func TestProcessRestart(t *testing.T) {
	p := Start(t, "sh", "-c", "echo pid $$ here; exec sleep 600")
	before := p.WaitOutput(`pid (\d+) here`)[1]
	p.Restart()
	after := p.WaitOutput(`pid (\d+) here`)[1]
	if before == after {
		t.Errorf("output of the first run, pid %s, shown for the second", before)
	}
	if after != strconv.Itoa(p.PID()) {
		t.Errorf("PID is %d, the program says %s", p.PID(), after)
	}
	assertGone(t, before)
}

func TestProcessKillsWhatItStarted(t *testing.T) {
	p := Start(t, "sh", "-c", "sleep 600 & echo child $! started; wait")
	child := p.WaitOutput(`child (\d+) started`)[1]
	p.Kill()
	assertGone(t, child)
}

func TestProcessCleanup(t *testing.T) {
	var pid int
	t.Run("inner", func(t *testing.T) {
		pid = Start(t, "sleep", "600").PID()
	})
	assertGone(t, strconv.Itoa(pid))
}

// assertGone fails the test when a process is alive. An orphan that nobody has
// waited for yet is as good as gone.
func assertGone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("not a process id: %q", pid)
	}
	Eventually(t, time.Minute, "end of process "+pid, func() error {
		if err := syscall.Kill(n, 0); errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return nil
		}
		return fmt.Errorf("process %s is alive", pid)
	})
}
