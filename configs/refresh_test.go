package configs

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRefresh(t *testing.T) {
	c, _, err := loadGC(t, "")
	if err != nil || c.TokenServer.Refresh != defaultRefresh() ||
		c.TokenServer.Refresh.Idle != 720*time.Hour || c.TokenServer.Refresh.Absolute != 4320*time.Hour {
		t.Errorf("without a section: %+v, %v", c, err)
	}
	c, _, err = loadGC(t, "tokenserver: {refresh: {disabled: true, absolute: 24h}}", "REGISTRY_TOKENSERVER_REFRESH_IDLE=2h")
	if want := (Refresh{Disabled: true, Idle: 2 * time.Hour, Absolute: 24 * time.Hour}); err != nil || c.TokenServer.Refresh != want {
		t.Errorf("%+v, %v; want %+v", c, err, want)
	}
	for section, want := range map[string]string{
		"{idle: 0s}":            "tokenserver.refresh.idle",
		"{idle: -1h}":           "tokenserver.refresh.idle",
		"{absolute: 0s}":        "tokenserver.refresh.absolute",
		"{absolute: 30}":        "tokenserver.refresh.absolute",
		"{absolut: 1h}":         "tokenserver.refresh.absolute",
		"{disabled: sometimes}": "tokenserver.refresh.disabled",
	} {
		if _, _, err := loadGC(t, "tokenserver: {refresh: "+section+"}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %s", section, err, want)
		}
	}
	for section, want := range map[string]string{
		"{idle: 1m}":                "tokenserver.refresh.idle: 1m0s; a refresh token ends before",
		"{idle: 48h, absolute: 1h}": "tokenserver.refresh.idle: 48h0m0s; no effect",
	} {
		if _, warnings, err := loadGC(t, "tokenserver: {refresh: "+section+"}"); err != nil || !strings.Contains(fmt.Sprint(warnings), want) {
			t.Errorf("%s: %v, %v; want a warning %q", section, warnings, err, want)
		}
	}
}
