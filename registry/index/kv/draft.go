package kv

import (
	"errors"
	"iter"

	"github.com/tidwall/btree"
)

// Draft is a Writer whose writes nobody else sees and nothing keeps: for finding out what would come of changes. It reads
// what it is over where it has not written. It is for one goroutine, and for as long as the Reader under it is.
type Draft struct {
	base   Reader
	writes btree.Map[string, draftWrite]
}

type draftWrite struct {
	value   []byte
	deleted bool
}

// NewDraft returns a Draft over base.
func NewDraft(base Reader) *Draft { return &Draft{base: base} }

// Put is Writer's.
func (d *Draft) Put(key, value []byte) error {
	if len(key) == 0 {
		return errors.New("a key must not be empty")
	}
	d.writes.Set(string(key), draftWrite{value: append([]byte{}, value...)})
	return nil
}

// Delete is Writer's.
func (d *Draft) Delete(key []byte) error {
	d.writes.Set(string(key), draftWrite{deleted: true})
	return nil
}

// Get is Reader's.
func (d *Draft) Get(key []byte) ([]byte, error) {
	w, ok := d.writes.Get(string(key))
	switch {
	case !ok:
		return d.base.Get(key)
	case w.deleted:
		return nil, ErrNotFound
	}
	return w.value, nil
}

// Scan is Reader's.
func (d *Draft) Scan(from, to []byte) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		own := d.own(from, to)
		for p, err := range d.base.Scan(from, to) {
			if err != nil {
				yield(p, err)
				return
			}
			hidden := false
			for own.more && own.key() <= string(p.Key) && !hidden {
				hidden = own.key() == string(p.Key)
				if !own.emit(yield) {
					return
				}
			}
			if !hidden && !yield(p, nil) {
				return
			}
		}
		for own.more {
			if !own.emit(yield) {
				return
			}
		}
	}
}

// Written reads only what was written to the draft.
func (d *Draft) Written() Reader { return &Draft{base: nothing{}, writes: *d.writes.Copy()} }

// nothing is a Reader of nothing.
type nothing struct{}

func (nothing) Get([]byte) ([]byte, error)                 { return nil, ErrNotFound }
func (nothing) Scan([]byte, []byte) iter.Seq2[Pair, error] { return func(func(Pair, error) bool) {} }

// writes goes through the writes of a draft, as they were when it began.
type writes struct {
	at   btree.MapIter[string, draftWrite]
	to   []byte
	more bool
}

func (d *Draft) own(from, to []byte) *writes {
	o := &writes{at: d.writes.Copy().Iter(), to: to}
	o.within(o.at.Seek(string(from)))
	return o
}

func (o *writes) within(more bool) { o.more = more && (o.to == nil || o.at.Key() < string(o.to)) }

func (o *writes) key() string { return o.at.Key() }

// emit yields a write that is not a deletion, and goes on to the next.
func (o *writes) emit(yield func(Pair, error) bool) bool {
	w := o.at.Value()
	goOn := w.deleted || yield(Pair{Key: []byte(o.at.Key()), Value: w.value}, nil)
	o.within(o.at.Next())
	return goOn
}
