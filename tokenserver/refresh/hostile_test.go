package refresh

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/tokenserver"
)

// forged is a text with a right checksum.
func forged(body string) string { return Prefix + body + checksum(Prefix+body) }

// TestForged: no text but the token itself is accepted, and none leads out of the folder.
func TestForged(t *testing.T) {
	root := t.TempDir()
	tokens := newTokens(t, filepath.Join(root, "refresh"), newClock(), nil)
	secret, id := issue(t, tokens, alice())
	accepts(t, tokens, secret)
	random := secret[len(Prefix)+idLength : tokenLength-checksumLength]
	other, otherID := newToken("alice")
	for name, text := range map[string]string{
		"nothing": "", "prefix alone": Prefix, "id alone": id, "without its prefix": secret[len(Prefix):],
		"cut": secret[:tokenLength-1], "longer": secret + "a", "twice": secret + secret, "huge": Prefix + strings.Repeat("a", 1<<20),
		"upper case": strings.ToUpper(secret), "prefix in upper case": "GHR_" + secret[len(Prefix):],
		"space before": " " + secret, "line break behind": secret + "\n",
		"NUL behind": secret + "\x00", "NUL within": strings.Replace(secret, random[:1], "\x00", 1),
		"path as id":      forged("../../../../etcp" + random),
		"slashes":         forged("aa/bb/cc/dd/eeff" + random),
		"dots":            forged("................" + random),
		"NUL in the id":   forged("aa\x00aaaaaaaaaaaaa" + random),
		"not ASCII":       forged("äöüäöüäö" + random),
		"unknown":         other,
		"another secret":  forged(id + other[len(Prefix)+idLength:tokenLength-checksumLength]),
		"another id":      forged(otherID + random),
		"the stored hash": forged(id + hash(secret)),
		"no secret":       forged(id + strings.Repeat("a", secretLength)),
	} {
		t.Run(name, func(t *testing.T) { refuses(t, tokens, text, service) })
	}
	for i := range len(secret) { // any one character changed: a typing error, found by the checksum alone
		changed := []byte(secret)
		if changed[i]++; i >= len(Prefix) && strings.IndexByte(alphabet, changed[i]) < 0 {
			changed[i] = 'a'
		}
		if _, _, err := tokens.Redeem(t.Context(), string(changed), service); !errors.Is(err, tokenserver.ErrNoRefreshToken) {
			t.Errorf("character %d changed: %v", i, err)
		}
	}
	if _, _, err := tokens.Redeem(t.Context(), other, service); err == nil || errors.Is(err, tokenserver.ErrNoRefreshToken) {
		t.Errorf("an unknown token is taken for a typing error: %v", err)
	}
	accepts(t, tokens, secret)
}

// TestRevokeOutside: an id that is a path removes nothing.
func TestRevokeOutside(t *testing.T) {
	root := t.TempDir()
	tokens := newTokens(t, filepath.Join(root, "refresh"), newClock(), nil)
	secret, id := issue(t, tokens, alice())
	outside := filepath.Join(root, "outside.json")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "a", "..", "../../../outside", "../../../../../x",
		"aa/../../outsid", id + "/", "./" + id, id[:len(id)-1], id + "\x00", secret} {
		if err := tokens.Revoke(text); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), secret) {
			t.Errorf("Revoke(%.30q): %v", text, err)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	accepts(t, tokens, secret)
	for text, want := range map[string]bool{secret: true, id: true, secret[:tokenLength-1]: false,
		"config.yml": false, "": false, "../config/abcdef": false} {
		if got, ok := ID(text); ok != want || want && got != id {
			t.Errorf("ID(%.30q) = %q, %v", text, got, ok)
		}
	}
}

// TestSwappedRecord: the record of one token under the name of another proves nobody.
func TestSwappedRecord(t *testing.T) {
	tokens := newTokens(t, t.TempDir(), newClock(), nil)
	secret, id := issue(t, tokens, alice())
	bobs, bobsID := issue(t, tokens, tokenserver.Identity{Account: "bob", Source: "htpasswd"})
	r, err := tokens.records(id[:groupLength]).Get(id)
	if err == nil {
		err = tokens.records(bobsID[:groupLength]).Put(bobsID, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, tokens, bobs, service)
	accepts(t, tokens, secret)
	// An emptied record has the hash of no secret.
	if err := os.WriteFile(filepath.Join(tokens.dir, "tokens", id[:groupLength], id+".json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, tokens, secret, service)
	refuses(t, tokens, secret, "")
}
