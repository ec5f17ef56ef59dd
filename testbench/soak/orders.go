package main

import "strconv"

// place is a register: a tag of a repository, or whether a repository has a digest.
type place struct{ repo, name string }

// The presence of a digest is a register with this value, or with none.
const present = "present"

// registers sorts the history into the steps of each register: tags, which hold a digest (I12), and what a repository has,
// blobs and manifests apart, which the collector may take away at any time but nothing brings back (I5).
func registers(ops []op) (tags, blobs, manifests map[place][]step) {
	tags, blobs, manifests = map[place][]step{}, map[place][]step{}, map[place][]step{}
	deleted := map[place][]op{} // manifests, which may have had tags
	targets := map[place]map[string]bool{}
	for _, o := range ops {
		digest, tag := place{o.repo, o.digest}, place{o.repo, o.tag}
		s := step{start: o.start, end: o.end, unsure: o.outcome == unknown, op: o}
		effect := o.outcome == done || o.outcome == unknown
		add := func(to map[place][]step, p place, c change, value string) {
			s.change, s.value = c, value
			to[p] = append(to[p], s)
		}
		switch {
		case o.kind == putManifest && effect:
			add(manifests, digest, sets, present)
			if o.tag != "" {
				add(tags, tag, sets, o.digest)
				if targets[tag] == nil {
					targets[tag] = map[string]bool{}
				}
				targets[tag][o.digest] = true
			}
		case o.kind == deleteManifest && effect:
			add(manifests, digest, clears, "")
			deleted[digest] = append(deleted[digest], o)
		case o.kind == deleteTag && effect:
			add(tags, tag, clears, "")
		case o.kind == deleteTag && o.status == 404, o.kind == getTag && o.status == 404:
			add(tags, tag, reads, "")
		case o.kind == getTag && o.outcome == done:
			add(tags, tag, reads, o.digest)
		case (o.kind == getManifest || o.kind == headManifest) && o.outcome == done:
			add(manifests, digest, reads, present)
		case (o.kind == upload || o.kind == mount) && effect && o.status != 202:
			add(blobs, digest, sets, present)
		case o.kind == deleteBlob && effect:
			add(blobs, digest, clears, "")
		case (o.kind == headBlob || o.kind == getBlob) && o.outcome == done:
			add(blobs, digest, reads, present)
		}
	}
	for p, found := range targets {
		for d := range found {
			for _, o := range deleted[place{p.repo, d}] {
				tags[p] = append(tags[p], step{change: clearsV, value: d, start: o.start, end: o.end, unsure: o.outcome == unknown, op: o})
			}
		}
	}
	return tags, blobs, manifests
}

// judgeOrders looks whether each register's history has an order that explains it.
func judgeOrders(h *history, v *verdict) {
	tags, blobs, manifests := registers(h.all())
	for p, steps := range tags {
		if bad := linearize(steps, false); bad != nil {
			class := disorder
			if bad.op.kind == getTag && bad.value == "" {
				class = lost
			}
			v.violate(violation{class: class, repo: p.repo, names: []string{p.name, bad.op.digest}, at: bad.op.end,
				text: "I12: no order of what happened to the tag explains: " + bad.op.String()})
		}
	}
	for _, presence := range []map[place][]step{blobs, manifests} {
		for p, steps := range presence {
			if bad := linearize(steps, true); bad != nil {
				v.violate(violation{class: disorder, repo: p.repo, names: []string{p.name}, at: bad.op.end,
					text: "I5: it was deleted, and nobody pushed it since: " + bad.op.String()})
			}
		}
	}
	v.note("registers", strconv.Itoa(len(tags)+len(blobs)+len(manifests)))
}
