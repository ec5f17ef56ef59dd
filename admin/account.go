package admin

import (
	"os"
	"os/user"
	"strconv"
)

// unknownUser is the account of whoever may open the socket, where the system does not say who it is.
const unknownUser = "unix:"

// OwnAccount is the account of this process's user.
func OwnAccount() string { return userAccount(strconv.Itoa(os.Geteuid()), user.LookupId) }

// userAccount is the account of a user by number: by the name, where the number has one.
func userAccount(id string, lookup func(string) (*user.User, error)) string {
	if u, err := lookup(id); err == nil && u.Username != "" {
		return unknownUser + u.Username
	}
	return unknownUser + id
}
