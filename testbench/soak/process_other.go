//go:build !linux

package main

import "syscall"

// dieWithUs has a process outlive the soak where the system cannot do better.
func dieWithUs() *syscall.SysProcAttr { return nil }
