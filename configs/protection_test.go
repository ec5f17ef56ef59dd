package configs

import (
	"strings"
	"testing"
	"time"
)

func TestProtection(t *testing.T) {
	const file = "version: 0.1\nstorage: inmemory\ntokenserver:\n"
	c, warnings, err := Parse("config.yml", []byte(file+"  lifetime: 5m\n"), nil)
	if err != nil || c.TokenServer.Protection != (Protection{Free: 5, MaxDelay: 5 * time.Minute}) || c.TokenServer.Audit != (Audit{}) {
		t.Errorf("default: %+v, %v, %v", c, warnings, err)
	}
	c, _, err = Parse("config.yml", []byte(file+"  protection: {free: 3, maxdelay: 1m}\n  audit: {file: /var/log/audit.log}\n"), nil)
	if err != nil || c.TokenServer.Protection != (Protection{Free: 3, MaxDelay: time.Minute}) ||
		c.TokenServer.Audit.File != "/var/log/audit.log" {
		t.Errorf("set: %+v, %v", c, err)
	}
	_, warnings, err = Parse("config.yml", []byte(file+"  protection: {disabled: true}\n"), nil)
	warned := false
	for _, w := range warnings {
		warned = warned || strings.Contains(string(w), "tried without end")
	}
	if err != nil || !warned {
		t.Errorf("disabled: %v, %v", warnings, err)
	}
	for text, want := range map[string]string{
		"{free: 0}": "tokenserver.protection.free", "{free: -1}": "tokenserver.protection.free",
		"{maxdelay: 0s}": "tokenserver.protection.maxdelay",
		"{maxdelay: 2h}": "tokenserver.protection.maxdelay", "{maxdelay: 5}": "tokenserver.protection.maxdelay", "{limit: 5}": "unknown key",
	} {
		if _, _, err := Parse("config.yml", []byte(file+"  protection: "+text+"\n"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
