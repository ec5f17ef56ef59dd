package filesystem

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
)

// TestSweep removes what killed writes left, when it is old enough, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	d, err := New(dir)
	must(t, err)
	defer d.Close()
	old, young := driver.TempName("link"), driver.TempName("data")
	hourAgo := time.Now().Add(-time.Hour)
	for _, name := range []string{old, young, "link", "link.tmp", "." + old[len("link."):]} {
		must(t, d.WriteFile(t.Context(), "a/b/keep", nil))
		must(t, os.WriteFile(filepath.Join(dir, "a/b", name), []byte("x"), 0o666))
		if name != young {
			must(t, os.Chtimes(filepath.Join(dir, "a/b", name), hourAgo, hourAgo))
		}
	}
	must(t, os.Mkdir(filepath.Join(dir, driver.TempName("folder")), 0o777))
	must(t, os.Symlink("b/keep", filepath.Join(dir, "a", driver.TempName("symlink"))))

	before := drivertest.Files(t, d)
	n, err := d.Sweep(t.Context(), time.Minute)
	if n != 1 || err != nil {
		t.Errorf("swept %d, %v; want 1", n, err)
	}
	got, want := strings.Join(drivertest.Files(t, d), " "), strings.ReplaceAll(strings.Join(before, " ")+" ", "a/b/"+old+" ", "")
	if got != strings.TrimSpace(want) || len(before) < 6 {
		t.Errorf("left are\n%s, want\n%s", got, want)
	}
	if _, err := os.Lstat(filepath.Join(dir, "a/b", young)); err != nil {
		t.Errorf("a write that may be under way: %v", err)
	}
}
