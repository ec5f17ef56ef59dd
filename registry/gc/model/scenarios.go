package model

// The contents of most scenarios: a layer that two images share.
const (
	layer uint8 = iota
	image1
	image2
)

var sharedLayer = []Content{
	layer:  {Name: "layer", Subject: none},
	image1: {Name: "image1", Manifest: true, Needs: []uint8{layer}, Subject: none},
	image2: {Name: "image2", Manifest: true, Needs: []uint8{layer}, Subject: none},
}

// An index in an index, with a signature of what is in it.
const (
	nestedLayer uint8 = iota
	child
	inner
	outer
)

var nested = []Content{
	nestedLayer: {Name: "layer", Subject: none},
	child:       {Name: "child", Manifest: true, Needs: []uint8{nestedLayer}, Subject: none},
	inner:       {Name: "inner", Manifest: true, Needs: []uint8{child}, Subject: none},
	outer:       {Name: "outer", Manifest: true, Needs: []uint8{inner}, Subject: none},
}

// A subject, what refers to it, and what refers to that or names it.
const (
	subject uint8 = iota
	signature
	bundle
	countersignature
)

var signed = []Content{
	subject:          {Name: "subject", Manifest: true, Subject: none},
	signature:        {Name: "signature", Manifest: true, Subject: int8(subject)},
	bundle:           {Name: "bundle", Manifest: true, Needs: []uint8{signature}, Subject: none},
	countersignature: {Name: "countersignature", Manifest: true, Subject: int8(signature)},
}

// Scenarios returns all of them.
func Scenarios() []*Scenario {
	old1 := Image{Repo: 0, Items: []uint8{layer, image1}, Tag: true}
	push1 := Plan{Repo: 0, Items: []uint8{layer, image1}, Tag: true, From: none, Times: 1}
	mount2 := Plan{Repo: 1, Items: []uint8{layer, image2}, Tag: true, From: 0, Times: 1}
	push2 := Plan{Repo: 0, Items: []uint8{layer, image2}, Tag: true, From: none, Times: 1}
	return []*Scenario{
		{ // an image goes while another one, with its layer, is pushed to another repository
			Name: "mount", Grace: 2, Quarantine: 1, Contents: sharedLayer, Repos: 2, Least: 380_000,
			Start: []Image{old1}, Plans: []Plan{mount2}, Deletions: 2, Unlinks: true, Kills: 1, Scan: true, Gap: true,
		},
		{ // the same, while the first is pushed again
			Name: "two pushers", Grace: 2, Quarantine: 1, Contents: sharedLayer, Repos: 2, Least: 115_000,
			Start: []Image{old1}, Plans: []Plan{mount2, push1}, Deletions: 1, Kills: 0,
		},
		{ // two images with one tag, and somebody who reads them
			Name: "one tag", Grace: 2, Quarantine: 1, Contents: sharedLayer, Repos: 1, Least: 120_000,
			Start: []Image{old1}, Plans: []Plan{push2, push1}, Deletions: 1, Readers: true,
		},
		{ // a bucket that does not answer
			Name: "late deletions", Grace: 2, Quarantine: 1, Contents: sharedLayer[:2], Repos: 1, Least: 250_000,
			Start: []Image{old1}, Plans: []Plan{push1}, Deletions: 2, Unlinks: true, Kills: 1, Outages: 2, S3: true, Scan: true,
		},
		{ // the tree follows step by step
			Name: "tree", Grace: 2, Quarantine: 1, Contents: sharedLayer[:2], Repos: 1, Least: 140_000,
			Start: []Image{old1}, Plans: []Plan{push1}, Deletions: 2, Unlinks: true, Kills: 1, Tree: StepTree,
		},
		{ // bytes that nobody entered
			Name: "strays", Grace: 2, Quarantine: 1, Contents: sharedLayer[:2], Repos: 1, Least: 25_000,
			Plans: []Plan{push1}, Kills: 2, Scan: true, Gap: true,
		},
		{
			Name: "two collectors", Grace: 2, Quarantine: 1, Contents: sharedLayer[:2], Repos: 1, Least: 11_000,
			Start: []Image{old1}, Plans: []Plan{push1}, Deletions: 2, Unlinks: true, Second: true, Gap: true,
		},
		{ // indexes in indexes
			Name: "nested", Grace: 2, Quarantine: 1, Contents: nested, Repos: 1, Least: 520_000,
			Start:     []Image{{Items: []uint8{nestedLayer, child, inner, outer}, Tag: true}},
			Plans:     []Plan{{Items: []uint8{nestedLayer, child, inner, outer}, Tag: true, From: none, Times: 1}},
			Deletions: 1, Kills: 1,
		},
		{ // signatures live and die with their subjects; the quarantine is shorter than half the grace time
			Name: "signatures", Grace: 4, Quarantine: 1, Contents: signed, Repos: 1, Least: 275_000,
			Start: []Image{{Items: []uint8{subject}}},
			Plans: []Plan{
				{Items: []uint8{signature, bundle}, Tag: true, From: none, Times: 1},
				{Items: []uint8{subject, countersignature}, From: none, Times: 1},
			},
			Deletions: 1,
		},
		{ // what needs what cannot be read, now and then
			Name: "errors", Grace: 2, Quarantine: 1, Contents: sharedLayer, Repos: 2, Least: 6_000,
			Start: []Image{old1, {Repo: 1, Items: []uint8{layer, image2}, Tag: true}}, Deletions: 2, Unlinks: true, Kills: 1, Outages: 2, Gap: true,
		},
	}
}
