package token

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bench is a verifier, everything it depends on, and a key it trusts.
type bench struct {
	*Verifier
	key              *Key
	keys             []PublicKey
	issuer, audience string
	known            bool
	at               time.Time
}

func newBench(t testing.TB) *bench {
	b := &bench{key: newTestKey(t), issuer: "i", audience: "s", known: true, at: time.Unix(1_800_000_000, 0)}
	b.keys = []PublicKey{b.key.Public()}
	b.Verifier = NewVerifier(func() []PublicKey { return b.keys },
		func() (string, string, bool) { return b.issuer, b.audience, b.known }, func() time.Time { return b.at })
	return b
}

func (b *bench) claims() Claims {
	return Claims{Issuer: "i", Subject: "alice", Audience: "s", Expires: b.at.Add(300 * time.Second), NotBefore: b.at.Add(-Leeway),
		IssuedAt: b.at, ID: "1", Access: []Access{{Type: "repository", Name: "a", Actions: []string{"pull"}}}}
}

func (b *bench) sign(t testing.TB, c Claims) string {
	t.Helper()
	raw, err := b.key.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (b *bench) mustRefuse(t testing.TB, raw string) {
	t.Helper()
	c, err := b.Verify(raw)
	if !errors.Is(err, ErrInvalid) || c != nil {
		t.Errorf("Verify = %v, %v, want ErrInvalid and no claims", c, err)
	}
	if err != nil && len(raw) > 40 && strings.Contains(err.Error(), raw[len(raw)-20:]) {
		t.Errorf("the error quotes the token: %v", err)
	}
}

func (b *bench) mustAccept(t testing.TB, raw string) *Claims {
	t.Helper()
	c, err := b.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerify(t *testing.T) {
	b := newBench(t)
	want := b.claims()
	raw := b.sign(t, want)
	cold := b.mustAccept(t, raw)
	if !reflect.DeepEqual(*cold, want) {
		t.Errorf("claims %+v, want %+v", *cold, want)
	}
	if warm := b.mustAccept(t, raw); warm != cold {
		t.Error("the second time the token was not found in the cache")
	}
}

func TestVerifyTimes(t *testing.T) {
	for _, tt := range []struct {
		name               string
		expires, notBefore time.Duration
		ok                 bool
	}{
		{"now", 300 * time.Second, 0, true},
		{"expired within the leeway", -59 * time.Second, -time.Hour, true},
		{"expired", -60 * time.Second, -time.Hour, false},
		{"not yet, within the leeway", time.Hour, 60 * time.Second, true},
		{"not yet", time.Hour, 61 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			c := b.claims()
			c.Expires, c.NotBefore = b.at.Add(tt.expires), b.at.Add(tt.notBefore)
			if raw := b.sign(t, c); tt.ok {
				b.mustAccept(t, raw)
			} else {
				b.mustRefuse(t, raw)
			}
		})
	}
}

// TestCacheHonoursTime: a token in the cache is subject to its times at each use.
func TestCacheHonoursTime(t *testing.T) {
	b := newBench(t)
	start := b.at
	raw := b.sign(t, b.claims())
	b.mustAccept(t, raw)
	b.at = start.Add(300*time.Second + Leeway)
	b.mustRefuse(t, raw)
	b.at = start.Add(-2*Leeway - time.Second)
	b.mustRefuse(t, raw)
	b.at = start
	b.mustAccept(t, raw)
}

func TestCacheEndsWithWhatItDependsOn(t *testing.T) {
	other := newTestKey(t)
	for name, change := range map[string]func(*bench){
		"issuer":       func(b *bench) { b.issuer = "other" },
		"audience":     func(b *bench) { b.audience = "other" },
		"nothing":      func(b *bench) { b.known = false },
		"no issuer":    func(b *bench) { b.issuer = "" },
		"no audience":  func(b *bench) { b.audience = "" },
		"other key":    func(b *bench) { b.keys = []PublicKey{other.Public()} },
		"no key":       func(b *bench) { b.keys = nil },
		"key in place": func(b *bench) { b.keys[0] = other.Public() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			raw := b.sign(t, b.claims())
			b.mustAccept(t, raw)
			change(b)
			b.mustRefuse(t, raw)
			b.mustRefuse(t, raw)
		})
	}
}

// TestRotation: a key may join and leave the set; tokens of those that stay are valid throughout.
func TestRotation(t *testing.T) {
	b := newBench(t)
	old := b.sign(t, b.claims())
	b.mustAccept(t, old)
	next := newTestKey(t)
	b.keys = []PublicKey{next.Public(), b.key.Public()}
	b.mustAccept(t, old)
	fresh, err := next.Sign(b.claims())
	if err != nil {
		t.Fatal(err)
	}
	b.mustAccept(t, fresh)
	b.keys = []PublicKey{next.Public()}
	b.mustRefuse(t, old)
	b.mustAccept(t, fresh)
}

func TestEmptyExpectationsMatchNoEmptyClaims(t *testing.T) {
	b := newBench(t)
	b.issuer, b.audience = "", ""
	b.mustRefuse(t, b.forge(t, b.header(), `{"iss":"","aud":"","sub":"alice","exp":1800000300}`, b.key))
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	at := time.Unix(1_800_000_000, 0)
	sums := func(i int) *[32]byte {
		sum := [32]byte{byte(i), byte(i >> 8), byte(i >> 16), 0, byte(i * 7), byte(i >> 24), 1}
		return &sum
	}
	const n = 5 * cacheSets * cacheWays
	for i := range n {
		c.put(sums(i), &Claims{Expires: at.Add(time.Hour)}, at)
		if c.get(sums(i)) == nil {
			t.Fatalf("entry %d is not there at once", i)
		}
	}
	kept := 0
	for i := range n {
		if c.get(sums(i)) != nil {
			kept++
		}
	}
	if kept > cacheSets*cacheWays || kept < cacheSets {
		t.Errorf("%d of %d entries kept, at most %d expected", kept, n, cacheSets*cacheWays)
	}
	// What has expired makes room before anything else does.
	var small cache
	first, stale := &Claims{Expires: at.Add(time.Hour)}, &Claims{Expires: at.Add(-time.Hour)}
	small.put(&[32]byte{5: 1}, first, at)
	small.put(&[32]byte{5: 2}, stale, at)
	for i := 3; i < 6; i++ {
		small.put(&[32]byte{5: byte(i)}, &Claims{Expires: at.Add(time.Hour)}, at)
	}
	if small.get(&[32]byte{5: 1}) != first || small.get(&[32]byte{5: 2}) != nil {
		t.Error("an expired entry stayed and another went")
	}
}

func TestLongTokensAreNotKept(t *testing.T) {
	b := newBench(t)
	c := b.claims()
	for i := range 60 {
		c.Access = append(c.Access, Access{Type: "repository", Name: fmt.Sprintf("team/application-%d", i), Actions: []string{"pull"}})
	}
	raw := b.sign(t, c)
	if len(raw) <= maxCached || len(raw) > MaxSize {
		t.Fatalf("the token has %d bytes", len(raw))
	}
	if first, second := b.mustAccept(t, raw), b.mustAccept(t, raw); first == second {
		t.Error("it was kept")
	}
}

func TestWarmVerifyDoesNotAllocate(t *testing.T) {
	b := newBench(t)
	raw := b.sign(t, b.claims())
	b.mustAccept(t, raw)
	if n := testing.AllocsPerRun(100, func() { b.mustAccept(t, raw) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestConcurrentUse has readers verify while the audience changes under them: each answer must fit one of the audiences,
// and none may be given for a token whose audience was never expected.
func TestConcurrentUse(t *testing.T) {
	key := newTestKey(t)
	keys := []PublicKey{key.Public()}
	var audience atomic.Pointer[string]
	names := [2]string{"s0", "s1"}
	audience.Store(&names[0])
	at := time.Unix(1_800_000_000, 0)
	v := NewVerifier(func() []PublicKey { return keys },
		func() (string, string, bool) { return "i", *audience.Load(), true }, func() time.Time { return at })
	raw := make([]string, 3)
	for i := range raw {
		var err error
		raw[i], err = key.Sign(Claims{Issuer: "i", Subject: fmt.Sprint(i), Audience: fmt.Sprintf("s%d", i), Expires: at.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
	}
	var readers sync.WaitGroup
	var accepted [2]atomic.Int64
	deadline := time.Now().Add(20 * time.Second)
	for range 4 {
		readers.Go(func() {
			for n := 0; n < 500 || (accepted[0].Load() == 0 || accepted[1].Load() == 0) && time.Now().Before(deadline); n++ {
				i := n % 3
				c, err := v.Verify(raw[i])
				switch {
				case err != nil:
				case i == 2:
					t.Errorf("a token for %s was accepted", c.Audience)
					return
				case c.Subject != fmt.Sprint(i):
					t.Errorf("token %d came back as %s's", i, c.Subject)
					return
				default:
					accepted[i].Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
				audience.Store(&names[n%2])
			}
		}
	})
	readers.Wait()
	close(done)
	writer.Wait()
	if accepted[0].Load() == 0 || accepted[1].Load() == 0 {
		t.Errorf("accepted %d and %d tokens", accepted[0].Load(), accepted[1].Load())
	}
}
