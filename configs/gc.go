package configs

import (
	"strings"
	"time"
)

// GC is the collector: it deletes what nothing needs, while the server runs. 0s is allowed for every duration and means at
// once.
type GC struct {
	// Enabled runs the collector by itself. Default true. Without it nothing is deleted from the storage but by a verb.
	Enabled bool `yaml:"enabled"`
	// Interval is between two cycles. Default 5m.
	Interval time.Duration `yaml:"interval"`
	// Grace is how long something stays that nothing needs any more, or that a client was told of: half of it is what a push may
	// take between its first question and its manifest. Default 24h.
	Grace time.Duration `yaml:"grace"`
	// Quarantine is how long bytes stay that no repository holds: so long `gatehouse gc restore` brings them back. Default 1h.
	Quarantine time.Duration `yaml:"quarantine"`
	// Untagged is what becomes of manifests without a tag: "keep", or after how long they go, such as 720h. Default keep:
	// somebody may pull them by digest.
	Untagged string `yaml:"untagged"`
	// Rate is how many blobs are deleted in a second, at most. Default 0, as many as can be.
	Rate int `yaml:"rate"`
	// ScanInterval is between two comparisons of the storage with the index. Default 24h.
	ScanInterval time.Duration `yaml:"scaninterval"`
	// Breaker stops the collector, until a person looks, before one cycle deletes more than is likely to be meant.
	Breaker Breaker `yaml:"breaker"`
}

// Breaker is the larger of a number of blobs and a share of all. Both 0: there is none.
type Breaker struct {
	// Blobs. Default 1000.
	Blobs int `yaml:"blobs"`
	// Percent of all blobs. Default 20.
	Percent int `yaml:"percent"`
}

// signedURLs is how long a URL into a bucket lasts that a client was sent to (package s3).
const signedURLs = 20 * time.Minute

// keepUntagged is the GC.Untagged that keeps manifests without a tag.
const keepUntagged = "keep"

func defaultGC() GC {
	return GC{
		Enabled: true, Interval: 5 * time.Minute, Grace: 24 * time.Hour, Quarantine: time.Hour, Untagged: keepUntagged,
		ScanInterval: 24 * time.Hour, Breaker: Breaker{Blobs: 1000, Percent: 20},
	}
}

// UntaggedAge returns after how long manifests without a tag go; false when they are kept.
func (g GC) UntaggedAge() (age time.Duration, collected bool) {
	age, err := time.ParseDuration(g.Untagged)
	return age, err == nil && age >= 0
}

func (k *checker) gc() {
	g := &k.c.GC
	for _, d := range []struct {
		path  string
		value time.Duration
	}{
		{"gc.interval", g.Interval},
		{"gc.grace", g.Grace},
		{"gc.quarantine", g.Quarantine},
		{"gc.scaninterval", g.ScanInterval},
	} {
		if d.value < 0 {
			k.errorf(d.path, "%s; a duration cannot be less than nothing", d.value)
		}
	}
	g.Untagged = strings.ToLower(g.Untagged)
	if _, collected := g.UntaggedAge(); !collected && g.Untagged != keepUntagged {
		k.errorf("gc.untagged", "%s is neither keep nor an age with its unit, such as 720h", quoteText(g.Untagged))
	}
	if g.Rate < 0 {
		k.errorf("gc.rate", "%d; it is a number of blobs in a second, or 0 for no bound", g.Rate)
	}
	if b := g.Breaker; b.Blobs < 0 || b.Percent < 0 || b.Percent > 100 {
		k.errorf("gc.breaker", "blobs: %d, percent: %d; a number of blobs, and a share of 0 to 100", b.Blobs, b.Percent)
	}
	if s := k.c.Storage; g.Enabled && s.S3 != nil && !s.Redirect.Disable && g.Quarantine < signedURLs {
		k.warnf("gc.quarantine", "%s; clients are sent to the bucket with URLs that last %s, and may find nothing there", g.Quarantine, signedURLs)
	}
	if g.Enabled && g.Grace < time.Hour {
		k.warnf("gc.grace", "%s; a push that takes longer than half of it, from its first question to its manifest, may have to start over", g.Grace)
	}
}
