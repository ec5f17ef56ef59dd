package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// The data model. Keys are a letter for the kind and the parts of the name, with a zero byte before each part: no part can
// hold one, so keys of a kind sort by their parts, and what lies below some parts is one range. Values are JSON.
//
//	b digest                      blob        bytes that the store has, manifests included
//	l repository digest           link        the repository may serve this blob
//	m repository digest           manifest
//	t repository tag              tag         its current target
//	h repository tag sequence     history     every target it ever had, oldest first
//	g repository digest tag       (nothing)   the tags that point to a manifest
//	r digest repository manifest  (nothing)   the manifests that need a digest
//	s repository subject manifest (nothing)   the manifests that refer to a subject
//	n repository                  repository  has at least one manifest
//	a repository                  adopted     has been read from the tree
//	f number                      Finding     what was odd in the tree, the newest
//	o repository digest           (nothing)   a manifest of the tree that nobody here can read
//	u bytes repository holder     (nothing)   what needs bytes: a link's digest, "manifest", or "unread" for one of those
//	p repository digest           promise     a client was told of it
//	v class repository digest     Review      what nothing needs, and what becomes of it
//	q class time repository digest (nothing)  its place in the collector's queue
//	e sequence                    Event       what followers have not seen to yet
//	x name                        meta        "format", "sequence", "adoption"
const (
	kindBlob       = 'b'
	kindLink       = 'l'
	kindManifest   = 'm'
	kindTag        = 't'
	kindHistory    = 'h'
	kindTagged     = 'g'
	kindReference  = 'r'
	kindReferrer   = 's'
	kindRepository = 'n'
	kindAdopted    = 'a'
	kindFinding    = 'f'
	kindUnread     = 'o'
	kindHolder     = 'u'
	kindPromise    = 'p'
	kindReview     = 'v'
	kindPlace      = 'q'
	kindEvent      = 'e'
	kindMeta       = 'x'
)

var (
	formatKey   = key(kindMeta, "format")
	sequenceKey = key(kindMeta, "sequence")
)

// blobRecord is of bytes. Number is the index's own when they were condemned, and a new one when they began to be deleted.
type blobRecord struct {
	Size   int64     `json:"size"`
	Since  time.Time `json:"since"`
	State  State     `json:"state,omitempty"`
	At     time.Time `json:"at,omitzero"` // of the state
	Number string    `json:"number,omitempty"`
	Former Former    `json:"former,omitzero"`
}

// linkRecord repeats the blob's size, so that serving a blob takes one look-up. Stored is the digest under which the store has
// the bytes, where it is another one: distribution keeps what was pushed as sha512 under its sha256.
type linkRecord struct {
	Size   int64         `json:"size"`
	Since  time.Time     `json:"since"`
	Stored digest.Digest `json:"stored,omitempty"`
}

type repositoryRecord struct {
	Since time.Time `json:"since"`
}

type tagRecord struct {
	Digest digest.Digest `json:"digest"`
	At     time.Time     `json:"at"`
	By     string        `json:"by,omitempty"`
}

// Moved is one entry of a tag's history: at a time, by an account, the tag came to point to a digest, or to nothing.
type Moved struct {
	To   digest.Digest `json:"to,omitempty"`
	From digest.Digest `json:"from,omitempty"`
	At   time.Time     `json:"at"`
	By   string        `json:"by,omitempty"`
}

// Manifest is what the index keeps of a manifest of a repository.
type Manifest struct {
	Digest       digest.Digest     `json:"-"`
	MediaType    string            `json:"mediaType"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Subject      digest.Digest     `json:"subject,omitempty"`
	Blobs        []digest.Digest   `json:"blobs,omitempty"`     // config and layers
	Foreign      []digest.Digest   `json:"foreign,omitempty"`   // layers that need not be here; one that is stays
	Manifests    []digest.Digest   `json:"manifests,omitempty"` // children of an index
	Optional     []digest.Digest   `json:"-"`                   // those of Manifests that may be missing when it is put
	PushedAt     time.Time         `json:"pushedAt"`
	PushedBy     string            `json:"pushedBy,omitempty"`
}

// key builds the key of a record. With a last part of "" it is the prefix of all keys below the parts before.
func key(kind byte, parts ...string) []byte {
	n := 1
	for _, p := range parts {
		n += 1 + len(p)
	}
	k := make([]byte, 1, n)
	k[0] = kind
	for _, p := range parts {
		k = append(append(k, 0), p...)
	}
	return k
}

// lastPart returns the last part of a key.
func lastPart(k []byte) string { return string(k[bytes.LastIndexByte(k, 0)+1:]) }

// firstPart returns the first part of a key.
func firstPart(k []byte) string {
	part, _, _ := bytes.Cut(k[2:], []byte{0})
	return string(part)
}

// get reads the record at k into a T. A record that cannot be read is an error, never an absence.
func get[T any](r kv.Reader, k []byte) (T, error) {
	var record T
	v, err := r.Get(k)
	if err != nil {
		return record, err
	}
	return record, decode(k, v, &record)
}

func decode(k, v []byte, record any) error {
	if err := json.Unmarshal(v, record); err != nil {
		return fmt.Errorf("the index is damaged at %q: %w", k, err)
	}
	return nil
}

// has reports whether there is a record at k.
func has(r kv.Reader, k []byte) (bool, error) {
	_, err := r.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// must returns meaning when there is no record at k. An error of the look-up itself is never taken for an absence.
func must(r kv.Reader, k []byte, meaning error) error {
	_, err := r.Get(k)
	return unknown(err, meaning)
}

// anyBelow returns the first key that begins with prefix, or nil.
func anyBelow(r kv.Reader, prefix []byte) ([]byte, error) { return anyIn(r, prefix, kv.End(prefix)) }

// anyIn returns the first key in [from, to), or nil.
func anyIn(r kv.Reader, from, to []byte) ([]byte, error) {
	for p, err := range r.Scan(from, to) {
		return p.Key, err
	}
	return nil, nil
}

// put writes a record.
func (t *tx) put(k []byte, record any) error {
	v, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write the record at %q: %w", k, err)
	}
	return t.w.Put(k, v)
}

// unknown turns a missing record into what that means to the caller.
func unknown(err, meaning error) error {
	if errors.Is(err, kv.ErrNotFound) {
		return meaning
	}
	return err
}
