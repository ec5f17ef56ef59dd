package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpu is the time that the server's process has computed so far, in user and kernel mode, all threads together. It is the
// clock that clock_getcpuclockid(3) names: /proc/PID/stat tells the same in steps of 10 ms, which is 200 small requests.
func (s *server) cpu() (time.Duration, error) {
	const cpuclockSched = 2 // include/linux/posix-timers_types.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^s.process.Process.Pid<<3|cpuclockSched), &t); err != nil {
		return 0, fmt.Errorf("read the CPU clock of %s (Linux has one): %w", s.name, err)
	}
	return time.Duration(t.Nano()), nil
}

// peak is the most memory that the process ever had resident, in bytes: proc(5), VmHWM.
func (s *server) peak() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel does not say how much memory a process had")
}

// A server is at rest when it uses less than restful in a restTime: what it does in the background after pushes is done, and
// belongs to no later figure.
const (
	restTime  = 100 * time.Millisecond
	restful   = 2 * time.Millisecond
	restLimit = time.Minute
)

// rest waits until the server is at rest.
func (s *server) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	for before, err := s.cpu(); err == nil; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not come to rest: %w", s.name, ctx.Err())
		case <-time.After(restTime):
		}
		after, err := s.cpu()
		if err != nil {
			return err
		}
		if after-before < restful {
			return nil
		}
		before = after
	}
	return nil
}
