package model

import (
	"fmt"
	"slices"
	"time"

	"gatehouse/registry/index"
	"gatehouse/registry/tree"
)

// compare compares all that can be seen of the real index with the model's state.
func (r *rig) compare(s *State) {
	r.Helper()
	ctx := r.Context()
	r.ok(r.index.Verify(ctx, func(record, problem string) { r.Errorf("index: %s: %s", record, problem) }))
	for in := range r.Repos {
		target := ""
		if m, err := r.index.Tagged(ctx, repo(in), "v1"); err == nil {
			target = string(m.Digest)
		} else if kindOf(err) != "unknown" {
			r.Fatal(err)
		}
		want := ""
		if s.Tags[in] > 0 {
			want = string(r.digest(s.Tags[in] - 1))
		}
		if target != want {
			r.Errorf("the tag of %s leads to %s, in the model to %s", repo(in), target, want)
		}
		for d := range uint8(len(r.Contents)) {
			err := error(nil)
			if r.Contents[d].Manifest {
				_, err = r.index.Manifest(ctx, repo(in), r.digest(d))
			} else {
				_, err = r.index.Blob(ctx, repo(in), r.digest(d))
			}
			if kind := kindOf(err); (kind == "") != s.Names[in][d].Has || kind != "" && kind != "unknown" {
				r.Errorf("%s: %v, there in the model: %v", r.name(in, d), err, s.Names[in][d].Has)
			}
		}
	}
	r.comparePromises(s)
	r.compareQueues(s)
	r.compareBlobs(s)
	r.compareOutbox(s)
}

// age is how old a time is, in ticks, and no more than where it makes no difference.
func (r *rig) age(at time.Time, most int8) int8 {
	age := r.clock.Sub(at)
	if age%tickTime != 0 {
		r.Errorf("a time that is no tick: %s", age)
	}
	return int8(min(age/tickTime, time.Duration(most)))
}

// comparePromises compares until when links are promised.
func (r *rig) comparePromises(s *State) {
	r.Helper()
	for d := range uint8(len(r.Contents)) {
		if r.Contents[d].Manifest {
			continue // a manifest that was pushed is promised without a record of it
		}
		e, err := r.index.Explain(r.Context(), r.policy, r.digest(d), "")
		r.ok(err)
		for _, use := range e.Uses {
			in := use.Repository[0] - 'a'
			last := r.age(use.Promised.Add(-r.policy.Grace), r.Grace)
			if n := s.Names[in][d]; !n.Has || n.Last != last {
				r.Errorf("%s was promised %d ticks ago, in the model %d (it is there: %v)", r.name(in, d), last, n.Last, n.Has)
			}
		}
	}
}

// compareQueues compares who is in which queue, and at which place.
func (r *rig) compareQueues(s *State) {
	r.Helper()
	reviews, err := r.later.Due(r.Context(), index.Policy{}, 1000)
	r.ok(err)
	var got, want []string
	most := map[index.Class]int8{index.Condemned: r.Quarantine, index.Gone: settling, index.Deleting: 0}
	for _, v := range reviews {
		limit, bytes := most[v.Class]
		if !bytes {
			limit = r.Grace
		}
		got = append(got, fmt.Sprintf("%s %s %s %d", v.Class, v.Repository, v.Digest, r.age(v.At, limit)))
	}
	add := func(v index.Review, age int8) {
		want = append(want, fmt.Sprintf("%s %s %s %d", v.Class, v.Repository, v.Digest, age))
	}
	for d := range uint8(len(r.Contents)) {
		for in := range r.Repos {
			n := s.Names[in][d]
			if n.Has && n.Queue != none {
				add(r.review(Unreferenced, in, d), n.Queue)
			}
			if n.Has && n.Orphan != none {
				add(r.review(Orphaned, in, d), n.Orphan)
			}
		}
		switch b := s.Blobs[d]; b.State {
		case Condemned:
			add(r.review(OfCondemned, 0, d), b.Age)
		case Gone:
			add(r.review(OfGone, 0, d), b.Age)
		case Deleting:
			add(index.Review{Class: index.Deleting, Digest: r.digest(d)}, 0)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.Errorf("the queues have %q, in the model %q", got, want)
	}
}

// compareBlobs compares the records of bytes.
func (r *rig) compareBlobs(s *State) {
	r.Helper()
	for d := range uint8(len(r.Contents)) {
		e, err := r.index.Explain(r.Context(), r.policy, r.digest(d), "")
		r.ok(err)
		got := BlobState(Unknown)
		if e.Known {
			got = map[index.State]BlobState{
				index.StateLive: Live, index.StateCondemned: Condemned, index.StateDeleting: Deleting, index.StateGone: Gone,
			}[e.State]
		}
		if want := s.Blobs[d].State; got != want {
			r.Errorf("%s is %s, in the model %s", r.Contents[d].Name, got, want)
		}
	}
}

// compareOutbox compares the events, and the tree where there are none.
func (r *rig) compareOutbox(s *State) {
	r.Helper()
	if r.Tree == NoTree {
		r.ok(r.projector().Drain(r.Context())) // nobody looks
		return
	}
	events, err := r.index.Events(r.Context(), 1000)
	r.ok(err)
	var got, want []string
	for _, e := range events {
		got = append(got, fmt.Sprint(e.Kind, e.Repository, e.Digest, e.Tag))
	}
	for o := s.Outbox; o != 0; o >>= 4 {
		e := index.Event{Kind: index.LinkChanged}
		if in, tag := tagOf(o & 15); tag {
			e = index.Event{Kind: index.TagChanged, Repository: repo(in), Tag: "v1"}
		} else {
			in, d := nameOf(o & 15)
			if e.Repository, e.Digest = repo(in), r.digest(d); r.Contents[d].Manifest {
				e.Kind = index.ManifestChanged
			}
		}
		want = append(want, fmt.Sprint(e.Kind, e.Repository, e.Digest, e.Tag))
	}
	if len(got) != len(want) {
		r.Errorf("the outbox has %q, in the model %q", got, want)
	}
	for i := range min(len(got), len(want)) {
		if events[i].Kind != index.TagChanged && got[i] != want[i] || events[i].Kind == index.TagChanged && events[i].Tag != "v1" {
			r.Errorf("event %d is %q, in the model %q", i, got[i], want[i])
		}
	}
	if r.Tree == WholeTree {
		r.compareTree(s)
	}
}

// compareTree compares the links in the tree.
func (r *rig) compareTree(s *State) {
	r.Helper()
	there := func(path string) bool {
		_, err := r.driver.Stat(r.Context(), path)
		return err == nil
	}
	for in := range r.Repos {
		if got, want := there(tree.TagCurrent(repo(in), "v1")), s.TreeTags[in] != 0; got != want {
			r.Errorf("the tree has the tag of %s: %v, in the model: %v", repo(in), got, want)
		}
		for d := range uint8(len(r.Contents)) {
			path := tree.Layer(repo(in), r.digest(d))
			if r.Contents[d].Manifest {
				path = tree.Revision(repo(in), r.digest(d))
			}
			want := s.TreeNames>>(nameEvent(in, d)-1)&1 == 1
			if got := there(path); got != want {
				r.Errorf("the tree has %s: %v, in the model: %v", r.name(in, d), got, want)
			}
		}
	}
}
