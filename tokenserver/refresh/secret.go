package refresh

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// A refresh token is Prefix, id, secret and checksum in one word, so that a double click takes all of it. The prefix and the
// checksum are for programmes that look for secrets where none should be; the checksum also tells a typing error from a token
// that is gone. The id is public. The secret is 260 random bits, and is nowhere but in the token.
const (
	// Prefix begins every refresh token.
	Prefix = "ghr_"
	// groupLength is how much of an id says in which folder it is: 1024 folders, so that one of them is quickly read.
	groupLength    = 2
	idLength       = groupLength + 14
	secretLength   = 52
	checksumLength = 7
	tokenLength    = len(Prefix) + idLength + secretLength + checksumLength
)

// alphabet is base32's (RFC 4648 section 6) in lower case: names of files that mean the same on every file system.
const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// newToken returns a new refresh token for an account, and its id.
func newToken(account string) (text, id string) {
	id = group(account) + strings.ToLower(rand.Text()[:idLength-groupLength])
	text = Prefix + id + strings.ToLower(rand.Text()+rand.Text())
	return text + checksum(text), id
}

// group is the folder of an account's tokens. It tells ten bits of who that is.
func group(account string) string {
	sum := sha256.Sum256([]byte(account))
	return encoding.EncodeToString(sum[:])[:groupLength]
}

// checksum is the CRC-32 (IEEE) of all that goes before it.
func checksum(text string) string {
	return encoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(text))))
}

// parse returns the id in a refresh token, or false for what newToken cannot have made.
func parse(text string) (id string, ok bool) {
	if len(text) != tokenLength || !strings.HasPrefix(text, Prefix) || strings.Trim(text[len(Prefix):], alphabet) != "" {
		return "", false
	}
	at := tokenLength - checksumLength
	if checksum(text[:at]) != text[at:] {
		return "", false
	}
	return text[len(Prefix):][:idLength], true
}

// ID returns the id that text is, or that the refresh token text has in it. It says nothing about whether there is such a token.
func ID(text string) (id string, ok bool) {
	if id, ok := parse(text); ok {
		return id, true
	}
	return text, len(text) == idLength && strings.Trim(text, alphabet) == ""
}

// hash is what is kept of a refresh token: with so many random bits in it nobody finds another that fits, however fast the
// function is.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encoding.EncodeToString(sum[:])
}
