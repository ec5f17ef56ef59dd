package main

import (
	"fmt"
	"time"
)

// actors are the clients: how many of each there are on two cores, and what one does again and again. Each rests between.
var actors = []struct {
	name  string
	n     int
	every time.Duration
	act   func(*client)
}{
	{"pusher", 4, 60 * time.Millisecond, pusher},
	{"puller", 4, 30 * time.Millisecond, puller},
	{"deleter", 2, 60 * time.Millisecond, deleter},
	{"retagger", 1, 100 * time.Millisecond, retagger},
	{"mounter", 1, 80 * time.Millisecond, mounter},
	{"slow", 4, 50 * time.Millisecond, slowPusher},
	{"canceller", 1, 100 * time.Millisecond, canceller},
	{"keeper", 4, 50 * time.Millisecond, keeper},
	{"reader", 3, 50 * time.Millisecond, reader},
}

// pusher pushes images and indexes that others push too, to tags that others use too, now and then without a tag.
func pusher(c *client) {
	repo, tag := pick(c.rand, c.pool.repos), pick(c.rand, c.pool.tags)
	if c.rand.IntN(5) == 0 {
		tag = ""
	}
	c.push(repo, tag, pick(c.rand, c.pool.images), c.usual())
}

// puller pulls by tag, or by the digest of what was pushed lately, which may have no tag any more.
func puller(c *client) {
	repo := pick(c.rand, c.pool.repos)
	reference := pick(c.rand, c.pool.tags)
	if lately := c.lately(c.rand, repo); lately != nil && c.rand.IntN(3) == 0 {
		reference = lately.digest
	}
	c.pull(repo, reference)
}

// reader pushes an image without a tag, reads its manifest when the collector is about to take it, or when nobody has used its
// blobs for long and it deletes it itself, and comes back for the blobs a little later (I4).
func reader(c *client) {
	repo := pick(c.rand, c.pool.repos)
	i := newImage(c.pool.some(c.rand), fmt.Sprintf("%s-%d", c.name, c.history.now().Microseconds()), nil)
	deletes := c.rand.IntN(2) == 0
	tag := ""
	if deletes {
		tag = i.digest[len("sha256:"):][:16]
	}
	if a := c.push(repo, tag, i, haste{ask: true}); a.outcome != done {
		c.untag(repo, i.digest[len("sha256:"):][:16])
		return
	}
	c.sleep(grace + time.Duration(c.rand.Int64N(int64(interval))))
	a := c.manifest(repo, i.digest)
	if a.outcome != done {
		return
	}
	if deletes {
		c.ask(op{kind: deleteManifest, repo: repo, digest: i.digest}, "DELETE", "/v2/"+repo+"/manifests/"+i.digest, nil)
	}
	c.sleep(quarantine * 7 / 10)
	c.pullBelow(a, a)
}

// deleter deletes tags, manifests and blobs.
func deleter(c *client) {
	repo := pick(c.rand, c.pool.repos)
	switch c.rand.IntN(10) {
	case 0:
		d := pick(c.rand, c.pool.blobs).digest
		c.ask(op{kind: deleteBlob, repo: repo, digest: d}, "DELETE", "/v2/"+repo+"/blobs/"+d, nil)
	case 1, 2, 3:
		if i := c.lately(c.rand, repo); i != nil {
			c.ask(op{kind: deleteManifest, repo: repo, digest: i.digest}, "DELETE", "/v2/"+repo+"/manifests/"+i.digest, nil)
		}
	default:
		c.untag(repo, pick(c.rand, c.pool.tags))
	}
}

func (c *client) untag(repo, tag string) answer {
	return c.ask(op{kind: deleteTag, repo: repo, tag: tag}, "DELETE", "/v2/"+repo+"/manifests/"+tag, nil)
}

// retagger points a tag to what another one points to, or to what lately had one. What a manifest needs is there as long as the
// quarantine from the moment when it was read (I4), so nothing but that has to be pushed.
func retagger(c *client) {
	repo := pick(c.rand, c.pool.repos)
	reference := pick(c.rand, c.pool.tags)
	if i := c.lately(c.rand, repo); i != nil && c.rand.IntN(2) == 0 {
		reference = i.digest
	}
	a := c.manifest(repo, reference)
	i := c.pool.byName[a.digest]
	if a.outcome != done || i == nil {
		return
	}
	told := promises{}
	i.needs(func(digest string) {
		if digest != i.digest {
			told[digest] = a.start + quarantine - grace/2 // judged as a promise that ends with the quarantine
		}
	})
	c.put(repo, pick(c.rand, c.pool.tags), i, told)
}

// mounter mounts blobs that it was just told another repository has, and pushes a manifest of them.
func mounter(c *client) {
	from, repo := pick(c.rand, c.pool.repos), pick(c.rand, c.pool.repos)
	i := pick(c.rand, c.pool.images)
	if len(i.children) > 0 {
		return
	}
	told := promises{}
	for _, b := range i.blobs {
		head := c.ask(op{kind: headBlob, repo: from, digest: b.digest}, "HEAD", "/v2/"+from+"/blobs/"+b.digest, nil)
		a := c.mount(repo, from, b)
		switch {
		case a.outcome != done:
			return
		case a.status == 201:
			told[b.digest] = a.start
		case head.outcome == done && a.end <= head.start+grace/2 && !c.deleted(from, b.digest, head.start, a.end):
			c.verdict.violate(violation{class: broken, repo: from, names: []string{b.digest}, at: a.end, text: "I3: promised, and not there to be mounted"})
			return
		default:
			if !c.upload(repo, a.header.Get("Location"), b, told) {
				return
			}
		}
	}
	c.put(repo, pick(c.rand, c.pool.tags), i, told)
}

// slowPusher takes its time between the blobs and the manifest: less than half the grace, which it may, or more, which may cost
// it a refusal. Now and then it asks, or sends, a second time when the first promise is nearly over.
func slowPusher(c *client) {
	repo, tag := pick(c.rand, c.pool.repos), pick(c.rand, c.pool.tags)
	i := pick(c.rand, c.pool.images)
	h := c.usual()
	h.skip = false
	part := func(from, to float64) time.Duration {
		return time.Duration((from + (to-from)*c.rand.Float64()) * float64(grace))
	}
	h.wait = func(told promises) {
		if c.rand.IntN(3) > 0 {
			c.sleep(part(0.55, 1.0))
			again := haste{ask: c.rand.IntN(2) == 0, mount: c.rand.IntN(4) == 0}
			for _, b := range i.blobs {
				c.provide(repo, b, again, told)
			}
			for _, child := range i.children {
				c.pushChild(repo, child, again, told)
			}
		}
		if c.rand.IntN(5) == 0 {
			c.sleep(part(0.5, 1.5))
		} else {
			c.sleep(part(0.3, 0.47))
		}
	}
	c.push(repo, tag, i, h)
}

// canceller begins uploads and cancels them, or leaves them, for a purge to find.
func canceller(c *client) {
	repo := pick(c.rand, c.pool.repos)
	b := pick(c.rand, c.pool.blobs)
	a := c.ask(op{kind: session, repo: repo}, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	if a.outcome != done {
		return
	}
	if a = c.ask(op{kind: session, repo: repo}, "PATCH", a.header.Get("Location"), b.bytes[:len(b.bytes)/2]); a.outcome != done {
		return
	}
	if c.rand.IntN(2) == 0 {
		c.ask(op{kind: session, repo: repo}, "DELETE", a.header.Get("Location"), nil)
	}
}
