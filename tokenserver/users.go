package tokenserver

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/configs"
)

const (
	// defaultCost is bcrypt's cost for passwords set here, and for the dummy of a file without users.
	defaultCost = 10
	// maxCost is the highest cost that is checked: 14 takes about a second of a core, and every two above four times as much.
	maxCost = 14
	// maxPassword is where bcrypt stops reading: a longer password would be proven by its first 72 bytes.
	maxPassword = 72
	maxAccount  = 255
)

// line is a line of a user file.
type line struct {
	// text is the line as found, with its line end and, in the first, perhaps a byte order mark.
	text string
	// account is empty for blank lines, comments, and lines that name nobody.
	account, hash string
	// problem says why the line proves nobody, or is nil. It does not quote the line.
	problem error
}

// splitLines takes data apart; all texts together are data again.
func splitLines(data []byte) []line {
	var lines []line
	for text := range bytes.Lines(data) {
		l := line{text: string(text)}
		content := l.text
		if len(lines) == 0 {
			content = strings.TrimPrefix(content, "\ufeff")
		}
		content = strings.TrimSpace(content)
		if content != "" && content[0] != '#' {
			l.parse(content)
		}
		lines = append(lines, l)
	}
	return lines
}

func (l *line) parse(content string) {
	account, hash, found := strings.Cut(content, ":")
	if !found {
		l.problem = errors.New("the line is not account:hash")
		return
	}
	if err := checkAccount(account); err != nil {
		l.problem = err
		return
	}
	l.account, l.hash, l.problem = account, hash, checkHash(hash)
}

// CheckUser says why an account of this name is of no use in a user file, though a file that has one is read.
func CheckUser(account string) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	if strings.HasPrefix(account, configs.RobotPrefix) {
		return errRobotName
	}
	return nil
}

// checkAccount says whether a user file can hold an account of this name.
func checkAccount(account string) error {
	switch {
	case account == "":
		return errors.New("the account has no name")
	case len(account) > maxAccount:
		return fmt.Errorf("the account's name is longer than %d bytes", maxAccount)
	case !utf8.ValidString(account):
		return errors.New("the account's name is not UTF-8")
	case account == "*":
		return errors.New(`an account cannot be named "*": in access rules that is every account`)
	case account == tokenAccount:
		return fmt.Errorf("an account cannot be named %s: docker logs in as that with a refresh token", tokenAccount)
	case strings.ContainsFunc(account, func(r rune) bool { return r == ':' || r == '\ufeff' || unicode.IsControl(r) }):
		return errors.New("the account's name has a colon or a control character")
	case account[0] == '#' || strings.TrimSpace(account) != account:
		return errors.New("the account's name begins with # or has a space at an end")
	}
	return nil
}

// checkPassword says whether bcrypt can tell password from every other. NUL is refused because bcrypt puts one behind the
// password and repeats both: "a" and "a\x00a" would be the same.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("the password is longer than %d bytes, and bcrypt would ignore the rest", maxPassword)
	case strings.ContainsRune(password, 0):
		return errors.New("the password has a NUL character")
	}
	return nil
}

// bcryptAlphabet is bcrypt's own base64.
const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// checkHash says whether hash is bcrypt's and of a cost that one request may cause.
func checkHash(hash string) error {
	// $2a$10$, 22 characters of salt, 31 of hash.
	known := strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
	if !known || len(hash) != 60 || hash[6] != '$' || strings.Trim(hash[7:], bcryptAlphabet) != "" {
		return errors.New("the hash is not bcrypt's; set the password again with `gatehouse user passwd`, or `htpasswd -B`")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return fmt.Errorf("the hash has no valid cost: %w", err)
	}
	if cost > maxCost {
		return fmt.Errorf("the hash has cost %d, more than the %d allowed", cost, maxCost)
	}
	return nil
}

// userList is what a user file says. It does not change.
type userList struct {
	// hashes has an entry for every usable account.
	hashes map[string]string
	// dummy is the hash that the password of any other account is compared with, so that it takes as long.
	dummy string
}

// newUserList reads lines as distribution does: of several lines for one account the last counts, even if it is unusable.
func newUserList(lines []line) *userList {
	u := &userList{hashes: make(map[string]string)}
	for _, l := range lines {
		switch {
		case l.account == "":
		case l.problem != nil:
			delete(u.hashes, l.account)
		default:
			u.hashes[l.account] = l.hash
		}
	}
	u.dummy = dummyHash(u.typicalCost())
	return u
}

// typicalCost is the cost of most hashes, the higher of two equally frequent ones.
func (u *userList) typicalCost() int {
	var count [maxCost + 1]int
	for _, hash := range u.hashes {
		if cost, err := bcrypt.Cost([]byte(hash)); err == nil && cost <= maxCost {
			count[cost]++
		}
	}
	typical := defaultCost
	for cost, n := range count {
		if n > 0 && n >= count[typical] {
			typical = cost
		}
	}
	return typical
}

// dummyHash returns a hash of the cost that no known password has, without the work of making one.
func dummyHash(cost int) string {
	var random [53]byte
	rand.Read(random[:])
	for i, b := range random {
		random[i] = bcryptAlphabet[b%64]
	}
	random[21] = '.' // the last character of the salt has two bits only
	return fmt.Sprintf("$2a$%02d$%s", cost, random[:])
}
