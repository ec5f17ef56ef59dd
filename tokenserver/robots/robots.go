// Package robots keeps robot accounts: names and secrets for machines, each with a scope of its own that the access rules have no
// say in, and an end.
//
// A robot is a record on disk that holds a digest of the secret. It is read at each use, so that what a verb changes counts at once.
package robots

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/records"
)

const (
	// Prefix begins the account of every robot: robot$ci is the robot ci.
	Prefix = configs.RobotPrefix
	// maxName bounds a name in bytes, maxDescription a description.
	maxName        = 100
	maxDescription = 1000
	// usedEvery is how often a use is written down.
	usedEvery = time.Hour
)

var (
	// ErrNoRobot is for a name that is no robot's.
	ErrNoRobot = errors.New("there is no such robot")
	// ErrExists is for a name that is taken.
	ErrExists = errors.New("there is a robot of this name")
)

// Robot is what may be known of a robot.
type Robot struct {
	Name        string
	Description string
	Grants      []access.Grant
	Created     time.Time
	// Changed is when the secret was made.
	Changed time.Time
	// Expires is when it ends; zero for never.
	Expires time.Time
	// Disabled keeps it out, until it is set back.
	Disabled bool
	// Used is when it was proven last, to the hour; zero for never. It is of the secret that it has now.
	Used time.Time
}

// Account is the name that the robot logs in with.
func (r Robot) Account() string { return Prefix + r.Name }

// Expired reports whether its end has come.
func (r Robot) Expired(now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

// record is a robot on disk. The name is in it so that a file which was renamed is nobody's.
type record struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Grants      []access.Grant `json:"grants"`
	Hash        string         `json:"sha256"`
	Created     time.Time      `json:"created"`
	Changed     time.Time      `json:"changed"`
	Expires     time.Time      `json:"expires,omitzero"`
	Disabled    bool           `json:"disabled,omitempty"`
}

// revision tells the secret of r from others that it had, and nothing about it.
func (r *record) revision() string {
	sum := sha256.Sum256([]byte("revision of " + r.Hash))
	return hex.EncodeToString(sum[:8])
}

// use is when a robot was proven, with which revision. It has a file of its own: the server would else write back a secret that a verb
// has just replaced.
type use struct {
	Revision string    `json:"revision"`
	At       time.Time `json:"at"`
}

// Robots are the robots in a folder. They may be used from many goroutines, and the folder by several processes.
type Robots struct {
	folder *records.Folder[record]
	uses   *records.Folder[use]
	now    func() time.Time
	log    *slog.Logger
	decoy  record // is compared with where there is no robot

	mu   sync.Mutex
	used map[string]use // what was written
}

var (
	_ tokenserver.Authenticator = (*Robots)(nil)
	_ tokenserver.Rechecker     = (*Robots)(nil)
)

// Open returns the robots in the folder dir, which is made with the first. log may be nil for verbs, which prove nobody.
func Open(dir string, now func() time.Time, log *slog.Logger) *Robots {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Robots{folder: records.Open[record](dir), uses: records.Open[use](filepath.Join(dir, "used")), now: now, log: log,
		decoy: record{Hash: hashOf(newSecret())}, used: make(map[string]use)}
}

// Owns reports whether credentials are a robot's, by their looks: tokenserver.Source.Owns. A robot's secret with another account's
// name is too: it must not go to a directory as somebody's password.
func (r *Robots) Owns(account, secret string) bool {
	return strings.HasPrefix(account, Prefix) || wellFormed(secret)
}

// Authenticate is Authenticator's. Every refusal has the same work: a digest, a look for a file, a comparison.
func (r *Robots) Authenticate(_ context.Context, account, secret string) (tokenserver.Identity, error) {
	found, err := r.look(account)
	if err != nil && !errors.Is(err, ErrNoRobot) {
		return tokenserver.Identity{}, err
	}
	if err != nil {
		found = &r.decoy
	}
	right := subtle.ConstantTimeCompare([]byte(hashOf(secret)), []byte(found.Hash)) == 1
	if !right || err != nil {
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	who, err := r.identity(found)
	if err == nil {
		r.note(found)
	}
	return who, err
}

// Recheck is Rechecker's.
func (r *Robots) Recheck(_ context.Context, who tokenserver.Identity) (tokenserver.Identity, error) {
	now, err := r.Identify(who.Account)
	if err == nil && now.Revision != who.Revision {
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	return now, err
}

// Identify returns the robot that a verified token names, as it is now. ErrBadCredentials when it is no more, or may not log in.
func (r *Robots) Identify(account string) (tokenserver.Identity, error) {
	found, err := r.look(account)
	if errors.Is(err, ErrNoRobot) {
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	if err != nil {
		return tokenserver.Identity{}, err
	}
	return r.identity(found)
}

// identity is who a robot is, if it may log in.
func (r *Robots) identity(of *record) (tokenserver.Identity, error) {
	if of.Disabled || (Robot{Expires: of.Expires}).Expired(r.now()) {
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	scope, err := access.NewScope("robot "+of.Name, of.Grants)
	if err != nil {
		return tokenserver.Identity{}, fmt.Errorf("robot %q has a scope that makes no sense: %w", of.Name, err)
	}
	return tokenserver.Identity{Account: Prefix + of.Name, Revision: of.revision(), Own: scope, Until: of.Expires}, nil
}

// look returns the robot with an account, or ErrNoRobot. Another error says nothing about it.
func (r *Robots) look(account string) (*record, error) {
	name, ok := strings.CutPrefix(account, Prefix)
	if !ok || checkName(name) != nil {
		return nil, ErrNoRobot
	}
	found, err := r.folder.Get(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q: %w", name, ErrNoRobot)
	}
	if err != nil {
		return nil, err
	}
	if found.Name != name {
		return nil, fmt.Errorf("%q: %w; the file of that name is another robot's", name, ErrNoRobot)
	}
	return &found, nil
}

// note writes down that a robot was used, if that is not there from within the hour. A failure is logged; the robot works.
func (r *Robots) note(of *record) {
	now, revision := r.now(), of.revision()
	r.mu.Lock()
	last, known := r.used[of.Name]
	if !known {
		last, _ = r.uses.Get(of.Name) // nothing or not readable: it is written anew
	}
	due := last.Revision != revision || now.Sub(last.At) >= usedEvery || now.Before(last.At)
	if due {
		last = use{revision, now.UTC()}
	}
	r.used[of.Name] = last
	r.mu.Unlock()
	if !due {
		return
	}
	if err := r.uses.Put(of.Name, last); err != nil {
		r.log.Error("use of a robot could not be written down", "account", Prefix+of.Name, "err", err)
	}
}

// checkName says whether a robot may have this name. There is one spelling of it for every file system.
func checkName(name string) error {
	valid := name != "" && len(name) <= maxName
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		valid = valid && (letter || i > 0 && i < len(name)-1 && strings.IndexByte("-_.", c) >= 0)
	}
	if !valid {
		return fmt.Errorf("the name %.60q: use up to %d lower-case letters and digits, with -, _ or . between them", name, maxName)
	}
	return nil
}
