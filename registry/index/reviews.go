package index

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/index/kv"
)

// Class says what a review looks at. Each class is a queue of its own, in the order of time.
type Class string

// The classes. What enters one waits there as long as the collector's Policy says of the class.
const (
	Unreferenced Class = "unreferenced" // a link that no manifest of its repository needs
	Untagged     Class = "untagged"     // a manifest with no tag, no index above it and no subject in its repository
	Orphaned     Class = "orphaned"     // an untagged manifest whose subject was in the repository and has gone
	Condemned    Class = "condemned"    // bytes that no repository holds, in quarantine
	Deleting     Class = "deleting"     // bytes that are being deleted
	Gone         Class = "gone"         // bytes that were deleted, remembered until nothing can confuse them with new ones
)

// classes are all of them, in the order in which one leads to the next.
var classes = []Class{Orphaned, Untagged, Unreferenced, Condemned, Deleting, Gone}

// Review is an entry of the queue: something that nothing needs, and since when. It is written and removed in the transactions
// that change what needs what, so that exactly the links and manifests that nothing needs are in the queue.
type Review struct {
	Class      Class         `json:"-"`
	Repository string        `json:"-"` // "" for bytes
	Digest     digest.Digest `json:"-"`
	At         time.Time     `json:"at"` // its place in the queue: from then on it waits
	Reason     string        `json:"reason,omitempty"`
}

// reviewKey is the key of an item's review, placeKey that of its place in the queue.
func (v Review) reviewKey() []byte {
	return key(kindReview, string(v.Class), v.Repository, string(v.Digest))
}

func (v Review) placeKey() []byte {
	return key(kindPlace, string(v.Class), placeOf(v.At), v.Repository, string(v.Digest))
}

// placeOf returns a time in a form that sorts by time, to the nanosecond. What lies before 1970 is 1970.
func placeOf(at time.Time) string { return fmt.Sprintf("%016x", max(0, at.UnixNano())) }

// queue puts an item into the queue, or at another place of it.
func (t *tx) queue(v Review) error {
	if err := t.unqueue(v.Class, v.Repository, v.Digest); err != nil {
		return err
	}
	v.At = time.Unix(0, max(0, v.At.UnixNano())).UTC()
	if err := t.w.Put(v.placeKey(), nil); err != nil {
		return err
	}
	return t.put(v.reviewKey(), v)
}

// unqueue takes an item out of the queue, if it is there.
func (t *tx) unqueue(class Class, repo string, dgst digest.Digest) error {
	v, found, err := queued(t.w, class, repo, dgst)
	if err != nil || !found {
		return err
	}
	if err := t.w.Delete(v.placeKey()); err != nil {
		return err
	}
	return t.w.Delete(v.reviewKey())
}

// queued returns the review of an item, if it is in the queue.
func queued(r kv.Reader, class Class, repo string, dgst digest.Digest) (v Review, found bool, err error) {
	v = Review{Class: class, Repository: repo, Digest: dgst}
	b, err := r.Get(v.reviewKey())
	if errors.Is(err, kv.ErrNotFound) {
		return v, false, nil
	}
	if err == nil {
		err = decode(v.reviewKey(), b, &v)
	}
	return v, err == nil, err
}

// parsePlace returns the item at a place of the queue.
func parsePlace(k []byte) (v Review, err error) {
	parts := bytes.Split(k[1:], []byte{0})
	if len(parts) != 5 {
		return v, fmt.Errorf("the index is damaged at %q: it is no place in the queue", k)
	}
	nano, err := strconv.ParseInt(string(parts[2]), 16, 64)
	if err != nil {
		return v, fmt.Errorf("the index is damaged at %q: %w", k, err)
	}
	return Review{
		Class: Class(parts[1]), At: time.Unix(0, nano).UTC(), Repository: string(parts[3]), Digest: digest.Digest(parts[4]),
	}, nil
}

// first returns the reviews of a class, the oldest first, up to a time, at most n of them; without their reasons.
func first(r kv.Reader, class Class, until time.Time, n int) (list []Review, err error) {
	prefix := key(kindPlace, string(class), "")
	end := append(append([]byte{}, prefix...), placeOf(until)...)
	for p, err := range r.Scan(prefix, kv.End(end)) {
		if err != nil || len(list) == n {
			return list, err
		}
		v, err := parsePlace(p.Key)
		if err != nil {
			return list, err
		}
		list = append(list, v)
	}
	return list, nil
}
