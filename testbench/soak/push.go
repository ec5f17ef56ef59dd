package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// promises is what a client was told that a repository has: when it asked, by digest. From then on each holds for half the
// grace (I3).
type promises map[string]time.Duration

// haste is how a client pushes.
type haste struct {
	ask   bool // for each blob, before it is sent
	mount bool // what another repository may have
	skip  bool // leaves out a blob, as if it had been promised long ago
	// wait is called when all that the manifest needs is there.
	wait func(promises)
}

// usual is how most clients push most of the time.
func (c *client) usual() haste {
	return haste{ask: c.rand.IntN(5) > 0, mount: c.rand.IntN(3) == 0, skip: c.rand.IntN(40) == 0}
}

// push pushes an image as docker does: each blob that is not there, then the manifest; of an index its children first. With a tag
// of "" it is pushed by digest. It returns what came of the manifest; running when it did not get so far.
func (c *client) push(repo, tag string, i *image, h haste) answer {
	told := promises{}
	for _, child := range i.children {
		if !c.pushChild(repo, child, h, told) {
			return answer{op: op{outcome: running}}
		}
	}
	for n, b := range i.blobs {
		if h.skip && n == len(i.blobs)-1 {
			continue
		}
		if !c.provide(repo, b, h, told) {
			return answer{op: op{outcome: running}}
		}
	}
	if h.wait != nil {
		h.wait(told)
	}
	return c.put(repo, tag, i, told)
}

// pushChild makes sure that a repository has a child of an index.
func (c *client) pushChild(repo string, child *image, h haste, told promises) bool {
	if h.ask {
		a := c.ask(op{kind: headManifest, repo: repo, digest: child.digest}, "HEAD", "/v2/"+repo+"/manifests/"+child.digest, nil, accept)
		if a.outcome == done {
			told[child.digest] = a.start
			return true
		}
	}
	h.wait = nil
	a := c.push(repo, "", child, h)
	return c.sent(a, told)
}

// put pushes a manifest of which all that it needs was promised, and looks whether the promises were kept.
func (c *client) put(repo, tag string, i *image, told promises) answer {
	reference := tag
	if tag == "" {
		reference = i.digest
	}
	a := c.ask(op{kind: putManifest, repo: repo, tag: tag, digest: i.digest}, "PUT", "/v2/"+repo+"/manifests/"+reference, i.bytes, "Content-Type: "+i.mediaType)
	switch a.outcome {
	case done:
		c.remember(repo, i)
	case refused:
		c.judgeRefusal(a, i, told)
	}
	return a
}

// judgeRefusal looks whether a manifest was refused for want of something that was promised (I3), or for no reason at all.
func (c *client) judgeRefusal(a answer, i *image, told promises) {
	named := false
	i.needs(func(digest string) { named = named || strings.Contains(a.note, digest) })
	if !named || a.status != 400 && a.status != 404 {
		c.verdict.violate(violation{class: broken, repo: a.repo, names: []string{i.digest, a.tag}, at: a.end, text: "I3: a manifest was refused without a reason: " + a.note})
	}
	for digest, at := range told {
		if strings.Contains(a.note, digest) && a.end <= at+grace/2 && !c.deleted(a.repo, digest, at, a.end) {
			c.verdict.violate(violation{class: broken, repo: a.repo, names: []string{digest, a.digest}, at: a.end,
				text: fmt.Sprintf("I3: told at %.3f that it is there, refused at %.3f because it is not: %s", at.Seconds(), a.end.Seconds(), short(digest))})
		}
	}
}

// deleted reports whether a client may have taken a digest away from a repository in a time.
func (c *client) deleted(repo, digest string, from, to time.Duration) bool {
	return c.history.any(from, to, func(o op) bool {
		return o.repo == repo && o.digest == digest && (o.kind == deleteBlob || o.kind == deleteManifest)
	})
}

// provide makes sure that a repository has a blob, and enters when that was promised.
func (c *client) provide(repo string, b blob, h haste, told promises) bool {
	if h.ask {
		a := c.ask(op{kind: headBlob, repo: repo, digest: b.digest}, "HEAD", "/v2/"+repo+"/blobs/"+b.digest, nil)
		if a.outcome == done {
			told[b.digest] = a.start
			if size := a.header.Get("Content-Length"); size != strconv.Itoa(len(b.bytes)) {
				c.verdict.violate(violation{class: wrong, repo: repo, names: []string{b.digest}, at: a.end, text: "I11: the size is " + size})
			}
			return true
		}
		if a.outcome == unknown {
			return false
		}
	}
	to := "/v2/" + repo + "/blobs/uploads/"
	if h.mount {
		a := c.mount(repo, pick(c.rand, c.pool.repos), b)
		if a.outcome != done {
			return false
		}
		if a.status == 201 {
			told[b.digest] = a.start
			return true
		}
		return c.upload(repo, a.header.Get("Location"), b, told)
	}
	if c.rand.IntN(4) == 0 {
		return c.sent(c.ask(op{kind: upload, repo: repo, digest: b.digest}, "POST", to+"?digest="+b.digest, b.bytes), told)
	}
	a := c.ask(op{kind: session, repo: repo}, "POST", to, nil)
	return a.outcome == done && c.upload(repo, a.header.Get("Location"), b, told)
}

// mount asks for a blob of another repository: 201 when it was there, 202 with a Location to send it to when not.
func (c *client) mount(repo, from string, b blob) answer {
	return c.ask(op{kind: mount, repo: repo, digest: b.digest}, "POST", "/v2/"+repo+"/blobs/uploads/?mount="+b.digest+"&from="+from, nil)
}

// upload sends a blob to the Location of an upload, in up to three pieces.
func (c *client) upload(repo, to string, b blob, told promises) bool {
	rest := b.bytes
	for range c.rand.IntN(3) {
		n := c.rand.IntN(len(rest) + 1)
		a := c.ask(op{kind: session, repo: repo}, "PATCH", to, rest[:n], "Content-Type: application/octet-stream")
		if a.outcome != done {
			return false
		}
		to, rest = a.header.Get("Location"), rest[n:]
	}
	return c.sent(c.ask(op{kind: upload, repo: repo, digest: b.digest}, "PUT", to+"&digest="+b.digest, rest, "Content-Type: application/octet-stream"), told)
}

// sent enters the promise of a blob that was uploaded.
func (c *client) sent(a answer, told promises) bool {
	if a.outcome == done {
		told[a.digest] = a.start
	}
	return a.outcome == done
}
