package testbench

import (
	"os/exec"
	"strings"
	"testing"
)

// Docker returns the path of the docker client, once an engine has answered it.
// A machine without either ends the test as [Missing] says.
func Docker(t testing.TB) string {
	t.Helper()
	path := Tool(t, "docker")
	if out, err := exec.Command(path, "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		Missing(t, "docker", "no engine answers: "+strings.TrimSpace(string(out)))
	}
	return path
}
