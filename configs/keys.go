package configs

import (
	"strings"
	"time"
)

// Keys is how the keys that sign tokens are replaced. None of it touches a key that is there.
type Keys struct {
	// Rotate is how long a key signs before another one does. Default 0, which is never but by `gatehouse key rotate`.
	Rotate time.Duration `yaml:"rotate"`
	// Algorithm of new keys: ES256 (the default), RS256 or EdDSA. Registry 2.x does not know EdDSA.
	Algorithm string `yaml:"algorithm"`
	// Prepublish is how long a new key is published before it signs, so that verifiers with a copy of the keys know it by then.
	// Default 15m.
	Prepublish time.Duration `yaml:"prepublish"`
}

// keyAlgorithms are the algorithms of package token.
var keyAlgorithms = []string{"ES256", "RS256", "EdDSA"}

// keysCached is how long verifiers may keep the keys that they were given (Cache-Control of the JWK set).
const keysCached = 5 * time.Minute

func defaultKeys() Keys { return Keys{Algorithm: "ES256", Prepublish: 15 * time.Minute} }

// keys checks tokenserver.keys, and puts the algorithm into its one spelling.
func (k *checker) keys() {
	c := &k.c.TokenServer.Keys
	known := false
	for _, name := range keyAlgorithms {
		if strings.EqualFold(c.Algorithm, name) {
			c.Algorithm, known = name, true
		}
	}
	if !known {
		k.errorf("tokenserver.keys.algorithm", "%s is none of %s", quoteText(c.Algorithm), strings.Join(keyAlgorithms, ", "))
	}
	switch {
	case c.Prepublish < 0:
		k.errorf("tokenserver.keys.prepublish", "%s; a duration cannot be less than nothing", c.Prepublish)
	case c.Prepublish < keysCached:
		k.warnf("tokenserver.keys.prepublish", "%s; verifiers may keep keys for %s, and refuse tokens of one that is newer", c.Prepublish,
			keysCached)
	}
	switch {
	case c.Rotate < 0:
		k.errorf("tokenserver.keys.rotate", "%s; it is how long a key signs, or 0 for ever", c.Rotate)
	case c.Rotate > 0 && c.Rotate <= c.Prepublish:
		k.errorf("tokenserver.keys.rotate", "%s; a key must sign for longer than the next one is published before it "+
			"(tokenserver.keys.prepublish: %s)", c.Rotate, c.Prepublish)
	}
	if k.c.TokenServer.X5C && c.Algorithm == "EdDSA" {
		k.warnf("tokenserver.x5c", "with EdDSA only registry 3.x accepts the tokens; registry 2.x needs ES256 or RS256")
	}
}
