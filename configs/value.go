package configs

import "sync/atomic"

// Value is a setting that may change while the server runs: readers never wait, and see the old or the new value whole.
// The zero Value holds nothing yet.
type Value[T any] struct {
	p atomic.Pointer[T]
}

// NewValue returns a Value that holds v.
func NewValue[T any](v T) *Value[T] {
	n := new(Value[T])
	n.Store(v)
	return n
}

// Load returns the current value, or nil while none is known. The value must not be modified.
func (v *Value[T]) Load() *T { return v.p.Load() }

// Store replaces the value.
func (v *Value[T]) Store(t T) { v.p.Store(&t) }
