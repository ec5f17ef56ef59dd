package admin

import (
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// peer returns who is at the other end of a connection, as Account has it. It is what the kernel says (unix(7), SO_PEERCRED).
func peer(c net.Conn) string {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return unknownUser
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return unknownUser
	}
	return userAccount(strconv.FormatUint(uint64(cred.Uid), 10), user.LookupId)
}
