package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/testbench"
)

const day = 24 * time.Hour

// pairFiles are the two files of a test.
type pairFiles struct{ chain, key string }

func newPairFiles(t *testing.T) pairFiles {
	dir := t.TempDir()
	return pairFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

func (p pairFiles) write(t *testing.T, chain, key []byte) {
	t.Helper()
	writeFile(t, p.chain, chain)
	writeFile(t, p.key, key)
}

func TestFiles(t *testing.T) {
	ca, files := newIssuer(t), newPairFiles(t)
	now := time.Now()
	names := []string{"registry.example.com", "*.wild.example.com", "127.0.0.1", "::1"}
	chain, key := ca.issue(t, now.Add(-day), now.Add(90*day), names...)
	files.write(t, chain, key)
	_, log := newLogbook()
	f, err := NewFiles(files.chain, files.key, log)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Names(), []string{"registry.example.com", "127.0.0.1", "::1"}; !slices.Equal(got, want) {
		t.Errorf("names are %v, want %v", got, want)
	}
	f.Interval = time.Millisecond
	addr := serve(t, f, "127.0.0.1:0")
	run(t, f)
	testProvider(t, f, addr, ca.roots())

	// Handshakes while the pair is replaced again and again, one file after the other: never one that fails.
	trust := &tls.Config{RootCAs: ca.roots()}
	var clients sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := get(t.Context(), addr, "registry.example.com", trust); err != nil {
					t.Errorf("while the files change: %v", err)
					return
				}
			}
		})
	}
	for i := range 10 {
		end := now.Add(91*day + time.Duration(i)*day).Truncate(time.Second)
		chain, key := ca.issue(t, now.Add(-day), end, names...)
		files.write(t, chain, key)
		testbench.Eventually(t, testTimeout, "the new certificate", func() error {
			if !f.NotAfter().Equal(end) {
				return os.ErrDeadlineExceeded
			}
			return nil
		})
	}
	close(done)
	clients.Wait()
}

// TestFilesStart shows what keeps a server from starting, and that the reason names the files and tells what to do.
func TestFilesStart(t *testing.T) {
	ca := newIssuer(t)
	now := time.Now()
	chain, key := ca.issue(t, now.Add(-day), now.Add(day), "registry.example.com")
	otherChain, otherKey := ca.issue(t, now.Add(-day), now.Add(day), "registry.example.com")
	expired, expiredKey := ca.issue(t, now.Add(-2*day), now.Add(-day), "registry.example.com")
	nameless, namelessKey := ca.issue(t, now.Add(-day), now.Add(day))
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
	block, _ := pem.Decode(key)
	flipped := bytes.Clone(block.Bytes)
	flipped[4] ^= 1 // in the structure; a flip in the number itself makes another key, which does not match
	flippedNumber := bytes.Clone(block.Bytes)
	flippedNumber[40] ^= 1
	for _, test := range []struct {
		name       string
		chain, key []byte
		failure    string // empty: it starts
		logged     string
	}{
		{"good", chain, key, "", ""},
		{"with intermediates", slices.Concat(chain, caPEM), key, "", ""},
		{"certificate and key in both", slices.Concat(chain, key), slices.Concat(key, chain), "", ""},
		{"expired", expired, expiredKey, "", "certificate has expired"},
		{"no names", nameless, namelessKey, "", "no names"},
		{"no certificate file", nil, key, "no such file", ""},
		{"no key file", chain, nil, "no such file", ""},
		{"empty certificate", []byte{}, key, "empty", ""},
		{"empty key", chain, []byte{}, "empty", ""},
		{"other key", chain, otherKey, "does not match", ""},
		{"other certificate", otherChain, key, "does not match", ""},
		{"CA first", slices.Concat(caPEM, chain), key, "does not match", ""},
		{"swapped", key, chain, "PEM", ""},
		{"not PEM", []byte("hello"), key, "PEM", ""},
		{"cut certificate", chain[:len(chain)/2], key, "PEM", ""},
		{"cut key", chain, key[:len(key)/2], "PEM", ""},
		{"damaged key", chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: flipped}), "key", ""},
		{"flipped bit in key", chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: flippedNumber}), "does not match", ""},
		{"encrypted key", chain, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "key", ""},
		{"huge", make([]byte, maxPEM+1), key, "larger than", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := newPairFiles(t)
			if test.chain != nil {
				writeFile(t, files.chain, test.chain)
			}
			if test.key != nil {
				writeFile(t, files.key, test.key)
			}
			book, log := newLogbook()
			_, err := NewFiles(files.chain, files.key, log)
			if test.failure == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.failure) || !strings.Contains(err.Error(), files.chain) ||
				!strings.Contains(err.Error(), "http.tls.certificate must name") {
				t.Errorf("error %v, want one about %q", err, test.failure)
			}
			if test.logged == "" && book.String() != "" || !strings.Contains(book.String(), test.logged) {
				t.Errorf("log is %q, want %q", book, test.logged)
			}
			noSecret(t, key, book.String()+"\n"+errorText(err))
		})
	}
	t.Run("directory", func(t *testing.T) {
		_, log := newLogbook()
		if _, err := NewFiles(t.TempDir(), t.TempDir(), log); err == nil || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("error is %v", err)
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// noSecret checks that no line of the private key's PEM body is in text.
func noSecret(t *testing.T, key []byte, text string) {
	t.Helper()
	for line := range strings.Lines(string(key)) {
		if line = strings.TrimSpace(line); len(line) > 8 && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
			t.Errorf("the private key is in %q", text)
		}
	}
}

// served is what a handshake is answered with.
func served(t *testing.T, p Provider) *x509.Certificate {
	t.Helper()
	c, err := p.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: p.Names()[0]})
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

// advance lets the fake clock of a bubble run for d and all work that is due be done.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// TestFilesReload puts what may happen to files into them, one after the other, and looks at what is served and logged.
func TestFilesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, files := newIssuer(t), newPairFiles(t)
		now := time.Now()
		chain, key := ca.issue(t, now.Add(-day), now.Add(30*day), "first.example.com")
		next, nextKey := ca.issue(t, now.Add(-day), now.Add(60*day), "second.example.com")
		future, futureKey := ca.issue(t, now.Add(day), now.Add(90*day), "third.example.com")
		files.write(t, chain, key)
		book, log := newLogbook()
		f, err := NewFiles(files.chain, files.key, log)
		if err != nil {
			t.Fatal(err)
		}
		f.Interval = 10 * time.Minute // of two months
		run(t, f)
		refused := "cannot use the new certificate"
		for _, step := range []struct {
			what       string
			chain, key []byte // nil: the file is not there
			wait       time.Duration
			names      string
			refused    int // lines in the log by then
		}{
			{"nothing changed", chain, key, time.Hour, "first.example.com", 0},
			{"half replaced, seen once", next, key, f.Interval, "first.example.com", 0},
			{"whole again", next, nextKey, f.Interval, "second.example.com", 0},
			{"half replaced for long", chain, nextKey, time.Hour, "second.example.com", 1},
			{"the old one again", next, nextKey, f.Interval, "second.example.com", 1},
			{"half replaced for long again", chain, nextKey, time.Hour, "second.example.com", 2},
			{"gone", nil, nil, time.Hour, "second.example.com", 3},
			{"empty", []byte{}, []byte{}, time.Hour, "second.example.com", 4},
			{"not valid yet", future, futureKey, time.Hour, "second.example.com", 5},
			{"valid now", future, futureKey, day, "third.example.com", 5},
			{"back", chain, key, f.Interval, "first.example.com", 5},
		} {
			for path, content := range map[string][]byte{files.chain: step.chain, files.key: step.key} {
				if content != nil {
					writeFile(t, path, content)
				} else if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			advance(step.wait)
			leaf := served(t, f)
			if got := leaf.DNSNames[0]; got != step.names || !f.Covers(got) || f.Names()[0] != got || !f.NotAfter().Equal(leaf.NotAfter) {
				t.Errorf("%s: %s is served, names %v, want %s", step.what, got, f.Names(), step.names)
			}
			if got := book.count(refused); got != step.refused {
				t.Errorf("%s: refused %d times, want %d; the log:\n%s", step.what, got, step.refused, book)
			}
		}
		// Nobody replaces it: served beyond its end, and the log insists.
		advance(29 * day)
		if served(t, f).DNSNames[0] != "first.example.com" {
			t.Error("an expired certificate is not served any more")
		}
		if book.count("certificate expires soon") < 7 || book.count("certificate has expired") != 1 {
			t.Errorf("warnings are missing; the log:\n%s", book)
		}
		// What else is expired, but is there, is as good.
		files.write(t, next, nextKey)
		advance(31 * day)
		if served(t, f).DNSNames[0] != "second.example.com" {
			t.Error("the new certificate was not taken")
		}
		noSecret(t, slices.Concat(key, nextKey, futureKey), book.String())
	})
}
