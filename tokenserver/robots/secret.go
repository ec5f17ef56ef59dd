package robots

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

const (
	// secretPrefix tells people and scanners for leaked secrets what it is.
	secretPrefix = "ghb_"
	// secretBytes is how much of a secret is random: 160 bits. No slow hash is needed to keep that.
	secretBytes = 20
)

// letters writes secrets: no character that a shell, a URL or a double click cares about.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newSecret returns ghb_, 32 random letters, and 7 of the CRC-32 (IEEE) of all before.
func newSecret() string {
	var random [secretBytes]byte
	rand.Read(random[:])
	body := secretPrefix + letters.EncodeToString(random[:])
	return body + checksum(body)
}

func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return letters.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// wellFormed reports whether text has the form of a secret and its checksum is right, so that it is one but for a very unlikely
// chance, of whichever server.
func wellFormed(text string) bool {
	body := len(secretPrefix) + letters.EncodedLen(secretBytes)
	return strings.HasPrefix(text, secretPrefix) && len(text) == body+letters.EncodedLen(4) && text[body:] == checksum(text[:body])
}

// hashOf is what is kept of a secret.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
