package tokenserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/configs"
	"gatehouse/tokenserver/regular"
)

const (
	// lookEvery is how often a user file is looked at for a change, and so how late one may take effect.
	lookEvery = time.Second
	// settledAfter is the age from which a file's time of change can be trusted to tell its content from the next: a
	// second write within the clock tick of the file system leaves time and size as they were.
	settledAfter = 2 * time.Second
	// maxUserFile bounds the size of a user file: more than 100,000 users.
	maxUserFile = 8 << 20
	// maxReported bounds how many bad lines are logged one by one.
	maxReported = 20
)

// HtpasswdOptions completes OpenHtpasswd. The zero value is ready to use.
type HtpasswdOptions struct {
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Revision is the revision of the configuration that the users belong to; when it changes, every password is checked
	// again. Default: always 0. A change of the file needs none: who is changed or removed in it is forgotten at once.
	Revision func() uint64
	// Metrics is where the counters of password checks are registered; nil for nowhere.
	Metrics prometheus.Registerer
}

// Htpasswd is an Authenticator over a file of account:hash lines, bcrypt only. The file is looked at once a second when it
// is used, and read again when it has changed. A file that cannot be read any more leaves the users as they were, and a line
// that makes no sense denies its account; both are logged.
type Htpasswd struct {
	path     string
	now      func() time.Time
	revision func() uint64
	log      *slog.Logger
	checker  *checker
	users    atomic.Pointer[userList]
	lookAt   atomic.Int64 // nanoseconds since 1970

	mu      sync.Mutex
	info    os.FileInfo // of the file that data was read from
	data    []byte
	settled bool
	failure string // the last one logged
}

var (
	_ Authenticator = (*Htpasswd)(nil)
	_ Rechecker     = (*Htpasswd)(nil)
)

// OpenHtpasswd reads the users in the file at path. A file that is missing or cannot be read is an error here.
func OpenHtpasswd(path string, o HtpasswdOptions, log *slog.Logger) (*Htpasswd, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Revision == nil {
		o.Revision = func() uint64 { return 0 }
	}
	metrics, err := newLoginMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	h := &Htpasswd{path: path, now: o.Now, revision: o.Revision, log: log, checker: newChecker(o.Now, metrics)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.look(); err != nil {
		return nil, err
	}
	return h, nil
}

// Authenticate is Authenticator's. An account that is not in the file, or not usable, costs a check like any other.
func (h *Htpasswd) Authenticate(ctx context.Context, account, password string) (Identity, error) {
	// Refused without work for every account alike, so it says nothing about one.
	if len(account) > maxAccount || checkPassword(password) != nil {
		return Identity{}, ErrBadCredentials
	}
	users := h.current()
	hash, known := users.hashes[account]
	if !known {
		hash = users.dummy
	}
	if err := h.checker.check(ctx, account, password, hash, h.revision()); err != nil {
		return Identity{}, err
	}
	if !known {
		return Identity{}, ErrBadCredentials
	}
	return Identity{Account: account, Revision: revisionOf(hash)}, nil
}

// Recheck is Rechecker's. Another password, or the same one set again, ends what was proven before.
func (h *Htpasswd) Recheck(_ context.Context, who Identity) (Identity, error) {
	hash, known := h.current().hashes[who.Account]
	if !known || revisionOf(hash) != who.Revision {
		return Identity{}, ErrBadCredentials
	}
	return Identity{Account: who.Account, Revision: who.Revision}, nil
}

// Knows reports whether the file has a line for account by which its owner can log in.
func (h *Htpasswd) Knows(account string) bool {
	_, known := h.current().hashes[account]
	return known
}

// revisionOf is the Revision of an account with this hash: a digest, so that nobody can try passwords on it but with the salt, which
// is not in it.
func revisionOf(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:8])
}

// current returns the users, after a look at the file if one is due. Others go on with what is known meanwhile, for however long a
// file system takes that does not answer.
func (h *Htpasswd) current() *userList {
	now, due := h.now().UnixNano(), h.lookAt.Load()
	// A due time too far ahead means that the clock was set back.
	if (now >= due || due-now > int64(lookEvery)) && h.lookAt.CompareAndSwap(due, now+int64(lookEvery)) && h.mu.TryLock() {
		err := h.look()
		if err != nil && err.Error() != h.failure {
			h.log.Error("user file cannot be read; the users stay as they were", "err", err)
		}
		h.failure = ""
		if err != nil {
			h.failure = err.Error()
		}
		h.mu.Unlock()
	}
	return h.users.Load()
}

// look reads the file if it is not the one that was read before. Its callers hold h.mu.
func (h *Htpasswd) look() error {
	info, err := os.Stat(h.path)
	if err != nil {
		return explainUserFile(h.path, err)
	}
	if old := h.info; old != nil && h.settled && os.SameFile(old, info) && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()) {
		return nil
	}
	data, info, err := readUserFile(h.path)
	if err != nil {
		return err
	}
	first := h.info == nil
	h.info, h.settled = info, h.now().Sub(info.ModTime()) > settledAfter
	if !first && bytes.Equal(data, h.data) {
		return nil
	}
	h.data = data
	lines := splitLines(data)
	users := newUserList(lines)
	h.users.Store(users)
	h.report(lines)
	h.log.Info("user file read", "file", h.path, "users", len(users.hashes))
	if len(users.hashes) == 0 {
		h.log.Warn("user file has no usable account, so nobody can log in; `gatehouse user add` makes one", "file", h.path)
	}
	return nil
}

// report logs what is wrong with lines, never what they say beyond the account.
func (h *Htpasswd) report(lines []line) {
	seen := make(map[string]bool)
	problems := 0
	warn := func(number int, account string, err error) {
		if problems++; problems <= maxReported {
			h.log.Warn("user file has a line that is not used", "file", h.path, "line", number, "account", account, "err", err)
		}
	}
	for i, l := range lines {
		if l.problem != nil {
			warn(i+1, l.account, l.problem)
		} else if strings.HasPrefix(l.account, configs.RobotPrefix) {
			warn(i+1, l.account, errRobotName)
		}
		if l.account != "" && seen[l.account] {
			warn(i+1, l.account, errors.New("the account has an earlier line, which this one replaces"))
		}
		seen[l.account] = true
	}
	if problems > maxReported {
		h.log.Warn("user file has more lines that are not used", "file", h.path, "lines", problems-maxReported)
	}
}

// readUserFile returns the content of the file at path and what the file was before it was read.
func readUserFile(path string) ([]byte, os.FileInfo, error) {
	data, info, err := regular.Read(path, maxUserFile)
	if err != nil {
		return nil, nil, explainUserFile(path, err)
	}
	return data, info, nil
}

func explainUserFile(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("user file %s does not exist; make the first user with `gatehouse user add`: %w", path, err)
	}
	return fmt.Errorf("user file %s cannot be read: %w", path, err)
}
