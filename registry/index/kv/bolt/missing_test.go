package bolt

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gatehouse/registry/index/kv/kvtest"
)

// TestMissingJournal: without its journals, or with shorter ones, an index that was not closed is not opened: it would be as it
// was before what was acknowledged last.
func TestMissingJournal(t *testing.T) {
	crashed := func(t *testing.T, commits int) string {
		t.Helper()
		dir := t.TempDir()
		db := open(t, filepath.Join(dir, "index.db"))
		for i := range commits {
			kvtest.Put(t, db, "key"+strconv.Itoa(i)+"=value")
		}
		after := t.TempDir()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%q, %v", files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil {
				err = os.WriteFile(filepath.Join(after, filepath.Base(f)), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(after, "index.db")
	}
	for _, commits := range []int{1, 30} {
		for name, lose := range map[string]func(journal string) error{
			"removed":     os.Remove,
			"emptied":     func(f string) error { return os.Truncate(f, 0) },
			"cut":         func(f string) error { return os.Truncate(f, 10000) },
			"cut further": func(f string) error { return os.Truncate(f, 20000) },
		} {
			t.Run(name+" after "+strconv.Itoa(commits), func(t *testing.T) {
				path := crashed(t, commits)
				if err := lose(path + "-journal-0"); err != nil {
					t.Fatal(err)
				}
				if db, err := Open(path); err == nil || !strings.Contains(err.Error(), "missing or was cut short") {
					if err == nil {
						db.Close()
					}
					t.Errorf("opened: %v", err)
				}
			})
		}
	}
	path := crashed(t, 30)
	db := open(t, path)
	if got := kvtest.Dump(t, db, "", ""); len(got) != 30 {
		t.Errorf("%d keys with the whole journal", len(got))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path) // closed cleanly: there is no journal, and none is missed
	if got := kvtest.Dump(t, db, "", ""); len(got) != 30 {
		t.Errorf("%d keys after a clean end", len(got))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
