package configs

import "time"

// Protection holds up who tries one secret after the other.
type Protection struct {
	// Disabled looks at every secret at once.
	Disabled bool `yaml:"disabled"`
	// Free is how many different wrong secrets an account may have at one address before it is held up there: 1s, and twice as
	// long with each next. Default 5. Four times as many are free to an account at all addresses, ten times to an address.
	Free int `yaml:"free"`
	// MaxDelay is how long at most. Default 5m. One wrong secret is forgotten in twice that.
	MaxDelay time.Duration `yaml:"maxdelay"`
}

// Audit is the log of who asked for what, and what was granted by which rule.
type Audit struct {
	// File gets a line of JSON for each request for a token and each login. Empty: the server's log, at level info.
	File string `yaml:"file"`
}

func defaultProtection() Protection { return Protection{Free: 5, MaxDelay: 5 * time.Minute} }

func (k *checker) protection() {
	p := k.c.TokenServer.Protection
	if p.Free < 1 {
		k.errorf("tokenserver.protection.free", "%d; it is a number of wrong secrets, 1 at least", p.Free)
	}
	if p.MaxDelay < time.Second || p.MaxDelay > time.Hour {
		k.errorf("tokenserver.protection.maxdelay", "%s is not between 1s and 1h", p.MaxDelay)
	}
	if p.Disabled {
		k.warnf("tokenserver.protection.disabled", "passwords can be tried without end")
	}
}
