package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// TestS3Faults pushes and pulls from several sides at once while requests to S3 are refused, cut off, carried out without an
// answer or slowly, one by one and all of them for a while. What was acknowledged is there byte for byte, what failed is said to
// be a failure of the storage, nobody is served other bytes, and nothing of uploads is left.
func TestS3Faults(t *testing.T) {
	const (
		clients = 4
		pushes  = 8
		bound   = 150 << 20 // bytes of memory: clients+4 parts of 5 MiB are 40 MiB of it
	)
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		p := testbench.NewS3Proxy(t, server.Endpoint)
		i, bucket := startOnBucket(t, server, p.URL, sendsAll)
		w := newWeather()
		p.Choose(w.fault)
		acknowledged := &pushed{blobs: map[string][]byte{}, manifests: map[string][]byte{}}
		var all sync.WaitGroup
		for n := range clients {
			s := &stormy{instance: i, repo: fmt.Sprintf("app-%d", n), pushed: acknowledged}
			all.Go(func() {
				for k := range pushes {
					if err := s.image(n, k); err != nil {
						t.Errorf("client %d, image %d: %v", n, k, err)
						return
					}
				}
			})
		}
		all.Wait()
		p.Heal()
		peak := peakMemory(t, i.PID())
		t.Logf("%s; %d times 503; %d blobs and %d manifests acknowledged; peak resident memory %d MiB",
			w, acknowledged.refused, len(acknowledged.blobs), len(acknowledged.manifests), peak>>20)
		if peak > bound {
			t.Errorf("peak resident memory %d MiB, want %d MiB at most", peak>>20, bound>>20)
		}
		if acknowledged.refused == 0 || len(acknowledged.manifests) != clients*pushes {
			t.Errorf("%d manifests acknowledged of %d, and %d refusals: the weather was no test", len(acknowledged.manifests), clients*pushes, acknowledged.refused)
		}
		i.purge(server, bucket)
		acknowledged.check(i, server, bucket)
	})
}

// weather decides what happens to requests: some are spoilt at random, and now and then S3 refuses all for a while.
type weather struct {
	mu    sync.Mutex
	rng   *rand.Rand                // guarded by mu
	n     int                       // requests; guarded by mu
	spoil map[testbench.S3Fault]int // how many; guarded by mu
}

func newWeather() *weather {
	return &weather{rng: rand.New(rand.NewPCG(1, 1)), spoil: map[testbench.S3Fault]int{}}
}

// Of 1000 requests so many are spoilt in each way, the last two of those alone that can be; of each 300, the last 40 are refused.
var odds = []struct {
	fault testbench.S3Fault
	many  int
}{
	{testbench.S3Busy, 60}, {testbench.S3Dropped, 40}, {testbench.S3Truncated, 40}, {testbench.S3Cut, 20}, {testbench.S3Slow, 40},
	{testbench.S3LostIn200, 150}, {testbench.S3ErrorIn200, 150},
}

func (w *weather) fault(r *http.Request) testbench.S3Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	f, at := testbench.S3Works, w.rng.IntN(1000)
	for _, o := range odds {
		if at -= o.many; at < 0 {
			f = o.fault
			break
		}
	}
	if (f == testbench.S3LostIn200 || f == testbench.S3ErrorIn200) && !testbench.FailsIn200(r) {
		f = testbench.S3Works
	}
	if w.n%300 >= 260 {
		f = testbench.S3Busy
	}
	if f != testbench.S3Works {
		w.spoil[f]++
	}
	return f
}

func (w *weather) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d requests to S3, spoilt %v", w.n, w.spoil)
}

// pushed is what was acknowledged.
type pushed struct {
	mu        sync.Mutex
	blobs     map[string][]byte // by "<repository>@<digest>"; guarded by mu
	manifests map[string][]byte // by path; guarded by mu
	refused   int               // 503s; guarded by mu
}

func (p *pushed) note(what map[string][]byte, name string, content []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what[name] = content
}

// check looks at all of it through the server and in the bucket itself.
func (p *pushed) check(i *instance, server *testbench.S3, bucket string) {
	i.t.Helper()
	for name, want := range p.blobs {
		repo, d := name[:len(name)-72], digest.FromBytes(want)
		if _, got := i.want(200, "GET", "/v2/"+repo+"/blobs/"+string(d), nil); !bytes.Equal(got, want) {
			i.t.Errorf("%s was acknowledged and has other bytes", name)
		}
		if got, _ := server.Object(bucket, blobKey(d)); !bytes.Equal(got, want) {
			i.t.Errorf("%s was acknowledged and has other bytes in the bucket", name)
		}
	}
	for path, want := range p.manifests {
		if _, got := i.want(200, "GET", path, nil); !bytes.Equal(got, want) {
			i.t.Errorf("%s was acknowledged and has other bytes", path)
		}
	}
}

// stormy is a client that does not give up.
type stormy struct {
	*instance
	*pushed
	repo string
}

const patience = 30 // attempts of anything

// errAway is an answer that says that the storage does not answer.
var errAway = errors.New("503")

// ask sends a request. 503 must say when to come back; that and what is not asked for is an error.
func (s *stormy) ask(status int, method, url string, body []byte, headers ...string) (*http.Response, error) {
	a, b, err := s.do(method, url, bytes.NewReader(body), headers...)
	switch {
	case err != nil:
		return nil, err
	case a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "":
		s.mu.Lock()
		s.refused++
		s.mu.Unlock()
		return nil, errAway
	case a.StatusCode != status:
		return nil, fmt.Errorf("%s %s: %s, want %d: %s", method, url, a.Status, status, b)
	}
	return a, nil
}

// again repeats what fails because the storage does not answer.
func (s *stormy) again(do func() error) (err error) {
	for range patience {
		if err = do(); !errors.Is(err, errAway) {
			return err
		}
	}
	return err
}

// image pushes an image, its blobs in different ways, and pulls it.
func (s *stormy) image(n, k int) error {
	config := fmt.Appendf(nil, `{"client":%d,"image":%d}`, n, k)
	layer := bytesOf(fmt.Sprint(n, k), []int{3000, bucketPart + 3000, bucketPart, 2*bucketPart + 1000}[(n+k)%4])
	for j, content := range [][]byte{config, layer} {
		push := []func([]byte) error{s.atOnce, s.whole, s.resumed}[(n+k+j)%3]
		if err := s.again(func() error { return push(content) }); err != nil {
			return err
		}
		d := digest.FromBytes(content)
		s.note(s.blobs, s.repo+"@"+string(d), content)
		if err := s.pull(d, content); err != nil {
			return err
		}
	}
	m := manifestOf(config, layer)
	path := fmt.Sprintf("/v2/%s/manifests/v%d", s.repo, k)
	err := s.again(func() error {
		_, err := s.ask(201, "PUT", path, m, "Content-Type: "+ociManifest)
		return err
	})
	if err == nil {
		s.note(s.manifests, path, m)
	}
	return err
}

// atOnce pushes a blob in one request.
func (s *stormy) atOnce(content []byte) error {
	_, err := s.ask(201, "POST", "/v2/"+s.repo+"/blobs/uploads/?digest="+string(digest.FromBytes(content)), content)
	return err
}

// whole pushes a blob with the last of two requests.
func (s *stormy) whole(content []byte) error {
	begun, err := s.ask(202, "POST", "/v2/"+s.repo+"/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	_, err = s.ask(201, "PUT", s.location(begun)+"&digest="+string(digest.FromBytes(content)), content)
	return err
}

// resumed pushes a blob in chunks, and after a failure goes on where the server says it is: not before what was acknowledged.
func (s *stormy) resumed(content []byte) error {
	begun, err := s.ask(202, "POST", "/v2/"+s.repo+"/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	to, at, acknowledged := s.location(begun), 0, 0
	for at < len(content) {
		end := min(at+len(content)/2+1, len(content))
		_, err := s.ask(202, "PATCH", to, content[at:end], fmt.Sprintf("Content-Range: %d-%d", at, end-1))
		if err == nil {
			at, acknowledged = end, end
			continue
		}
		if !errors.Is(err, errAway) {
			return err
		}
		var a *http.Response
		if err := s.again(func() (err error) { a, err = s.ask(204, "GET", to, nil); return err }); err != nil {
			return err
		}
		var last int
		if _, err := fmt.Sscanf(a.Header.Get("Range"), "0-%d", &last); err != nil {
			return err
		}
		if at = last + 1; last == 0 {
			at = 0
		}
		if at < acknowledged {
			return fmt.Errorf("the upload goes on at %d, acknowledged were %d", at, acknowledged)
		}
	}
	_, err = s.ask(201, "PUT", to+"&digest="+string(digest.FromBytes(content)), nil)
	return err
}

// pull wants a blob's bytes, or an answer that breaks off, but never others.
func (s *stormy) pull(d digest.Digest, content []byte) error {
	for range patience {
		a, err := s.stream("GET", "/v2/"+s.repo+"/blobs/"+string(d), nil)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(a.Body)
		a.Body.Close()
		switch {
		case a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "":
			continue
		case a.StatusCode != http.StatusOK || !bytes.HasPrefix(content, got):
			return fmt.Errorf("pull %s: %s, %d bytes that are not those that were pushed", d, a.Status, len(got))
		case err == nil && len(got) == len(content):
			return nil
		case err == nil:
			return fmt.Errorf("pull %s: %d bytes of %d, and no error", d, len(got), len(content))
		}
	}
	return fmt.Errorf("pull %s: never to its end", d)
}

// TestS3Away stops S3 for a while: requests that need it are 503 and say when to come back, the others are answered, and the
// upload that was under way goes on.
func TestS3Away(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		i, bucket := startOnBucket(t, server, server.Endpoint, sendsAll)
		content := bytesOf(t.Name(), bucketPart+3000)
		d := i.pushBlob("app", content)
		m := manifestOf([]byte("{}"), content)
		i.pushBlob("app", []byte("{}"))
		i.want(201, "PUT", "/v2/app/manifests/v1", bytes.NewReader(m), "Content-Type: "+ociManifest)
		begun, _ := i.want(202, "POST", "/v2/app/blobs/uploads/", nil)
		to := i.location(begun)
		more := bytesOf(t.Name()+"more", bucketPart+3000)
		i.want(202, "PATCH", to, bytes.NewReader(more[:1000]))

		server.Kill()
		var asked sync.WaitGroup
		for what, r := range map[string]struct {
			method, url string
			body        []byte
			headers     []string
		}{
			"pull":            {"GET", "/v2/app/blobs/" + string(d), nil, nil},
			"push a chunk":    {"PATCH", to, more[1000:], nil},
			"push at once":    {"POST", "/v2/app/blobs/uploads/?digest=" + string(digest.FromBytes(more)), more, nil},
			"push a manifest": {"PUT", "/v2/app/manifests/v2", append(m, '\n'), []string{"Content-Type: " + ociManifest}},
		} {
			asked.Go(func() {
				a, b, err := i.do(r.method, r.url, bytes.NewReader(r.body), r.headers...)
				if err != nil || a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %v, %v %s", what, err, a, b)
				}
			})
		}
		asked.Wait()
		i.want(200, "HEAD", "/v2/app/blobs/"+string(d), nil)
		i.want(200, "HEAD", "/v2/app/manifests/v1", nil)
		i.want(200, "GET", "/v2/app/tags/list", nil)

		server.Restart()
		if at := i.offset(to); at != 1000 {
			t.Errorf("the upload goes on at %d, acknowledged were 1000", at)
		}
		i.want(202, "PATCH", to, bytes.NewReader(more[1000:]), fmt.Sprintf("Content-Range: 1000-%d", len(more)-1))
		i.want(201, "PUT", to+"&digest="+string(digest.FromBytes(more)), nil)
		for _, want := range [][]byte{content, more} {
			if _, got := i.want(200, "GET", "/v2/app/blobs/"+string(digest.FromBytes(want)), nil); !bytes.Equal(got, want) {
				t.Error("other bytes are served")
			}
		}
		i.purge(server, bucket)
	})
}

// TestS3RefusesWrites: S3 answers and takes nothing. What would have to be stored is 503, and nothing of it counts.
func TestS3RefusesWrites(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		p := testbench.NewS3Proxy(t, server.Endpoint)
		i, bucket := startOnBucket(t, server, p.URL, sendsAll)
		content := bytesOf(t.Name(), 3000)
		d := digest.FromBytes(content)
		begun, _ := i.want(202, "POST", "/v2/app/blobs/uploads/", nil)
		to := i.location(begun)
		i.want(202, "PATCH", to, bytes.NewReader(content[:1000]))
		p.Choose(func(r *http.Request) testbench.S3Fault {
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				return testbench.S3Works
			}
			return testbench.S3Busy
		})
		for method, url := range map[string]string{"PATCH": to, "POST": "/v2/app/blobs/uploads/?digest=" + string(d), "PUT": to + "&digest=" + string(d)} {
			body := content[1000:]
			if method == "POST" {
				body = content
			}
			if a, _ := i.want(503, method, url, bytes.NewReader(body)); a.Header.Get("Retry-After") == "" {
				t.Errorf("%s: 503 without Retry-After", method)
			}
			if at := i.offset(to); at != 1000 {
				t.Errorf("%s: the upload goes on at %d, acknowledged were 1000", method, at)
			}
			i.want(404, "GET", "/v2/app/blobs/"+string(d), nil)
		}
		p.Heal()
		i.want(202, "PATCH", to, bytes.NewReader(content[1000:]))
		i.want(201, "PUT", to+"&digest="+string(d), nil)
		if _, got := i.want(200, "GET", "/v2/app/blobs/"+string(d), nil); !bytes.Equal(got, content) {
			t.Error("other bytes are served")
		}
		i.purge(server, bucket)
	})
}
