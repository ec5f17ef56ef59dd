package main

import (
	"fmt"
	"slices"
	"time"
)

// kept is a tag that only its keeper uses: what it was pushed with is there until the keeper deletes it.
type kept struct {
	repo, tag string
	image     *image
	referrers []*image // of the image, or of one before; they have no tags
}

// keeper pushes something of its own that is made of what all others push, delete and collect too; it looks at it for some time,
// with all that refers to it, and deletes it (I1).
func keeper(c *client) {
	k := kept{repo: pick(c.rand, c.pool.repos), tag: fmt.Sprintf("%s-%d", c.name, c.history.now().Microseconds())}
	k.image = newImage(c.pool.some(c.rand), k.tag, nil)
	if c.rand.IntN(3) == 0 {
		k.image = newIndex(c.pool.children(c.rand, len(c.pool.images)), k.tag)
	}
	h := c.usual()
	h.skip = false
	if a := c.push(k.repo, k.tag, k.image, h); a.outcome != done {
		c.untag(k.repo, k.tag) // it may be there
		return
	}
	subject := k.image
	for n := range c.rand.IntN(3) {
		r := newImage(c.pool.some(c.rand), fmt.Sprintf("%s-%d", k.tag, n), subject)
		if a := c.push(k.repo, "", r, h); a.outcome == done {
			k.referrers = append(k.referrers, r)
			if c.rand.IntN(2) == 0 {
				subject = r
			}
		}
	}
	for range 1 + c.rand.IntN(3) {
		if !c.rest(grace + 2*interval) {
			c.keep(k)
			return
		}
		c.look(k, map[string]bool{})
	}
	if c.rand.IntN(3) > 0 {
		c.untag(k.repo, k.tag)
	} else {
		c.ask(op{kind: deleteManifest, repo: k.repo, digest: k.image.digest}, "DELETE", "/v2/"+k.repo+"/manifests/"+k.image.digest, nil)
	}
}

// look pulls all of what is kept. It enters what it saw.
func (c *client) look(k kept, seen map[string]bool) {
	c.holds(k.repo, k.tag, k.image.digest, seen)
	for _, r := range k.referrers {
		c.holds(k.repo, r.digest, r.digest, seen)
		subject := r.subject()
		if list, ok := c.referrers(k.repo, subject); ok && !slices.Contains(list, r.digest) {
			c.verdict.violate(violation{class: lost, repo: k.repo, names: []string{r.digest, subject}, text: "I1: the referrers of " + short(subject) + " lack " + short(r.digest)})
		}
	}
}

// sleep waits so long, or until the soak ends.
func (c *client) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.over:
	}
}
