package tokenserver

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// logTo returns a logger and what it wrote. The buffer is for one goroutine, or for after all others.
func logTo() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openUsers returns the authenticator of a file with text, its path, and a clock that can be set.
func openUsers(t testing.TB, text string) (h *Htpasswd, path string, at *time.Time, logged *bytes.Buffer) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "htpasswd")
	writeFile(t, path, text)
	now := time.Now()
	log, logged := logTo()
	h, err := OpenHtpasswd(path, HtpasswdOptions{Now: func() time.Time { return now }}, log)
	if err != nil {
		t.Fatal(err)
	}
	return h, path, &now, logged
}

func mustLogin(t testing.TB, h *Htpasswd, account, password string) {
	t.Helper()
	who, err := h.Authenticate(t.Context(), account, password)
	if err != nil || who.Account != account {
		t.Errorf("login of %q: %v, %v", account, who, err)
	}
}

func mustNotLogin(t testing.TB, h *Htpasswd, account, password string) {
	t.Helper()
	who, err := h.Authenticate(t.Context(), account, password)
	if !errors.Is(err, ErrBadCredentials) || who.Account != "" {
		t.Errorf("login of %q: %v, %v, want %v", account, who, err, ErrBadCredentials)
	}
}

func TestHtpasswdReads(t *testing.T) {
	hash, second := cheapHash(t, "secret"), cheapHash(t, "second")
	twoY := "$2y$" + hash[4:] // what Apache's htpasswd writes
	expensive := "$2a$15$" + hash[7:]
	text := "\ufeff# users\r\n" +
		"alice:" + hash + "\r\n" +
		"\r\n" +
		"  bob:" + twoY + "\t\r\n" +
		"carol:" + hash + "\n" +
		"md5:$apr1$abcdefgh$0123456789012345678901\n" +
		"sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n" +
		"plain:secret\n" +
		"empty:\n" +
		"expensive:" + expensive + "\n" +
		"short:" + hash[:59] + "\n" +
		"long:" + hash + "x\n" +
		"extra:" + hash + ":1000\n" +
		"badchar:" + hash[:59] + "!\n" +
		"version:$2x$" + hash[4:] + "\n" +
		"cost:$2a$1x$" + hash[7:] + "\n" +
		"lowcost:$2a$03$" + hash[7:] + "\n" +
		"nocolon-leaked-password\n" +
		":" + hash + "\n" +
		"*:" + hash + "\n" +
		"<token>:" + hash + "\n" +
		"contr\x01ol:" + hash + "\n" +
		"#dave:" + hash + "\n" +
		"carol:" + second + "\n" +
		"erin:" + hash + "\n" +
		"erin:plain\n" +
		"frank:" + hash // no line end
	h, _, _, logged := openUsers(t, text)
	for _, account := range []string{"alice", "bob", "frank"} {
		mustLogin(t, h, account, "secret")
		mustNotLogin(t, h, account, "Secret")
	}
	mustLogin(t, h, "carol", "second") // the last line counts
	mustNotLogin(t, h, "carol", "secret")
	for _, account := range []string{"md5", "sha", "plain", "empty", "expensive", "short", "long", "extra", "badchar", "version", "cost", "lowcost",
		"", "*", "<token>", "contr\x01ol", "#dave", "dave", "erin", "nocolon-leaked-password", "nobody", "ALICE", "alice ", "alice\n", "\ufeffalice", "al\xffice"} {
		for _, password := range []string{"secret", "", "plain", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", hash, expensive} {
			mustNotLogin(t, h, account, password)
		}
	}
	for _, want := range []string{"line=6 account=md5", "line=10 account=expensive", "cost 15", `line=18 account=""`, "line=24 account=carol", "line=26 account=erin", "as that with a refresh token"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, logged)
		}
	}
	for _, secret := range []string{hash, hash[10:40], "leaked", "secret", "apr1"} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("the log says %q", secret)
		}
	}
}

func TestPasswordsThatBcryptConfuses(t *testing.T) {
	long := strings.Repeat("x", maxPassword)
	h, _, _, _ := openUsers(t, "alice:"+cheapHash(t, long)+"\nbob:"+cheapHash(t, "a")+"\n")
	runs := counting(h.checker)
	mustLogin(t, h, "alice", long)
	mustLogin(t, h, "bob", "a")
	before := runs.Load()
	mustNotLogin(t, h, "alice", long+"y")
	mustNotLogin(t, h, "alice", strings.Repeat("x", 1<<16))
	mustNotLogin(t, h, "bob", "a\x00a") // the same key to bcrypt
	mustNotLogin(t, h, "bob", "a\x00")
	mustNotLogin(t, h, strings.Repeat("n", maxAccount+1), "a")
	if runs.Load() != before {
		t.Error("they were compared")
	}
	if bcrypt.CompareHashAndPassword([]byte(h.current().hashes["bob"]), []byte("a\x00a")) != nil {
		t.Error("bcrypt tells them apart now; the check for NUL may go")
	}
}

// TestEveryRefusalCostsTheSame is T-SEC-15, by counting work: one comparison at the same cost, the same error.
func TestEveryRefusalCostsTheSame(t *testing.T) {
	const cost = 5
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), cost)
	if err != nil {
		t.Fatal(err)
	}
	h, _, _, _ := openUsers(t, fmt.Sprintf("alice:%s\nbob:%s\nrare:%s\nplain:secret\n", hash, hash, cheapHash(t, "x")))
	var costs []int
	h.checker.compare = func(hash, password []byte) error {
		c, err := bcrypt.Cost(hash)
		if err != nil {
			t.Errorf("compared with something that is no hash: %v", err)
		}
		costs = append(costs, c)
		err = bcrypt.CompareHashAndPassword(hash, password)
		if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("the comparison ended early: %v", err)
		}
		return err
	}
	for _, account := range []string{"alice", "nobody", "plain", "", "bob", "nobody", "a:b"} {
		costs = nil
		mustNotLogin(t, h, account, "wrong")
		if len(costs) != 1 || costs[0] != cost {
			t.Errorf("%q: comparisons at costs %v, want one at %d", account, costs, cost)
		}
	}
}

func TestTypicalCost(t *testing.T) {
	at := func(costs ...int) *userList {
		u := &userList{hashes: map[string]string{}}
		for i, cost := range costs {
			u.hashes[fmt.Sprint(i)] = dummyHash(cost)
		}
		return u
	}
	for _, tt := range []struct {
		costs []int
		want  int
	}{{nil, defaultCost}, {[]int{4}, 4}, {[]int{4, 12, 12}, 12}, {[]int{4, 4, 12}, 4}, {[]int{4, 12}, 12}, {[]int{14}, 14}, {[]int{10, 10, 4, 4}, 10}} {
		if got := at(tt.costs...).typicalCost(); got != tt.want {
			t.Errorf("costs %v: %d, want %d", tt.costs, got, tt.want)
		}
	}
	if err := checkHash(dummyHash(12)); err != nil {
		t.Errorf("the dummy is no hash: %v", err)
	}
	if one, two := dummyHash(4), dummyHash(4); one == two {
		t.Error("two dummies are the same")
	}
}

func TestHtpasswdFollowsTheFile(t *testing.T) {
	one, two := cheapHash(t, "one"), cheapHash(t, "two")
	h, path, at, logged := openUsers(t, "alice:"+one+"\nbob:"+one+"\n")
	mustLogin(t, h, "alice", "one")
	mustLogin(t, h, "bob", "one")

	t.Log("another password, of the same length in the file, and within the same tick of its clock")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "alice:"+two+"\nbob:"+one+"\n")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	mustLogin(t, h, "alice", "one") // it was looked at within this second
	*at = at.Add(lookEvery)
	mustNotLogin(t, h, "alice", "one") // although it is among the proven
	mustLogin(t, h, "alice", "two")

	t.Log("a user removed")
	writeFile(t, path, "alice:"+two+"\n")
	*at = at.Add(lookEvery)
	mustNotLogin(t, h, "bob", "one")

	t.Log("unreadable, gone, replaced by a folder: the users stay, and the log says so once")
	logged.Reset()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		*at = at.Add(lookEvery)
		mustLogin(t, h, "alice", "two")
		mustNotLogin(t, h, "bob", "one")
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	*at = at.Add(lookEvery)
	mustLogin(t, h, "alice", "two")
	if n := strings.Count(logged.String(), "cannot be read; the users stay"); n != 2 || // one for each reason
		strings.Count(logged.String(), "not a regular file") != 1 {
		t.Errorf("log:\n%s", logged)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	t.Log("replaced by a pipe that nobody writes to: the same, and nobody waits")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		*at = at.Add(lookEvery)
		mustLogin(t, h, "alice", "two")
	}
	_, err = OpenHtpasswd(path, HtpasswdOptions{}, h.log)
	_, listErr := NewHtpasswdFile(path).List()
	for _, err := range []error{err, listErr, NewHtpasswdFile(path).Add("bob", "x"), NewHtpasswdFile(path).Remove("alice")} {
		if err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("a pipe: %v", err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	t.Log("back, with nobody in it: nobody may log in")
	writeFile(t, path, "# nobody\n")
	*at = at.Add(lookEvery)
	mustNotLogin(t, h, "alice", "two")

	t.Log("the clock set back: changes are seen all the same")
	writeFile(t, path, "carol:"+one+"\n")
	*at = at.Add(-time.Hour)
	mustLogin(t, h, "carol", "one")
}

// TestSlowFileHoldsUpNobodyElse: while one waits for a file system that does not answer, others go on with the users that are known.
func TestSlowFileHoldsUpNobodyElse(t *testing.T) {
	h, path, at, _ := openUsers(t, "alice:"+cheapHash(t, "one")+"\n")
	writeFile(t, path, "bob:"+cheapHash(t, "one")+"\n")
	h.mu.Lock() // as the one who waits has it
	*at = at.Add(lookEvery)
	mustLogin(t, h, "alice", "one")
	*at = at.Add(lookEvery)
	mustLogin(t, h, "alice", "one")
	h.mu.Unlock()
	*at = at.Add(lookEvery)
	mustNotLogin(t, h, "alice", "one")
	mustLogin(t, h, "bob", "one")
}

// TestNamesOfRobots: a user file can have them, and is told that they are of no use; none is made.
func TestNamesOfRobots(t *testing.T) {
	h, path, _, logged := openUsers(t, "alice:"+cheapHash(t, "one")+"\nrobot$ci:"+cheapHash(t, "one")+"\n")
	if !strings.Contains(logged.String(), "line=2 account=robot$ci") || !h.Knows("alice") {
		t.Errorf("log:\n%s", logged)
	}
	f := cheapFile(path)
	for account, want := range map[string]string{"robot$x": "gatehouse robot add", "robot$": "gatehouse robot add", "<token>": "refresh token"} {
		if err := f.Add(account, "secret"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("add %s: %v", account, err)
		}
	}
	if err := f.Add("robot", "secret"); err != nil {
		t.Error(err)
	}
	users, err := f.List()
	if err != nil || fmt.Sprint(users) != "[{alice <nil>} {robot$ci "+errRobotName.Error()+"} {robot <nil>}]" {
		t.Errorf("list: %v, %v", users, err)
	}
	if err := f.Remove("robot$ci"); err != nil {
		t.Error(err)
	}
}

// TestUnchangedFileIsNotRead: once its time of change is old enough, only stat is called.
func TestUnchangedFileIsNotRead(t *testing.T) {
	h, path, at, _ := openUsers(t, "alice:"+cheapHash(t, "one")+"\n")
	old := at.Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	*at = at.Add(lookEvery)
	before := h.current()
	h.data = []byte("changed") // would differ from what a second reading finds
	*at = at.Add(lookEvery)
	if h.current() != before {
		t.Error("the file was read again")
	}
}

func TestOpenHtpasswdErrors(t *testing.T) {
	log, _ := logTo()
	dir := t.TempDir()
	_, err := OpenHtpasswd(filepath.Join(dir, "none"), HtpasswdOptions{}, log)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "gatehouse user add") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := OpenHtpasswd(dir, HtpasswdOptions{}, log); err == nil {
		t.Error("a folder was opened")
	}
	big := filepath.Join(dir, "big")
	writeFile(t, big, strings.Repeat("#", maxUserFile+1))
	if _, err := OpenHtpasswd(big, HtpasswdOptions{}, log); err == nil {
		t.Error("a huge file was read")
	}
	empty := filepath.Join(dir, "empty")
	writeFile(t, empty, "")
	h, err := OpenHtpasswd(empty, HtpasswdOptions{}, log)
	if err != nil {
		t.Fatal(err)
	}
	mustNotLogin(t, h, "", "")
	mustNotLogin(t, h, "admin", "admin")
}

func TestRevisionForgetsWhatWasProven(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeFile(t, path, "alice:"+cheapHash(t, "one")+"\n")
	var revision uint64
	log, _ := logTo()
	h, err := OpenHtpasswd(path, HtpasswdOptions{Revision: func() uint64 { return revision }}, log)
	if err != nil {
		t.Fatal(err)
	}
	runs := counting(h.checker)
	mustLogin(t, h, "alice", "one")
	mustLogin(t, h, "alice", "one")
	revision++
	mustLogin(t, h, "alice", "one")
	if runs.Load() != 2 {
		t.Errorf("%d comparisons, want 2", runs.Load())
	}
}

// TestThousandLogins has a thousand clients of twenty accounts log in at once.
func TestThousandLogins(t *testing.T) {
	const clients, accounts = 1000, 20
	var text strings.Builder
	for i := range accounts {
		hash, err := bcrypt.GenerateFromPassword(fmt.Appendf(nil, "secret%d", i), 6)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "user%d:%s\n", i, hash)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeFile(t, path, text.String())
	h, err := OpenHtpasswd(path, HtpasswdOptions{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	runs := counting(h.checker)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range clients {
		all.Go(func() {
			<-start
			mustLogin(t, h, fmt.Sprintf("user%d", i%accounts), fmt.Sprintf("secret%d", i%accounts))
		})
	}
	close(start)
	all.Wait()
	if runs.Load() > accounts {
		t.Errorf("%d comparisons, at most %d expected", runs.Load(), accounts)
	}
}

// FuzzUserLines holds the reader to: every byte is kept, only bcrypt of a fair cost is usable, and nothing is logged of a
// line but its account.
func FuzzUserLines(f *testing.F) {
	f.Add("alice:$2a$04$" + strings.Repeat("a", 53) + "\n")
	f.Add("\ufeffa:b\r\n#\n\n:x\n*:y\nno colon")
	f.Fuzz(func(t *testing.T, text string) {
		lines := splitLines([]byte(text))
		var all strings.Builder
		for _, l := range lines {
			all.WriteString(l.text)
			if l.account != "" && checkAccount(l.account) != nil {
				t.Fatalf("account %q", l.account)
			}
		}
		if all.String() != text {
			t.Fatalf("%q became %q", text, all.String())
		}
		for account, hash := range newUserList(lines).hashes {
			cost, err := bcrypt.Cost([]byte(hash))
			if err != nil || cost > maxCost || len(hash) != 60 || account == "" {
				t.Fatalf("%q has hash %q", account, hash)
			}
		}
	})
}
