package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"gatehouse/testbench"
)

// TestClientsS3 is the client lane over a bucket: clients fetch blobs from S3
// itself, or, where redirects are disabled, from the server.
//
// S3 is at a name and not at an address, since crane follows no redirect to a
// loopback address.
func TestClientsS3(t *testing.T) {
	program := buildProgram(t)
	var engine sync.Mutex // one engine: who removes an image takes layers from under others' builds
	docker := func(t *testing.T, l *lane) {
		engine.Lock()
		t.Cleanup(engine.Unlock)
		testDocker(t, l)
	}
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		t.Run("redirected", func(t *testing.T) {
			testClientsS3(t, program, server, false, map[string]func(*testing.T, *lane){
				"docker": docker, "skopeo": testSkopeo, "podman": testPodman, "crane": testCrane,
			})
		})
		t.Run("sent", func(t *testing.T) {
			testClientsS3(t, program, server, true, map[string]func(*testing.T, *lane){"docker": docker, "crane": testCrane})
		})
	})
}

func testClientsS3(t *testing.T, program string, server *testbench.S3, disabled bool, tests map[string]func(*testing.T, *lane)) {
	settings := server.Settings(server.Endpoint, server.NewBucket(), "/")
	public := strings.Replace(server.Endpoint, "127.0.0.1", "localhost", 1)
	l := startLaneOn(t, program, "127.0.0.1", "localhost",
		"s3: "+strings.TrimSuffix(settings, "}")+fmt.Sprintf(", redirectendpoint: %q}", public),
		fmt.Sprintf("redirect: {disable: %v}", disabled))
	t.Run("clients", func(t *testing.T) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, l)
			})
		}
	})
	redirects := 0
	for _, r := range l.requests() {
		if r.Status == http.StatusTemporaryRedirect {
			redirects++
		}
	}
	if (redirects == 0) != disabled {
		t.Errorf("%d redirects, and they are disabled: %v", redirects, disabled)
	}
	if strings.Contains(l.server.Output(), "X-Amz-Signature") {
		t.Error("the server's output holds a signed URL, which no log may")
	}
}
