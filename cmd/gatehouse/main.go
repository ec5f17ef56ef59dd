// Command gatehouse is a Docker registry with its gateway and its token server: one binary in place of nginx, a token
// server and registry:2.
//
// run.go has the verbs and the exit codes, serve.go the server from top to bottom; each other verb has its file.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the programme at once
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(exitCode(err))
}
