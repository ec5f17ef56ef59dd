package testbench

import "syscall"

// processAttr puts a program into a process group of its own, so that it can be
// killed with all that it started, and has the kernel kill it when the test
// binary dies without running its cleanups (a timeout, a panic, Ctrl-C).
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
