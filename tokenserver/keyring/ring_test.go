package keyring

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/tokenserver/token"
)

const (
	lifetime   = 5 * time.Minute
	grace      = 10 * time.Minute
	prepublish = 15 * time.Minute
	retire     = lifetime + token.Leeway + grace
)

// bench is a ring on a folder, with a clock that is moved by hand and a verifier that trusts the ring.
type bench struct {
	t       testing.TB
	o       Options
	ring    *Ring
	logged  *logbook
	mu      sync.Mutex
	at      time.Time
	tokens  []signed
	trusted *token.Verifier
}

// signed is a token, and until when it must be accepted.
type signed struct {
	raw   string
	until time.Time
}

// logbook is a log that may be read while it is written.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// newBench returns a bench whose folder is not there yet.
func newBench(t testing.TB) *bench {
	b := &bench{t: t, logged: new(logbook), at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	b.o = Options{Dir: filepath.Join(t.TempDir(), "data", "keys"), Prepublish: prepublish, Retire: retire, Now: b.now,
		Logger: slog.New(slog.NewTextHandler(b.logged, nil))}
	return b
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

func (b *bench) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = b.at.Add(d)
}

// open opens the ring, as a start of the server does.
func (b *bench) open() *Ring {
	b.t.Helper()
	ring, err := Open(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.ring = ring
	b.trusted = verifier(ring.Public, b.now)
	return ring
}

// folder is the folder as a verb sees it.
func (b *bench) folder() *Folder {
	b.t.Helper()
	f, err := NewFolder(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

func verifier(keys func() []token.PublicKey, now func() time.Time) *token.Verifier {
	return token.NewVerifier(keys, func() (string, string, bool) { return "i", "s", true }, now)
}

// sign signs a token with the active key, and remembers it.
func (b *bench) sign() string {
	b.t.Helper()
	raw, err := b.ring.Active().Sign(token.Claims{Issuer: "i", Audience: "s", Expires: b.now().Add(lifetime)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.tokens = append(b.tokens, signed{raw, b.now().Add(lifetime + token.Leeway)})
	return raw
}

// verifyAll has v verify every token whose time is not over.
func (b *bench) verifyAll(v *token.Verifier, who string) {
	b.t.Helper()
	live := b.tokens[:0]
	for _, s := range b.tokens {
		if !b.now().Before(s.until) {
			continue
		}
		live = append(live, s)
		if _, err := v.Verify(s.raw); err != nil {
			b.t.Fatalf("%s refused a token that is good until %s at %s: %v", who, s.until, b.now(), err)
		}
	}
	b.tokens = live
}

// states returns the states of the keys, the oldest first.
func (b *bench) states() string {
	b.t.Helper()
	list, err := b.folder().List()
	if err != nil {
		b.t.Fatal(err)
	}
	var states []string
	for _, k := range list {
		states = append(states, string(k.State))
	}
	return strings.Join(states, " ")
}

func (b *bench) rotate(r Rotation) {
	b.t.Helper()
	if err := b.folder().Rotate(r); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) files() []string {
	b.t.Helper()
	entries, err := os.ReadDir(b.o.Dir)
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.o.Dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

func (b *bench) put(name, text string, mode os.FileMode) {
	b.t.Helper()
	path := filepath.Join(b.o.Dir, name)
	if err := os.MkdirAll(b.o.Dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		b.t.Fatal(err)
	}
}

func newKey(t testing.TB, algorithm string) *token.Key {
	t.Helper()
	k, err := token.GenerateKeyFor(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestFirstStart(t *testing.T) {
	b := newBench(t)
	ring := b.open()
	for path, mode := range map[string]os.FileMode{"": 0o700, firstFile: 0o600, "ring.json": 0o644} {
		info, err := os.Stat(filepath.Join(b.o.Dir, path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
	if got := b.files(); !slices.Equal(got, []string{"ring.json", firstFile}) {
		t.Errorf("files %v", got)
	}
	logged := b.logged.String()
	if strings.Contains(logged, b.read(firstFile)[40:60]) || !strings.Contains(logged, ring.Active().Public().KeyID()) {
		t.Errorf("log: %s", b.logged)
	}
	if p := ring.Public(); len(p) != 1 || p[0] != ring.Active().Public() || p[0].Algorithm() != token.ES256 {
		t.Errorf("the key that signs is not the one that verifies: %v", p)
	}
	before := b.read("ring.json")
	if id := b.open().Active().Public().KeyID(); id != ring.Active().Public().KeyID() || b.read("ring.json") != before {
		t.Error("a second start changed something")
	}
}

// TestRotation goes through a rotation in small steps, with tokens signed and verified at each: by our own verifier, by one that
// asks for the keys every prepublish only, and by one on a server that starts anew at each step.
func TestRotation(t *testing.T) {
	for _, algorithm := range []string{token.ES256, token.RS256, token.EdDSA} {
		t.Run(algorithm, func(t *testing.T) {
			b := newBench(t)
			b.open()
			first := b.ring.Active().Public()
			b.rotate(Rotation{Algorithm: algorithm})
			began := b.now()
			b.ring.tick()
			seen := b.states()
			if seen != "active published" {
				t.Fatalf("states %q", seen)
			}
			copied, copiedAt := b.ring.Public(), b.now()
			stale := verifier(func() []token.PublicKey { return copied }, b.now)
			const step = 20 * time.Second
			for b.now().Sub(began) < prepublish+retire+time.Hour {
				b.sign()
				b.verifyAll(b.trusted, "our verifier")
				b.verifyAll(stale, "a verifier with a copy")
				if signs := b.ring.Active().Public() != first; signs != (b.now().Sub(began) >= prepublish) {
					t.Fatalf("after %s the new key signs: %v", b.now().Sub(began), signs)
				}
				gone := b.now().Sub(began) >= prepublish+retire
				if slices.Contains(b.ring.Public(), first) == gone {
					t.Fatalf("after %s the old key is gone: %v", b.now().Sub(began), !gone)
				}
				if got := b.states(); !strings.HasSuffix(seen, got) {
					seen += ", " + got
				}
				b.advance(step)
				b.ring.tick()
				if b.now().Sub(copiedAt) >= prepublish {
					copied, copiedAt = b.ring.Public(), b.now()
				}
			}
			if want := "active published, retiring active, gone active"; seen != want {
				t.Errorf("states %q, want %q", seen, want)
			}
			if got := b.files(); len(got) != 2 || slices.Contains(got, firstFile) {
				t.Errorf("files %v: the key that is gone is there", got)
			}
			if b.ring.Active().Public().Algorithm() != algorithm {
				t.Errorf("algorithm %s", b.ring.Active().Public().Algorithm())
			}
		})
	}
}

// TestSchedule: Run's ticks rotate by the schedule, over restarts and with a server that was away for a time.
func TestSchedule(t *testing.T) {
	b := newBench(t)
	b.o.Rotate = 2 * time.Hour
	b.open()
	ids := map[string]bool{}
	began := b.now()
	for step := 0; b.now().Sub(began) < 11*time.Hour; step++ {
		b.sign()
		b.verifyAll(b.trusted, "our verifier")
		ids[b.ring.Active().Public().KeyID()] = true
		if step%40 == 17 {
			b.open() // a restart
			b.verifyAll(b.trusted, "our verifier after a restart")
		}
		b.advance(time.Minute)
		b.ring.tick()
	}
	if len(ids) != 6 {
		t.Errorf("%d keys have signed in 11 hours at 2 hours each", len(ids))
	}
	b.advance(300 * 24 * time.Hour) // nobody was there
	b.open()
	b.sign()
	b.verifyAll(b.trusted, "our verifier after a long time")
	if got := b.states(); got != "active published" {
		t.Errorf("after a long time: %s", got)
	}
}

// TestRotateNow: the key that waits signs at once, and with another algorithm a new one does.
func TestRotateNow(t *testing.T) {
	b := newBench(t)
	b.open()
	b.sign()
	b.rotate(Rotation{})
	if err := b.folder().Rotate(Rotation{}); err == nil || !strings.Contains(err.Error(), "--now") {
		t.Errorf("a second rotation: %v", err)
	}
	b.ring.tick()
	waiting := b.ring.Public()[1]
	b.advance(time.Minute)
	b.rotate(Rotation{Now: true})
	b.ring.tick()
	if b.ring.Active().Public() != waiting || b.states() != "retiring active" {
		t.Errorf("signs %s, %s", b.ring.Active().Public().KeyID(), b.states())
	}
	b.verifyAll(b.trusted, "our verifier")
	b.sign()
	b.advance(time.Second)
	b.rotate(Rotation{Now: true})
	b.ring.tick()
	b.sign()
	b.verifyAll(b.trusted, "our verifier")
	b.rotate(Rotation{})
	b.rotate(Rotation{Now: true, Algorithm: token.EdDSA})
	b.ring.tick()
	b.sign()
	b.verifyAll(b.trusted, "our verifier")
	if got := b.states(); got != "retiring retiring retiring gone active" || b.ring.Active().Public().Algorithm() != token.EdDSA {
		t.Errorf("%s, %s", got, b.ring.Active().Public().Algorithm())
	}
	if err := b.folder().Rotate(Rotation{Now: true, Algorithm: "HS256"}); err == nil {
		t.Error("rotated to HS256")
	}
}

func TestRevoke(t *testing.T) {
	b := newBench(t)
	b.open()
	b.rotate(Rotation{Now: true})
	b.ring.tick()
	old := b.sign()
	b.rotate(Rotation{})
	b.rotate(Rotation{Revoke: true})
	b.ring.tick()
	if _, err := b.trusted.Verify(old); err == nil {
		t.Error("a token of a revoked key was accepted")
	}
	b.tokens = nil
	b.sign()
	b.verifyAll(b.trusted, "our verifier")
	if got := b.states(); got != "gone gone gone active" || len(b.files()) != 2 {
		t.Errorf("%s, %v", got, b.files())
	}
	list, err := b.folder().List()
	if err != nil || !list[0].Revoked || list[3].Revoked {
		t.Errorf("%+v, %v", list, err)
	}
	b.advance(-time.Hour) // a clock that is set back brings nothing back
	b.open()
	if _, err := b.trusted.Verify(old); err == nil || len(b.ring.Public()) != 1 {
		t.Error("a revoked key came back")
	}
}

// TestKeepGrows: tokens got a longer life while a key signed, and are accepted for the whole of it.
func TestKeepGrows(t *testing.T) {
	b := newBench(t)
	b.open()
	b.rotate(Rotation{})
	b.o.Retire = 10 * time.Hour
	b.open()
	b.o.Retire = retire
	b.open()
	old := b.ring.Active().Public()
	b.advance(prepublish + 9*time.Hour)
	if !slices.Contains(b.ring.Public(), old) {
		t.Error("the old key is gone before its tokens")
	}
	b.advance(time.Hour)
	if slices.Contains(b.ring.Public(), old) {
		t.Error("the old key stays")
	}
}

// TestClockSetBack: whatever the clock says, some key signs, and what it signs is accepted.
func TestClockSetBack(t *testing.T) {
	b := newBench(t)
	b.open()
	b.rotate(Rotation{})
	b.advance(prepublish + time.Minute)
	b.ring.tick()
	for _, d := range []time.Duration{-10 * time.Minute, -365 * 24 * time.Hour, 366 * 24 * time.Hour, -24 * time.Hour} {
		b.tokens = nil
		b.advance(d)
		b.sign()
		b.verifyAll(b.trusted, "our verifier")
		b.ring.tick()
		b.open()
		b.sign()
		b.verifyAll(b.trusted, "our verifier")
	}
}

// TestUnchangedKeysAreTheSame: a verifier forgets what it has verified only when the keys change.
func TestUnchangedKeysAreTheSame(t *testing.T) {
	b := newBench(t)
	b.open()
	b.rotate(Rotation{})
	b.ring.tick()
	before := b.ring.Public()
	b.o.Retire += time.Hour
	if err := b.folder().update(false, b.folder().upkeep); err != nil {
		t.Fatal(err)
	}
	b.ring.tick()
	b.advance(prepublish)
	after := b.ring.Public()
	if &before[0] != &after[0] || !slices.Equal(before, after) {
		t.Error("the keys are others after they were read again")
	}
	if n := testing.AllocsPerRun(100, func() { b.ring.Public(); b.ring.Active() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
