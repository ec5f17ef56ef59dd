package configs

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	c, _, err := loadGC(t, "")
	if want := (Keys{Algorithm: "ES256", Prepublish: 15 * time.Minute}); err != nil || c.TokenServer.Keys != want || c.TokenServer.X5C {
		t.Errorf("without a section: %+v, %v", c.TokenServer, err)
	}
	c, _, err = loadGC(t, "tokenserver: {x5c: true, keys: {rotate: 720h, algorithm: rs256, prepublish: 1h}}")
	want := Keys{Rotate: 720 * time.Hour, Algorithm: "RS256", Prepublish: time.Hour}
	if err != nil || c.TokenServer.Keys != want || !c.TokenServer.X5C {
		t.Errorf("%+v, %v", c.TokenServer, err)
	}
	for section, want := range map[string]string{
		"tokenserver: {x5c: true, keys: {algorithm: EdDSA}}": "tokenserver.x5c",
		"tokenserver: {keys: {prepublish: 0s}}":              "tokenserver.keys.prepublish",
		"tokenserver: {keys: {prepublish: 299s}}":            "tokenserver.keys.prepublish",
	} {
		if _, warnings, err := loadGC(t, section); err != nil || !strings.Contains(fmt.Sprint(warnings), want) {
			t.Errorf("%s: %v, %v, want a warning that names %s", section, warnings, err, want)
		}
	}
	_, warnings, err := loadGC(t, "tokenserver: {keys: {algorithm: EdDSA, prepublish: 5m}}")
	if err != nil || strings.Contains(fmt.Sprint(warnings), "tokenserver.keys") {
		t.Errorf("%v, %v", warnings, err)
	}
}

func TestKeysFaults(t *testing.T) {
	for section, want := range map[string]string{
		"{keys: {rotate: -1h}}":                     "tokenserver.keys.rotate",
		"{keys: {rotate: 15m}}":                     "tokenserver.keys.rotate",
		"{keys: {rotate: 1h, prepublish: 2h}}":      "tokenserver.keys.rotate",
		"{keys: {rotate: monthly}}":                 "tokenserver.keys.rotate",
		"{keys: {prepublish: -1s}}":                 "tokenserver.keys.prepublish",
		"{keys: {algorithm: HS256}}":                "tokenserver.keys.algorithm",
		"{keys: {algorithm: none}}":                 "tokenserver.keys.algorithm",
		"{keys: {algorithm: ''}}":                   "tokenserver.keys.algorithm",
		"{keys: {algorithm: PS256}}":                "tokenserver.keys.algorithm",
		"{keys: {rotation: 1h}}":                    "tokenserver.keys.rotat",
		"{x5c: perhaps}":                            "tokenserver.x5c",
		"{keys: {algorithm: RS256, prepublish: x}}": "tokenserver.keys.prepublish",
	} {
		if _, _, err := loadGC(t, "tokenserver: "+section); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %s", section, err, want)
		}
	}
}
