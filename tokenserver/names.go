package tokenserver

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/configs"
)

// errRobotName is why a user file is of no use to an account with such a name.
var errRobotName = errors.New("the account's name begins with " + configs.RobotPrefix + ", as only those of robots do")

// CheckAccount says why text, which somebody else gave, cannot be the name of an account. Administrators stand as unix:NAME where
// accounts do, robots as robot$NAME and whoever shows a refresh token as <token>, so nothing else may.
func CheckAccount(text string) error {
	switch {
	case strings.HasPrefix(text, "unix:"):
		return errors.New("the name begins with unix:, as only those of administrators do")
	case strings.HasPrefix(text, configs.RobotPrefix):
		return errRobotName
	case text == tokenAccount:
		return fmt.Errorf("the name is %s, which stands for a refresh token", tokenAccount)
	}
	return CheckName(text)
}

// CheckName says why text, which somebody else gave, cannot be the name of an account or a group: it would look like another in a
// log, or like a pattern in a rule.
func CheckName(text string) error {
	switch {
	case text == "":
		return errors.New("the name is empty")
	case len(text) > maxAccount:
		return fmt.Errorf("the name is longer than %d bytes", maxAccount)
	case !utf8.ValidString(text):
		return errors.New("the name is not UTF-8")
	case strings.Contains(text, "*"):
		return errors.New("the name has a star")
	case strings.TrimSpace(text) != text:
		return errors.New("the name begins or ends with a space")
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the name has a character that cannot be seen")
	}
	return nil
}
