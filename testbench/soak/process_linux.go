package main

import "syscall"

// dieWithUs has the kernel kill a process when the soak dies.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
