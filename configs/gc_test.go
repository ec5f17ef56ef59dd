package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// loadGC reads a configuration with a section gc.
func loadGC(t *testing.T, section string, environ ...string) (*Config, []Warning, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	text := "version: 0.1\nstorage: {filesystem: {rootdirectory: " + t.TempDir() + "}}\nhttp: {addr: 127.0.0.1:0}\n" + section
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, environ)
}

func TestGC(t *testing.T) {
	c, _, err := loadGC(t, "")
	if err != nil || c.GC != defaultGC() {
		t.Errorf("without a section: %+v, %v", c.GC, err)
	}
	c, _, err = loadGC(t, "gc: {enabled: false, interval: 0s, grace: 0s, quarantine: 0s, untagged: 720h, rate: 5, scaninterval: 0s, breaker: {blobs: 0, percent: 0}}")
	want := GC{Untagged: "720h", Rate: 5}
	if err != nil || c.GC != want {
		t.Errorf("%+v, %v; want %+v", c.GC, err, want)
	}
	if age, collected := c.GC.UntaggedAge(); !collected || age != 720*time.Hour {
		t.Errorf("untagged: %s, %v", age, collected)
	}
	c, warnings, err := loadGC(t, "", "REGISTRY_GC_GRACE=2s", "REGISTRY_GC_UNTAGGED=0s")
	if err != nil || c.GC.Grace != 2*time.Second || len(warnings) == 0 || !strings.Contains(fmt.Sprint(warnings), "gc.grace") {
		t.Errorf("%+v, %v, %v", c.GC, warnings, err)
	}
	if age, collected := c.GC.UntaggedAge(); !collected || age != 0 {
		t.Errorf("untagged: %s, %v", age, collected)
	}
}

func TestGCFaults(t *testing.T) {
	for section, want := range map[string]string{
		"gc: {interval: -1s}":             "gc.interval",
		"gc: {grace: -1s}":                "gc.grace",
		"gc: {quarantine: -1h}":           "gc.quarantine",
		"gc: {scaninterval: -1h}":         "gc.scaninterval",
		"gc: {untagged: never}":           "gc.untagged",
		"gc: {untagged: -1h}":             "gc.untagged",
		"gc: {untagged: 30}":              "gc.untagged",
		"gc: {rate: -1}":                  "gc.rate",
		"gc: {breaker: {percent: 101}}":   "gc.breaker",
		"gc: {breaker: {blobs: -1}}":      "gc.breaker",
		"gc: {grase: 1h}":                 "gc.grace",
		"gc: {grace: tomorrow}":           "gc.grace",
		"gc: {breaker: {percentage: 10}}": "gc.breaker.percent",
	} {
		if _, _, err := loadGC(t, section); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %s", section, err, want)
		}
	}
}
