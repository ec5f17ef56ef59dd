package tokenserver

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// cheapFile is an editor whose hashes take no time.
func cheapFile(path string) *HtpasswdFile {
	f := NewHtpasswdFile(path)
	f.cost = bcrypt.MinCost
	return f
}

func TestHtpasswdFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "htpasswd")
	f := NewHtpasswdFile(path)
	if _, err := f.List(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "gatehouse user add") {
		t.Errorf("list of a missing file: %v", err)
	}
	if err := f.SetPassword("alice", "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("password in a missing file: %v", err)
	}
	if err := f.Remove("alice"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removal from a missing file: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("reading made a folder")
	}
	for _, account := range []string{"alice", "bob"} {
		if err := f.Add(account, "secret-"+account); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := f.Add("alice", "other"); !errors.Is(err, ErrUserExists) {
		t.Errorf("added twice: %v", err)
	}
	h, err := OpenHtpasswd(path, HtpasswdOptions{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	mustLogin(t, h, "alice", "secret-alice")
	mustLogin(t, h, "bob", "secret-bob")
	if !strings.Contains(readFile(t, path), ":$2a$10$") {
		t.Error("the cost is not 10")
	}
	users, err := f.List()
	if err != nil || fmt.Sprint(users) != "[{alice <nil>} {bob <nil>}]" {
		t.Errorf("list: %v, %v", users, err)
	}
	if err := f.SetPassword("alice", "new"); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("bob"); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("bob"); !errors.Is(err, ErrNoUser) {
		t.Errorf("removed twice: %v", err)
	}
	if err := f.SetPassword("bob", "new"); !errors.Is(err, ErrNoUser) {
		t.Errorf("password of nobody: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestRunningServerSeesEdits edits the file under an authenticator, which follows within a second of its clock.
func TestRunningServerSeesEdits(t *testing.T) {
	h, path, at, _ := openUsers(t, "alice:"+cheapHash(t, "one")+"\nbob:"+cheapHash(t, "one")+"\n")
	f := cheapFile(path)
	mustLogin(t, h, "alice", "one")
	mustLogin(t, h, "bob", "one")
	if err := f.SetPassword("alice", "two"); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("bob"); err != nil {
		t.Fatal(err)
	}
	if err := f.Add("carol", "three"); err != nil {
		t.Fatal(err)
	}
	*at = at.Add(lookEvery)
	mustNotLogin(t, h, "alice", "one")
	mustLogin(t, h, "alice", "two")
	mustNotLogin(t, h, "bob", "one")
	mustLogin(t, h, "carol", "three")
}

func TestEditsKeepTheRest(t *testing.T) {
	a, b, c := cheapHash(t, "a"), cheapHash(t, "b"), cheapHash(t, "c")
	for _, tt := range []struct {
		name, before string
		edit         func(*HtpasswdFile) error
		after        string // % stands for a new hash
	}{
		{"add", "# top\n\nalice:" + a + "\n# end\n", func(f *HtpasswdFile) error { return f.Add("bob", "x") },
			"# top\n\nalice:" + a + "\n# end\nbob:%\n"},
		{"add without line end", "alice:" + a, func(f *HtpasswdFile) error { return f.Add("bob", "x") }, "alice:" + a + "\nbob:%\n"},
		{"add with CRLF", "\ufeffalice:" + a + "\r\nx", func(f *HtpasswdFile) error { return f.Add("bob", "x") },
			"\ufeffalice:" + a + "\r\nx\r\nbob:%\r\n"},
		{"add to an empty file", "", func(f *HtpasswdFile) error { return f.Add("bob", "x") }, "bob:%\n"},
		{"password", "\ufeffalice:" + a + "\r\n#\r\nbob:" + b + "\r\nno colon\r\ncarol:" + c, func(f *HtpasswdFile) error { return f.SetPassword("alice", "x") },
			"\ufeffalice:%\r\n#\r\nbob:" + b + "\r\nno colon\r\ncarol:" + c},
		{"password of the last, without line end", "alice:" + a + "\nbob:" + b, func(f *HtpasswdFile) error { return f.SetPassword("bob", "x") },
			"alice:" + a + "\nbob:%"},
		{"password of one who is there twice", "alice:" + a + "\nbob:" + b + "\nalice:" + c + "\n# end\n", func(f *HtpasswdFile) error { return f.SetPassword("alice", "x") },
			"alice:%\nbob:" + b + "\n# end\n"},
		{"password of an unusable one", "alice:{SHA}x\n", func(f *HtpasswdFile) error { return f.SetPassword("alice", "x") }, "alice:%\n"},
		{"remove", "# top\nalice:" + a + "\nbob:" + b + "\nalice:plain\n#end", func(f *HtpasswdFile) error { return f.Remove("alice") },
			"# top\nbob:" + b + "\n#end"},
		{"remove the only one", "alice:" + a + "\n", func(f *HtpasswdFile) error { return f.Remove("alice") }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "htpasswd")
			writeFile(t, path, tt.before)
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			if err := tt.edit(cheapFile(path)); err != nil {
				t.Fatal(err)
			}
			got := readFile(t, path)
			head, tail, hashed := strings.Cut(tt.after, "%")
			if !hashed && got != tt.after {
				t.Errorf("got %q, want %q", got, tt.after)
			}
			if hashed && (!strings.HasPrefix(got, head+"$2a$04$") || !strings.HasSuffix(got, tail) || len(got) != len(head)+60+len(tail)) {
				t.Errorf("got %q, want %q", got, tt.after)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestEditsRefuse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	before := "# c\nalice:" + cheapHash(t, "a") + "\n:x\nno colon\n"
	writeFile(t, path, before)
	f := cheapFile(path)
	for _, account := range []string{"", "a:b", ":", "a\nb", "a\r", "a\x00", "a\x7f", "\u0085", "#a", " a", "a ", "\ta", "*", "\xff", "\ufeffa",
		strings.Repeat("a", maxAccount+1)} {
		if err := f.Add(account, "x"); err == nil {
			t.Errorf("account %q was added", account)
		}
		if err := f.SetPassword(account, "x"); !errors.Is(err, ErrNoUser) {
			t.Errorf("account %q got a password: %v", account, err)
		}
		if err := f.Remove(account); !errors.Is(err, ErrNoUser) {
			t.Errorf("account %q was removed: %v", account, err)
		}
	}
	for _, password := range []string{"", strings.Repeat("x", maxPassword+1), "a\x00b"} {
		for name, err := range map[string]error{"add": f.Add("bob", password), "password": f.SetPassword("alice", password)} {
			if err == nil || len(password) > 0 && strings.Contains(err.Error(), password) {
				t.Errorf("%s with a password of %d bytes: %v", name, len(password), err)
			}
		}
	}
	if got := readFile(t, path); got != before {
		t.Errorf("the file became %q", got)
	}
	if err := f.Add("bob smith@example.com", strings.Repeat("ö", maxPassword/2)); err != nil {
		t.Errorf("a good account: %v", err)
	}
	users, err := f.List()
	if err != nil || len(users) != 2 || users[1].Problem != nil {
		t.Errorf("list: %v, %v", users, err)
	}
}

func TestListSaysWhoIsUnusable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeFile(t, path, "alice:"+cheapHash(t, "a")+"\nbob:{SHA}x\nalice:plain\nbob:"+cheapHash(t, "b")+"\n")
	users, err := cheapFile(path).List()
	if err != nil || len(users) != 2 || users[0].Account != "alice" || users[0].Problem == nil || users[1].Account != "bob" || users[1].Problem != nil {
		t.Errorf("list: %v, %v", users, err)
	}
}

func TestEditThroughALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	writeFile(t, target, "")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := cheapFile(link).Add("alice", "x"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no more: %v, %v", info.Mode(), err)
	}
	if !strings.HasPrefix(readFile(t, target), "alice:") {
		t.Error("the target was not changed")
	}
}

// TestEditsKeepTheOwner needs root: only root can give a file to somebody else.
func TestEditsKeepTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeFile(t, path, "")
	if err := os.Chown(path, 4242, 4343); err != nil {
		t.Fatal(err)
	}
	if err := cheapFile(path).Add("alice", "x"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 4242 || s.Gid != 4343 || info.Mode().Perm() != 0o600 {
		t.Errorf("owner %d:%d, mode %v", s.Uid, s.Gid, info.Mode())
	}
}

// TestEditsAtOnce: no edit is lost, and a reader never sees half a file.
func TestEditsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	first := "first:" + cheapHash(t, "a") + "\n"
	writeFile(t, path, first)
	var writers, reader sync.WaitGroup
	done := make(chan struct{})
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			b, err := os.ReadFile(path)
			if err != nil || !strings.HasPrefix(string(b), first) || !strings.HasSuffix(string(b), "\n") {
				t.Errorf("a reader saw %q, %v", b, err)
				return
			}
		}
	})
	const n = 12
	for i := range n {
		writers.Go(func() {
			if err := cheapFile(path).Add(fmt.Sprintf("user%d", i), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	close(done)
	reader.Wait()
	users, err := cheapFile(path).List()
	if err != nil || len(users) != n+1 {
		t.Errorf("%d users, %v", len(users), err)
	}
}
