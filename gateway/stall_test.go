package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/configs"
)

// The guard's clock, without a network.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cuts := 0
		x := &exchange{server: &Server{limit: configs.Gateway{BodyIdleTimeout: time.Minute}}}
		g := &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		operation := func(d time.Duration) (begun, ended error) {
			if err := g.begin(0); err != nil {
				return err, nil
			}
			time.Sleep(d)
			synctest.Wait()
			return nil, g.end()
		}
		// Any number of operations, any pause between them, as long as each is in time.
		for range 5 {
			if b, e := operation(time.Minute - 1); b != nil || e != nil {
				t.Fatal(b, e)
			}
			time.Sleep(time.Hour)
		}
		if cuts != 0 {
			t.Fatalf("%d cuts", cuts)
		}
		if b, e := operation(time.Minute); b != nil || e != errStalledBody || cuts != 1 {
			t.Fatal(b, e, cuts)
		}
		if b, _ := operation(0); b != errStalledBody {
			t.Fatal(b)
		}
		if !g.finish() || !g.stalled() {
			t.Fatal("stall forgotten")
		}

		// Extra time is the operation's own.
		g = &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		_ = g.begin(time.Hour)
		time.Sleep(time.Hour + time.Minute - 1)
		if err := g.end(); err != nil {
			t.Fatal(err)
		}

		// A timer that comes late finds another operation in flight: its own deadline counts. And none after finish.
		cuts = 0
		g = &guard{x: x, cut: func(*exchange) { cuts++ }, stall: errStalledBody}
		_ = g.begin(0)
		g.fire()
		_ = g.end()
		g.fire()
		_ = g.begin(0)
		if g.finish() {
			t.Fatal("finished is not stalled")
		}
		time.Sleep(time.Hour)
		g.fire()
		synctest.Wait()
		if b, _ := operation(0); b != errFinished || cuts != 0 || g.stalled() {
			t.Fatal(b, cuts)
		}
	})
}
