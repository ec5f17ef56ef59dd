package etcd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
	"gatehouse/testbench"
)

const (
	testPrefix = "/lain/config"
	testKey    = testPrefix + "/auth/registry"
	patience   = time.Minute // for what comes within a second on an idle machine
)

// running is a Source that runs beside a test.
type running struct {
	*Source
	t     testing.TB
	auth  *configs.Value[configs.Token]
	log   *logBuffer
	stats *prometheus.Registry
	stop  func() // ends Run and waits for it; the cleanup does it otherwise
}

// run starts a Source on endpoint. Its last good value is in file, which may be "".
func run(t testing.TB, endpoint, file string, more ...func(*Options)) *running {
	t.Helper()
	r := &running{t: t, auth: new(configs.Value[configs.Token]), log: new(logBuffer), stats: prometheus.NewRegistry()}
	options := Options{
		Endpoints: []string{endpoint}, Prefix: testPrefix, LastGoodFile: file,
		RequestTimeout: time.Second, ProgressInterval: 200 * time.Millisecond,
		Metrics: r.stats, Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, change := range more {
		change(&options)
	}
	var err error
	r.Source, err = New(options, r.auth)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log of the source:\n%s", r.log.String())
		}
	})
	return r
}

// await waits until the source's status is as ok wants it.
func (r *running) await(what string, ok func(Status) bool) Status {
	r.t.Helper()
	var st Status
	testbench.Eventually(r.t, patience, what, func() error {
		if st = r.Status(); !ok(st) {
			return fmt.Errorf("status is %+v", st)
		}
		return nil
	})
	return st
}

// awaitToken waits until want is in force and is known to be etcd's.
func (r *running) awaitToken(want configs.Token) {
	r.t.Helper()
	r.await(fmt.Sprintf("%+v in force", want), func(st Status) bool {
		got := r.auth.Load()
		return got != nil && *got == want && st.State == Applied && st.Connected && st.Err == nil
	})
}

// metric is the present value of a counter or gauge of the source.
func (r *running) metric(name string) float64 {
	r.t.Helper()
	families, err := r.stats.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}

// logBuffer collects a log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// network is what lies between a Source and its etcd: a relay of TCP connections that can be cut, can swallow everything
// without closing anything, and can lead to another server.
type network struct {
	Endpoint string

	mu      sync.Mutex
	target  string
	cut     bool          // new connections are closed at once
	flowing chan struct{} // closed while bytes pass
	conns   map[net.Conn]bool
}

// newNetwork returns a network that leads to target, host:port.
func newNetwork(t testing.TB, target string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{Endpoint: "http://" + l.Addr().String(), target: target, flowing: make(chan struct{}), conns: make(map[net.Conn]bool)}
	close(n.flowing)
	n.serve(t, l)
	return n
}

// serve relays the connections that come to l until the test ends.
func (n *network) serve(t testing.TB, l net.Listener) {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { n.relay(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.Flow(true)
		n.Cut(true)
		all.Wait()
	})
}

// Cut closes every connection and refuses new ones, or lets them come again.
func (n *network) Cut(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	if cut {
		for c := range n.conns {
			c.Close()
		}
	}
}

// Flow stops all bytes where they are, or lets them go on.
func (n *network) Flow(flow bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.flowing:
		if !flow {
			n.flowing = make(chan struct{})
		}
	default:
		if flow {
			close(n.flowing)
		}
	}
}

// LeadTo makes new connections go to target.
func (n *network) LeadTo(target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.target = target
}

func (n *network) relay(c net.Conn) {
	defer c.Close()
	n.mu.Lock()
	target := n.target
	n.mu.Unlock()
	d, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer d.Close()
	n.mu.Lock()
	if n.cut {
		n.mu.Unlock()
		return
	}
	n.conns[c], n.conns[d] = true, true
	n.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { n.pump(d, c) })
	both.Go(func() { n.pump(c, d) })
	both.Wait()
	n.mu.Lock()
	delete(n.conns, c)
	delete(n.conns, d)
	n.mu.Unlock()
}

// pump copies until either end closes, and then closes both.
func (n *network) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		k, err := from.Read(buf)
		n.mu.Lock()
		flowing := n.flowing
		n.mu.Unlock()
		<-flowing
		if k > 0 {
			if _, err := to.Write(buf[:k]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
