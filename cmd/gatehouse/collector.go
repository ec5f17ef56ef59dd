package main

import (
	"context"
	"log/slog"
	"time"

	"gatehouse/configs"
	"gatehouse/registry/adopt"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
)

// newCollector returns the collector of storage that is open, and lets the index keep what it promises.
func newCollector(cfg *configs.Config, st *storage, readOnly func() bool, log *slog.Logger) *gc.Collector {
	st.index.SetGrace(cfg.GC.Grace) // also where it works only when a verb asks it to
	return gc.New(gc.Options{
		Index: st.index, Store: st.store, Driver: st.driver, Policy: gcPolicy(cfg.GC),
		Interval: cfg.GC.Interval, ScanInterval: cfg.GC.ScanInterval, Rate: cfg.GC.Rate,
		Breaker:  gc.Breaker{Blobs: cfg.GC.Breaker.Blobs, Percent: cfg.GC.Breaker.Percent},
		ReadOnly: readOnly, Now: time.Now, Log: log,
		Newer: func(ctx context.Context) (string, error) { return adopt.Newer(ctx, st.index, st.driver) },
	})
}

// gcPolicy is the collector's policy as the configuration has it.
func gcPolicy(c configs.GC) index.Policy {
	p := index.Policy{Grace: c.Grace, Quarantine: c.Quarantine, Untagged: index.KeepUntagged}
	if age, collected := c.UntaggedAge(); collected {
		p.Untagged = age
	}
	return p
}
