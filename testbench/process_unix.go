//go:build unix && !linux

package testbench

import "syscall"

// processAttr puts a program into a process group of its own, so that it can be
// killed with all that it started.
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
