package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/testbench"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// TestScripts runs testdata/script: each is a scenario with the real programme, readable by an operator. Beside testscript's own
// commands there are
//
//	http METHOD PATH STATUS [USER:PASSWORD]   a request to https://localhost:$PORT; its answer is stdout
//	waitfor [http|https]                      waits until the server on $PORT answers
//	freeport                                  sets $PORT anew
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PORT", strconv.Itoa(testbench.FreePort(t)))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"http":    scriptHTTP,
			"waitfor": scriptWaitFor,
			"freeport": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Setenv("PORT", strconv.Itoa(testbench.FreePort(t)))
			},
		},
	})
}

// scriptClient trusts the CA that the server of the script made.
func scriptClient(ts *testscript.TestScript) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true}
	if ca := ts.MkAbs("data/gatehouse/ca/ca.pem"); fileExists(ca) {
		transport.TLSClientConfig = trust(ts.Check, ca)
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: http METHOD PATH STATUS [USER:PASSWORD]")
	}
	scheme := "https"
	if !fileExists(ts.MkAbs("data/gatehouse/ca/ca.pem")) {
		scheme = "http"
	}
	r, err := http.NewRequest(args[0], scheme+"://localhost:"+ts.Getenv("PORT")+args[1], nil)
	ts.Check(err)
	if len(args) == 4 {
		user, password, _ := strings.Cut(args[3], ":")
		r.SetBasicAuth(user, password)
	}
	answer, err := scriptClient(ts).Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", answer.Status)
	ts.Check(answer.Header.Write(ts.Stdout()))
	fmt.Fprintf(ts.Stdout(), "\n%s", body)
	if strconv.Itoa(answer.StatusCode) != args[2] {
		ts.Fatalf("%s %s: %s, want %s\n%s", args[0], args[1], answer.Status, args[2], body)
	}
}

func scriptWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: waitfor [http|https]")
	}
	scheme := "https"
	if len(args) == 1 {
		scheme = args[0]
	}
	deadline := time.Now().Add(time.Minute)
	for {
		answer, err := scriptClient(ts).Get(scheme + "://localhost:" + ts.Getenv("PORT") + "/v2/")
		if err == nil {
			answer.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the server does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at a condition
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
