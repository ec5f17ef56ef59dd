package tokenserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/configs"
	"gatehouse/durable"
)

var (
	// ErrUserExists is for an account that is to be added and is there.
	ErrUserExists = errors.New("the account exists")
	// ErrNoUser is for an account that is to be changed or removed and is not there.
	ErrNoUser = errors.New("there is no such account")
)

// User is an account in a user file.
type User struct {
	Account string
	// Problem says why nobody can log in as the account; nil if its owner can.
	Problem error
}

// HtpasswdFile edits a user file; servers that use it see the change within a second. Each change replaces the file as a
// whole, is on disk when the method returns nil, and leaves other lines, comments, their order, line ends, mode and owner as
// they were. Changes by several processes at once are made one after the other.
type HtpasswdFile struct {
	path string
	cost int // of the hashes that it makes
}

// NewHtpasswdFile returns the editor of the file at path, which Add creates.
func NewHtpasswdFile(path string) *HtpasswdFile { return &HtpasswdFile{path: path, cost: defaultCost} }

// Add appends an account. ErrUserExists if the file has a line for it, usable or not. A robot's name is refused: nobody could log in
// with it.
func (f *HtpasswdFile) Add(account, password string) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	if strings.HasPrefix(account, configs.RobotPrefix) {
		return fmt.Errorf("%q: %w; `gatehouse robot add` makes one", account, errRobotName)
	}
	return f.update(true, func(lines []line) ([]line, error) {
		if slices.ContainsFunc(lines, func(l line) bool { return l.account == account }) {
			return nil, fmt.Errorf("%q: %w; `gatehouse user passwd` gives it another password", account, ErrUserExists)
		}
		hash, err := hashPassword(password, f.cost)
		if err != nil {
			return nil, err
		}
		end := "\n"
		if n := len(lines); n > 0 {
			if strings.HasSuffix(lines[0].text, "\r\n") {
				end = "\r\n"
			}
			if last := &lines[n-1]; !strings.HasSuffix(last.text, "\n") {
				last.text += end
			}
		}
		return append(lines, line{text: account + ":" + hash + end}), nil
	})
}

// SetPassword gives an account another password, and makes one usable that was not. ErrNoUser if it has no line.
func (f *HtpasswdFile) SetPassword(account, password string) error {
	return f.update(false, func(lines []line) ([]line, error) {
		first := slices.IndexFunc(lines, func(l line) bool { return account != "" && l.account == account })
		if first < 0 {
			return nil, fmt.Errorf("%q: %w; `gatehouse user add` makes it", account, ErrNoUser)
		}
		hash, err := hashPassword(password, f.cost)
		if err != nil {
			return nil, err
		}
		l := &lines[first]
		old := strings.TrimPrefix(l.text, "\ufeff")
		mark := l.text[:len(l.text)-len(old)]
		l.text = mark + account + ":" + hash + old[len(strings.TrimRight(old, "\r\n")):]
		l.account = "" // keeps it from what goes next: the account's other lines, of which the last would count
		return slices.DeleteFunc(lines, func(l line) bool { return l.account == account }), nil
	})
}

// Remove takes every line of an account out. ErrNoUser if it has none.
func (f *HtpasswdFile) Remove(account string) error {
	return f.update(false, func(lines []line) ([]line, error) {
		rest := slices.DeleteFunc(slices.Clone(lines), func(l line) bool { return account != "" && l.account == account })
		if len(rest) == len(lines) {
			return nil, fmt.Errorf("%q: %w", account, ErrNoUser)
		}
		return rest, nil
	})
}

// List returns the accounts in the order of their first lines.
func (f *HtpasswdFile) List() ([]User, error) {
	data, _, err := readUserFile(f.path)
	if err != nil {
		return nil, err
	}
	var users []User
	position := make(map[string]int)
	for _, l := range splitLines(data) {
		if l.account == "" {
			continue
		}
		i, found := position[l.account]
		if !found {
			i = len(users)
			position[l.account] = i
			users = append(users, User{Account: l.account})
		}
		users[i].Problem = l.problem
		if l.problem == nil && strings.HasPrefix(l.account, configs.RobotPrefix) {
			users[i].Problem = errRobotName
		}
	}
	return users, nil
}

// update replaces the file by what change makes of its lines. Without a file there are none, if one may be created.
func (f *HtpasswdFile) update(create bool, change func([]line) ([]line, error)) error {
	path, err := filepath.EvalSymlinks(f.path) // so that a link stays one
	if errors.Is(err, fs.ErrNotExist) && create {
		path, err = f.path, durable.MkdirAll(filepath.Dir(f.path), 0o700)
	}
	if err != nil {
		return explainUserFile(f.path, err)
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()

	data, info, err := readUserFile(path)
	if err != nil && (!create || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	lines, err := change(splitLines(data))
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.text)
	}
	perm := fs.FileMode(0o600)
	if info != nil {
		perm = info.Mode().Perm()
	}
	if err := durable.WriteFile(path, []byte(text.String()), perm); err != nil {
		return fmt.Errorf("the user file could not be replaced: %w", err)
	}
	return keepOwner(path, info)
}

// keepOwner gives the file at path the owner in info, if there is any and it is another: a server under another account
// must be able to read what an administrator has edited.
func keepOwner(path string, info os.FileInfo) error {
	if info == nil {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return explainUserFile(path, err)
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil {
		return explainUserFile(path, err)
	}
	was, ok := info.Sys().(*syscall.Stat_t)
	is, also := now.Sys().(*syscall.Stat_t)
	if !ok || !also || was.Uid == is.Uid && was.Gid == is.Gid {
		return nil
	}
	if err := errors.Join(f.Chown(int(was.Uid), int(was.Gid)), f.Sync()); err != nil {
		return fmt.Errorf("the user file was changed, but belongs to %d:%d now; give it back with `chown %d:%d %s`, or the server may not "+
			"be able to read it: %w", is.Uid, is.Gid, was.Uid, was.Gid, path, err)
	}
	return nil
}

// lockDir waits until nobody else, in this process or another, makes or edits files in dir under this lock. The lock ends with the process at the latest.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("folder %s could not be opened: %w", dir, err)
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		_ = d.Close() // opened for reading: nothing can be lost
		return nil, fmt.Errorf("folder %s could not be locked: %w", dir, err)
	}
	return func() { _ = d.Close() }, nil
}

func hashPassword(password string, cost int) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		return "", fmt.Errorf("the password could not be hashed: %w", err)
	}
	return string(hash), nil
}
