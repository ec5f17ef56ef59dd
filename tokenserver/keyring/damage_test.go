package keyring

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/tokenserver/regular"
	"gatehouse/tokenserver/token"
)

// damages are ways in which a folder with an active and a published key may be spoilt, and what the error says.
var damages = map[string]struct {
	want   string
	damage func(*bench)
}{
	"no manifest":       {"restore it", func(b *bench) { b.drop("ring.json") }},
	"manifest empty":    {"damaged", func(b *bench) { b.put("ring.json", "", 0o644) }},
	"manifest cut":      {"damaged", func(b *bench) { b.put("ring.json", b.read("ring.json")[:200], 0o644) }},
	"manifest of keys":  {"damaged", func(b *bench) { b.put("ring.json", `{"version":1,"keys":[]}`, 0o644) }},
	"manifest of null":  {"damaged", func(b *bench) { b.put("ring.json", `{"version":1,"keys":[null]}`, 0o644) }},
	"newer manifest":    {"another version", func(b *bench) { b.edit(`"version": 1`, `"version": 2`) }},
	"unknown member":    {"damaged", func(b *bench) { b.edit(`"version": 1`, `"version": 1, "x": 1`) }},
	"text behind":       {"damaged", func(b *bench) { b.put("ring.json", b.read("ring.json")+"{}", 0o644) }},
	"a key twice":       {"twice", func(b *bench) { b.edit(b.id(1), b.id(0)) }},
	"another kid":       {"not the key", func(b *bench) { b.edit(b.id(1), "AAAA"+b.id(1)[4:]) }},
	"another algorithm": {"not the key", func(b *bench) { b.edit(`"ES256"`, `"RS256"`) }},
	"a path":            {"not in the folder", func(b *bench) { b.edit(firstFile, "../"+firstFile) }},
	"no key file":       {"cannot be read", func(b *bench) { b.drop(firstFile) }},
	"key empty":         {"restore it", func(b *bench) { b.put(firstFile, "", 0o600) }},
	"key cut":           {"restore it", func(b *bench) { b.put(firstFile, b.read(firstFile)[:100], 0o600) }},
	"key of zeroes":     {"restore it", func(b *bench) { b.put(firstFile, strings.Repeat("\x00", 200), 0o600) }},
	"key of another":    {"same backup", func(b *bench) { b.put(firstFile, b.read(b.file(1)), 0o600) }},
	"key open to all":   {"chmod 600", func(b *bench) { b.put(firstFile, b.read(firstFile), 0o644) }},
	"key open to group": {"chmod 600", func(b *bench) { b.put(firstFile, b.read(firstFile), 0o640) }},
	"key a folder": {"not a regular file", func(b *bench) {
		b.drop(firstFile)
		if err := os.Mkdir(filepath.Join(b.o.Dir, firstFile), 0o700); err != nil {
			b.t.Fatal(err)
		}
	}},
	"key a pipe": {"not a regular file", func(b *bench) {
		b.drop(firstFile)
		if err := syscall.Mkfifo(filepath.Join(b.o.Dir, firstFile), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}},
	"manifest a pipe": {"not a regular file", func(b *bench) {
		b.drop("ring.json")
		if err := syscall.Mkfifo(filepath.Join(b.o.Dir, "ring.json"), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}},
	"CA missing":     {"token CA", func(b *bench) { b.drop(b.caFile()) }},
	"CA of another":  {"token CA", func(b *bench) { b.put(b.caFile(), b.read(firstFile), 0o600) }},
	"CA open to all": {"chmod 600", func(b *bench) { b.put(b.caFile(), b.read(b.caFile()), 0o644) }},
}

func (b *bench) drop(name string) {
	b.t.Helper()
	if err := os.Remove(filepath.Join(b.o.Dir, name)); err != nil {
		b.t.Fatal(err)
	}
}

// edit replaces the first old in the manifest, which must be there.
func (b *bench) edit(old, new string) {
	b.t.Helper()
	text := b.read("ring.json")
	if !strings.Contains(text, old) {
		b.t.Fatalf("no %s in %s", old, text)
	}
	b.put("ring.json", strings.Replace(text, old, new, 1), 0o644)
}

func (b *bench) id(n int) string {
	b.t.Helper()
	m, err := decodeManifest([]byte(b.read("ring.json")))
	if err != nil {
		b.t.Fatal(err)
	}
	return m.Keys[n].KeyID
}

func (b *bench) file(n int) string { return strings.ReplaceAll(b.id(n), ":", "-") + ".pem" }

func (b *bench) caFile() string {
	b.t.Helper()
	for _, name := range b.files() {
		if strings.HasPrefix(name, caPrefix) {
			return name
		}
	}
	b.t.Fatal("no CA")
	return ""
}

// tree is the text of every file in the folder.
func (b *bench) tree() map[string]string {
	all := map[string]string{}
	for _, name := range b.files() {
		data, _, err := regular.Read(filepath.Join(b.o.Dir, name), maxFile)
		if err != nil {
			all[name] = "no file"
			continue
		}
		all[name] = string(data)
	}
	return all
}

// damaged is a folder with two keys and a CA that damage has gone over, while a ring uses it, and the keys' secrets.
func damaged(t *testing.T, damage func(*bench)) (b *bench, secrets []string) {
	b = newBench(t)
	b.o.X5C = true
	b.open()
	b.rotate(Rotation{})
	b.ring.tick()
	for _, name := range []string{firstFile, b.file(1), b.caFile()} {
		secrets = append(secrets, b.read(name)[40:60])
	}
	damage(b)
	return b, secrets
}

// TestDamagedAtStart: what cannot be used is an error that helps, and nothing is made in its place.
func TestDamagedAtStart(t *testing.T) {
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			b, secrets := damaged(t, d.damage)
			before := b.tree()
			ring, err := Open(b.o)
			if err == nil {
				t.Fatalf("opened: %s", ring.Active().Public().KeyID())
			}
			if !strings.Contains(err.Error(), d.want) || !strings.Contains(err.Error(), b.o.Dir) && !strings.Contains(err.Error(), "key") {
				t.Errorf("the error does not help: %v", err)
			}
			for _, secret := range secrets {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error quotes a key: %v", err)
				}
			}
			if err := b.folder().Rotate(Rotation{Revoke: true}); err == nil {
				t.Error("rotated")
			}
			if _, err := b.folder().Import(newKey(t, token.ES256), nil, true); err == nil {
				t.Error("imported")
			}
			after := b.tree()
			if len(after) != len(before) {
				t.Errorf("files %v before, %v after", len(before), b.files())
			}
			for name := range before {
				if before[name] != after[name] {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

// TestDamagedWhileRunning: the keys stay as they were, it is logged once, and what is put right is used again.
func TestDamagedWhileRunning(t *testing.T) {
	for _, name := range []string{"no manifest", "manifest cut", "manifest of keys", "another kid", "newer manifest"} {
		t.Run(name, func(t *testing.T) {
			b, _ := damaged(t, func(*bench) {})
			good := b.read("ring.json")
			damages[name].damage(b)
			for range 3 {
				b.advance(prepublish)
				b.ring.tick()
				b.sign()
				b.verifyAll(b.trusted, "our verifier")
			}
			if n := strings.Count(b.logged.String(), "they stay as they were"); n != 1 {
				t.Errorf("logged %d times: %s", n, b.logged)
			}
			if got := len(b.ring.Public()); got != 1 {
				t.Errorf("%d keys: the clock does not go on", got)
			}
			b.put("ring.json", good, 0o644)
			b.advance(retryAfter)
			b.ring.tick()
			b.rotate(Rotation{Now: true})
			b.ring.tick()
			if len(b.ring.Public()) != 2 {
				t.Error("the ring does not follow the folder any more")
			}
		})
	}
}

// TestRun: a running ring follows a verb, whoever uses it meanwhile, and ends with its context.
func TestRun(t *testing.T) {
	b := newBench(t)
	b.o.Now = nil
	b.open()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.ring.Run(ctx) }()
	old := b.ring.Active().Public()
	if err := b.folder().Rotate(Rotation{Now: true}); err != nil {
		t.Fatal(err)
	}
	v := verifier(b.ring.Public, time.Now)
	deadline := time.Now().Add(time.Minute)
	for b.ring.Active().Public() == old {
		raw, err := b.ring.Active().Sign(token.Claims{Issuer: "i", Audience: "s", Expires: time.Now().Add(lifetime)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(raw); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the ring does not follow")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
