package configs

import "time"

// Refresh is tokenserver.refresh: refresh tokens, which docker and others store in place of a password. One ends when it is revoked,
// when its account changes or goes, and after these times.
type Refresh struct {
	// Disabled makes none, and refuses those that there are.
	Disabled bool `yaml:"disabled"`
	// Idle is after how long one ends that is not used. Default 720h, which is 30 days.
	Idle time.Duration `yaml:"idle"`
	// Absolute is after how long each ends. Default 4320h, which is 180 days.
	Absolute time.Duration `yaml:"absolute"`
}

func defaultRefresh() Refresh {
	return Refresh{Idle: 30 * 24 * time.Hour, Absolute: 180 * 24 * time.Hour}
}

// refresh checks tokenserver.refresh.
func (k *checker) refresh() {
	r := k.c.TokenServer.Refresh
	for _, d := range []struct {
		path  string
		value time.Duration
	}{{"tokenserver.refresh.idle", r.Idle}, {"tokenserver.refresh.absolute", r.Absolute}} {
		switch {
		case d.value <= 0:
			k.errorf(d.path, "%s; it must be more than nothing, and disabled: true makes no refresh tokens", d.value)
		case d.value < k.c.TokenServer.Lifetime && !r.Disabled:
			k.warnf(d.path, "%s; a refresh token ends before the token that comes with it, which lives for %s", d.value, k.c.TokenServer.Lifetime)
		}
	}
	if r.Absolute > 0 && r.Idle > r.Absolute && k.has("tokenserver.refresh.idle") {
		k.warnf("tokenserver.refresh.idle",
			"%s; no effect, because every refresh token ends after tokenserver.refresh.absolute: %s", r.Idle, r.Absolute)
	}
}
