package robots

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/tokenserver/access"
	"gatehouse/tokenserver/records"
)

// Add makes a robot of r's name, description, grants and end, and returns its secret, which nobody can read again. It is on disk when
// Add returns. ErrExists if the name is taken, by a robot that has expired too.
func (r *Robots) Add(robot Robot) (secret string, err error) {
	if err := r.check(robot); err != nil {
		return "", err
	}
	secret = newSecret()
	now := r.now().UTC()
	err = r.folder.Create(robot.Name, record{
		Name: robot.Name, Description: robot.Description, Grants: robot.Grants, Hash: hashOf(secret),
		Created: now, Changed: now, Expires: end(robot.Expires),
	})
	if errors.Is(err, records.ErrExists) {
		return "", fmt.Errorf("%q: %w; `gatehouse robot rotate` gives it another secret", robot.Name, ErrExists)
	}
	if err != nil {
		return "", err
	}
	return secret, nil
}

// check says whether a robot makes sense.
func (r *Robots) check(robot Robot) error {
	if err := checkName(robot.Name); err != nil {
		return err
	}
	d := robot.Description
	if len(d) > maxDescription || !utf8.ValidString(d) || strings.ContainsFunc(d, unicode.IsControl) {
		return fmt.Errorf("the description is longer than %d bytes, or has a control character", maxDescription)
	}
	if len(robot.Grants) == 0 {
		return errors.New("the robot may do nothing; name a repository")
	}
	if robot.Expired(r.now()) {
		return fmt.Errorf("the robot would end in the past, at %s", robot.Expires.UTC().Format(time.RFC3339))
	}
	if _, err := access.NewScope("robot "+robot.Name, robot.Grants); err != nil {
		return fmt.Errorf("the scope makes no sense: %w", err)
	}
	return nil
}

// end is a time in whole seconds, as tokens have it.
func end(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.UTC().Truncate(time.Second)
}

// Rotate gives a robot another secret and another end, and returns the secret. Without expires it lives as long again as it was to.
// The old secret is refused from then on, and refresh tokens made with it are. ErrNoRobot if there is none.
func (r *Robots) Rotate(name string, expires *time.Time) (secret string, err error) {
	found, err := r.look(Prefix + name)
	if err != nil {
		return "", err
	}
	now := r.now().UTC()
	switch {
	case expires != nil:
		found.Expires = end(*expires)
	case !found.Expires.IsZero():
		found.Expires = end(now.Add(found.Expires.Sub(found.Changed)))
	}
	found.Changed = now
	if err := r.check(Robot{Name: name, Description: found.Description, Grants: found.Grants, Expires: found.Expires}); err != nil {
		return "", err
	}
	secret = newSecret()
	found.Hash = hashOf(secret)
	if err := r.folder.Put(name, *found); err != nil {
		return "", err
	}
	return secret, nil
}

// Remove removes a robot; it is refused from then on. One whose file is damaged can be removed. ErrNoRobot if there is none.
func (r *Robots) Remove(name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("%w: %w", ErrNoRobot, err)
	}
	err := r.folder.Delete(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q: %w", name, ErrNoRobot)
	}
	if err != nil {
		return err
	}
	if err := r.uses.Delete(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the robot was removed, but not when it was used last: %w", err)
	}
	return nil
}

// All calls each with every robot, in the order of names; what cannot be read comes with its error and its name. It ends with the first
// error of each.
func (r *Robots) All(each func(Robot, error) error) error {
	return r.folder.All(func(name string, of record, err error) error {
		if err == nil && of.Name != name {
			err = fmt.Errorf("the file of %q says that it is of another robot", name)
		}
		if err != nil {
			return each(Robot{Name: name}, err)
		}
		robot := Robot{Name: of.Name, Description: of.Description, Grants: of.Grants, Created: of.Created, Changed: of.Changed,
			Expires: of.Expires, Disabled: of.Disabled}
		if last, err := r.uses.Get(name); err == nil && last.Revision == of.revision() {
			robot.Used = last.At
		}
		return each(robot, nil)
	})
}
