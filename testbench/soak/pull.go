package main

import (
	"encoding/json"
	"fmt"
)

// pull gets a manifest by tag or digest and all that it needs, as docker does, and looks whether all is there that must be.
func (c *client) pull(repo, reference string) {
	top := c.manifest(repo, reference)
	if top.outcome == done {
		c.pullBelow(top, top)
	}
}

// pullBelow gets what a manifest needs. top is what was read first, by tag or by digest.
func (c *client) pullBelow(top, parent answer) {
	var doc document
	if json.Unmarshal(parent.body, &doc) != nil {
		return // not the bytes that were pushed: verify has said so
	}
	for _, child := range doc.Manifests {
		a := c.manifest(parent.repo, child.Digest)
		switch a.outcome {
		case done:
			c.pullBelow(top, a)
		case refused:
			c.judgeMissing(top, parent, a)
		}
	}
	for _, digest := range doc.blobs() {
		if a := c.fetch(parent.repo, digest); a.outcome == refused {
			c.judgeMissing(top, parent, a)
		}
	}
}

// blobs returns the digests of configuration and layers.
func (doc document) blobs() (digests []string) {
	if doc.Config != nil {
		digests = append(digests, doc.Config.Digest)
	}
	for _, l := range doc.Layers {
		digests = append(digests, l.Digest)
	}
	return digests
}

// judgeMissing looks whether something had to be there that a manifest needs and that was not: as long as the tag points to the
// manifest (I2), and a while from the moment when the manifest was read (I4), unless somebody deleted the thing itself.
func (c *client) judgeMissing(top, parent, missing answer) {
	v := violation{repo: top.repo, names: []string{missing.digest, parent.digest, top.digest, top.tag}, at: missing.end}
	if top.tag != "" && !c.moved(top, missing) {
		v.class, v.text = lost, fmt.Sprintf("I2: tag %s points to what is not complete: no %s", top.tag, short(missing.digest))
		c.verdict.violate(v)
		return
	}
	if missing.end <= parent.start+quarantine && !c.deleted(top.repo, missing.digest, parent.start, missing.end) {
		v.class, v.text = broken, fmt.Sprintf("I4: %s was read at %.3f, and at %.3f %s was gone", short(parent.digest),
			parent.start.Seconds(), missing.end.Seconds(), short(missing.digest))
		c.verdict.violate(v)
	}
}

// moved reports whether a tag may have come to point elsewhere between two reads.
func (c *client) moved(top, later answer) bool {
	return c.history.any(top.start, later.end, func(o op) bool {
		switch {
		case o.repo != top.repo:
			return false
		case o.kind == putManifest, o.kind == deleteTag:
			return o.tag == top.tag && (o.kind == deleteTag || o.digest != top.digest)
		}
		return o.kind == deleteManifest && o.digest == top.digest
	})
}

// holds pulls something that must be there, every byte of it: nobody but the caller can have taken it away. want is the digest.
// It returns what was seen, by digest.
func (c *client) holds(repo, reference, want string, seen map[string]bool) {
	a := c.manifest(repo, reference)
	switch {
	case a.outcome == refused:
		c.lose(a, want, "")
	case a.outcome == done && digestOf(a.body) != want:
		c.lose(a, want, "it is "+short(digestOf(a.body)))
	case a.outcome == done:
		seen[want] = true
		c.holdsBelow(a, seen)
	}
}

func (c *client) holdsBelow(parent answer, seen map[string]bool) {
	var doc document
	if json.Unmarshal(parent.body, &doc) != nil {
		return
	}
	for _, child := range doc.Manifests {
		if !seen[parent.repo+child.Digest] {
			seen[parent.repo+child.Digest] = true
			c.holds(parent.repo, child.Digest, child.Digest, seen)
		}
	}
	for _, digest := range doc.blobs() {
		if a := c.fetch(parent.repo, digest); a.outcome == refused {
			c.lose(a, digest, "it is needed by "+short(digestOf(parent.body)))
		} else if a.outcome == done {
			seen[digest] = true
		}
	}
}

// lose says that something is not there that was acknowledged and never taken back.
func (c *client) lose(a answer, digest, why string) {
	c.verdict.violate(violation{class: lost, repo: a.repo, names: []string{digest, a.tag}, at: a.end,
		text: fmt.Sprintf("I1: %s %s was acknowledged, and is not there (%d): %s", a.tag, short(digest), a.status, why)})
}

// referrers returns the digests that refer to a manifest; false when there was no answer.
func (c *client) referrers(repo, subject string) (digests []string, ok bool) {
	a := c.ask(op{kind: referrers, repo: repo, digest: subject}, "GET", "/v2/"+repo+"/referrers/"+subject, nil)
	var doc document
	if a.outcome != done || json.Unmarshal(a.body, &doc) != nil {
		return nil, false
	}
	for _, m := range doc.Manifests {
		digests = append(digests, m.Digest)
	}
	return digests, true
}
