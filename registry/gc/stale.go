package gc

import (
	"context"
	"errors"
	"fmt"
)

// ErrStale is why there is no cycle while the tree has names that the index does not know: what nothing needs is not known then.
var ErrStale = errors.New("the tree has a name that the index does not know, because distribution wrote to it, or the index was put back from a backup: " +
	"nothing is collected before the server was stopped and gatehouse adopt --again was run")

// current returns nil when the index knows all names of the tree. While a process has the index, the tree follows that, so it
// is looked at once, before the first step; and again after a scan has found in the tree what the index should have known.
func (c *Collector) current(ctx context.Context) error {
	if c.Newer == nil || c.knows {
		return nil
	}
	at, err := c.Newer(ctx)
	switch {
	case err != nil:
		return err
	case at != "":
		err = fmt.Errorf("%w (%s)", ErrStale, at)
		c.setStale(err)
		return err
	}
	c.knows = true
	c.setStale(nil)
	return nil
}

func (c *Collector) setStale(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = err
}

// Stale returns ErrStale, with a name, since a cycle has found that the index does not know all names of the tree.
func (c *Collector) Stale() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stale
}
