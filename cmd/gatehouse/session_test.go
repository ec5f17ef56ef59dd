package main_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

// Tokens of these tests live for the shortest time there is, and verifiers allow clocks to be a minute apart: what takes
// pushTime outlives its token for certain.
const (
	tokenLifetime = "5s"
	pushTime      = 80 * time.Second
)

// pushSize is the size of the layer that is pushed in pushTime: in the lane as large as people's are, elsewhere what the race
// detector and a small disk bear. It is the rate that differs, not the time.
func pushSize() int64 {
	if raceDetector || testing.Short() {
		return 64 << 20
	}
	return 2 << 30
}

// TestPushOutlivesItsToken pushes over a line so slow that the token of the push runs out on the way: by a client that people
// use, and request by request with one and the same token.
func TestPushOutlivesItsToken(t *testing.T) {
	t.Setenv("REGISTRY_TOKENSERVER_LIFETIME", tokenLifetime)
	l := startLane(t, buildProgram(t), "127.0.0.1", "localhost")
	t.Run("clients", func(t *testing.T) {
		t.Run("crane", func(t *testing.T) { t.Parallel(); testSlowCrane(t, l) })
		t.Run("raw", func(t *testing.T) { t.Parallel(); testExpiredToken(t, l) })
	})
}

// testSlowCrane pushes one large layer with crane through a line that takes pushTime for it.
func testSlowCrane(t *testing.T, l *lane) {
	size := pushSize()
	slow := &lane{program: l.program, server: l.server, certs: l.certs, host: slowLine(t, l.host, size/int64(pushTime/time.Second))}
	crane := newCrane(t, slow)
	craneLogin(t, crane, slow, alice, alicePassword)
	layout, digest := largeLayout(t, size)
	s := &session{t: t, lane: l, Client: l.client(t)}
	s.take(alice, alicePassword, "repository:pub/slow:pull")
	crane.run(t, "push", layout, slow.ref("pub/slow", "v1"))
	s.want(401, "GET", "/v2/pub/slow/tags/list", "") // a token as old as the push
	for _, r := range l.requests() {
		if strings.HasPrefix(r.Path, "/v2/pub/slow/blobs/uploads/") && r.Status >= 400 {
			t.Errorf("%s %s by %s was answered with %d", r.Method, r.Path, r.Agent, r.Status)
		}
	}
	s.take(alice, alicePassword, "repository:pub/slow:pull")
	s.want(200, "HEAD", "/v2/pub/slow/blobs/"+digest, "")
	s.want(200, "HEAD", "/v2/pub/slow/manifests/v1", "")
}

// largeLayout writes an image with one layer of a size, and returns its layout and the layer's digest.
func largeLayout(t *testing.T, size int64) (dir, digest string) {
	t.Helper()
	dir = t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(blobs, 0o700))
	f, err := os.Create(filepath.Join(blobs, "layer"))
	must(err)
	hash := sha256.New()
	block := make([]byte, 1<<20)
	for n := int64(0); n < size; n += int64(len(block)) {
		copy(block, fmt.Sprintf("block %d\n", n))
		hash.Write(block)
		_, err := f.Write(block)
		must(err)
	}
	must(f.Close())
	name := fmt.Sprintf("%x", hash.Sum(nil))
	must(os.Rename(f.Name(), filepath.Join(blobs, name)))
	write := func(mediaType, text string) string {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
		must(os.WriteFile(filepath.Join(blobs, sum), []byte(text), 0o600))
		return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%s","size":%d}`, mediaType, sum, len(text))
	}
	const oci = "application/vnd.oci.image."
	config := write(oci+"config.v1+json", `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:`+name+`"]}}`)
	layer := fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%s","size":%d}`, oci+"layer.v1.tar", name, size)
	image := write(oci+"manifest.v1+json", fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		oci+"manifest.v1+json", config, layer))
	must(os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600))
	must(os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[`+image+`]}`), 0o600))
	return dir, "sha256:" + name
}

// slowLine listens on an address of its own, which it returns as localhost and a port, and passes what comes on to addr, at
// rate bytes a second for each connection; answers are not held up.
func slowLine(t *testing.T, addr string, rate int64) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				continue
			}
			go func() { // each direction ends the other
				_, _ = io.Copy(client, server)
				client.Close()
			}()
			go func() {
				trickle(server, client, rate)
				server.Close()
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return net.JoinHostPort("localhost", port)
}

// trickle copies rate bytes a second until either end is closed.
func trickle(to io.Writer, from io.Reader, rate int64) {
	const ticks = 50 // a second
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for {
		if _, err := io.CopyN(to, from, rate/ticks); err != nil {
			return
		}
		<-tick.C
	}
}

// session sends requests with one token.
type session struct {
	t    *testing.T
	lane *lane
	*http.Client
	token string
}

// take gets a token for a scope.
func (s *session) take(account, password, scope string) {
	s.t.Helper()
	s.token = s.lane.token(s.t, account, password, scope)
}

func (s *session) request(method, url, body string) *http.Request {
	s.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = "https://" + s.lane.host + url
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *session) send(r *http.Request) (*http.Response, []byte) {
	s.t.Helper()
	answer, err := s.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, b
}

// want sends a request with the token, which must be answered with status, and returns the Location of the answer.
func (s *session) want(status int, method, url, body string) string {
	s.t.Helper()
	r := s.request(method, url, body)
	r.Header.Set("Authorization", "Bearer "+s.token)
	answer, b := s.send(r)
	if answer.StatusCode != status {
		s.t.Fatalf("%s %s: %s, want %d\n%s", method, url, answer.Status, status, b)
	}
	return answer.Header.Get("Location")
}

// testExpiredToken begins uploads, waits until their token is refused, goes on with them, and tries what else it could.
func testExpiredToken(t *testing.T, l *lane) {
	s := &session{t: t, lane: l, Client: l.client(t)}
	const scope = "repository:pub/expired:pull,push repository:pub/other:pull,push registry:catalog:*"
	s.take(alice, alicePassword, scope)
	location := s.want(202, "POST", "/v2/pub/expired/blobs/uploads/", "")
	given := s.want(202, "POST", "/v2/pub/expired/blobs/uploads/", "")
	location = s.want(202, "PATCH", location, "one ")
	testbench.Eventually(t, 3*time.Minute, "the token is refused", func() error {
		r := s.request("GET", "/v2/pub/expired/tags/list", "")
		r.Header.Set("Authorization", "Bearer "+s.token)
		if answer, _ := s.send(r); answer.StatusCode != 401 {
			return fmt.Errorf("status %s", answer.Status)
		}
		return nil
	})
	location = s.want(202, "PATCH", location, "two ")
	s.want(204, "GET", location, "")

	elsewhere := strings.Replace(location, "/pub/expired/", "/pub/other/", 1)
	unproven, _, _ := strings.Cut(location, "?")
	for _, refused := range []struct{ method, url string }{
		{"GET", "/v2/"}, {"GET", "/v2/_catalog"}, {"GET", "/v2/pub/expired/tags/list"}, {"GET", "/v2/pub/expired/manifests/v1"},
		{"PUT", "/v2/pub/expired/manifests/v1"}, {"POST", "/v2/pub/expired/blobs/uploads/"}, {"POST", "/v2/pub/other/blobs/uploads/"},
		{"PATCH", elsewhere}, {"PUT", elsewhere}, {"PATCH", unproven}, {"DELETE", unproven},
	} {
		s.want(401, refused.method, refused.url, "x")
	}
	good := s.token
	head, signature := good[:strings.LastIndex(good, ".")+1], good[strings.LastIndex(good, ".")+1:]
	s.token = head + strings.Repeat("A", len(signature)) // T-SEC-24
	s.want(401, "PATCH", location, "x")
	s.take(bob, bobPassword, "repository:pub/expired:pull,push")
	s.want(401, "PATCH", location, "x") // bob may pull

	s.token = good
	s.want(204, "DELETE", given, "")
	s.want(404, "PATCH", given, "x")
	sum := sha256.Sum256([]byte("one two three"))
	s.want(201, "PUT", location+"&digest="+fmt.Sprintf("sha256:%x", sum), "three")
	s.want(401, "HEAD", fmt.Sprintf("/v2/pub/expired/blobs/sha256:%x", sum), "")
	s.take(alice, alicePassword, "repository:pub/expired:pull")
	s.want(200, "HEAD", fmt.Sprintf("/v2/pub/expired/blobs/sha256:%x", sum), "")
}
