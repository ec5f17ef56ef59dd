package drivertest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"gatehouse/registry/driver"
)

// Counter is a driver that counts the operations that another one is asked for: the calls of its methods but Name and Close,
// and a Writer's Commit. Reading and writing what is open are none. It returns that driver's Files, so that the kernel still
// sends them.
type Counter struct {
	driver.Driver

	mu     sync.Mutex
	counts map[string]int // by method; guarded by mu
}

// Count returns a Counter of d.
func Count(d driver.Driver) *Counter {
	return &Counter{Driver: d, counts: make(map[string]int)}
}

func (c *Counter) count(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[method]++
}

// Total returns how many operations there were since the last Reset.
func (c *Counter) Total() (n int) {
	for _, k := range c.Counts() {
		n += k
	}
	return n
}

// Counts returns how many operations there were of each method, by its name, since the last Reset.
func (c *Counter) Counts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// String is for messages: "Open 2, Stat 1".
func (c *Counter) String() string {
	counts := c.Counts()
	var b strings.Builder
	for i, method := range slices.Sorted(maps.Keys(counts)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, method, " ", counts[method])
	}
	return b.String()
}

// Reset starts counting anew.
func (c *Counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.counts)
}

// Open counts one "Open".
func (c *Counter) Open(ctx context.Context, path string) (driver.File, error) {
	c.count("Open")
	return c.Driver.Open(ctx, path)
}

// ReadFile counts one "ReadFile".
func (c *Counter) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	c.count("ReadFile")
	return c.Driver.ReadFile(ctx, path, limit)
}

// WriteFile counts one "WriteFile".
func (c *Counter) WriteFile(ctx context.Context, path string, data []byte) error {
	c.count("WriteFile")
	return c.Driver.WriteFile(ctx, path, data)
}

// Append counts one "Append", and later one "Commit".
func (c *Counter) Append(ctx context.Context, path string, offset int64) (driver.Writer, error) {
	c.count("Append")
	w, err := c.Driver.Append(ctx, path, offset)
	if err != nil {
		return nil, err
	}
	return countedWriter{w, c}, nil
}

type countedWriter struct {
	driver.Writer
	counter *Counter
}

func (w countedWriter) Commit(ctx context.Context) error {
	w.counter.count("Commit")
	return w.Writer.Commit(ctx)
}

// Stat counts one "Stat".
func (c *Counter) Stat(ctx context.Context, path string) (driver.Info, error) {
	c.count("Stat")
	return c.Driver.Stat(ctx, path)
}

// Move counts one "Move".
func (c *Counter) Move(ctx context.Context, from, to string) error {
	c.count("Move")
	return c.Driver.Move(ctx, from, to)
}

// Delete counts one "Delete".
func (c *Counter) Delete(ctx context.Context, path string) error {
	c.count("Delete")
	return c.Driver.Delete(ctx, path)
}

// List counts one "List" when it is ranged over.
func (c *Counter) List(ctx context.Context, path string) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		c.count("List")
		c.Driver.List(ctx, path)(yield)
	}
}
