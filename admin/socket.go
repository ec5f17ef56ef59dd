package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// SocketName is the name of the socket in the data folder.
const SocketName = "admin.sock"

// ErrAnswers is why a server does not take a socket: another one answers there.
var ErrAnswers = errors.New("another server answers there: two servers cannot have one data folder")

// maxSocketPath is how many bytes the path of a socket may have where systems are stingiest (104 with the zero byte on the BSDs,
// 108 on Linux).
const maxSocketPath = 103

// answerTimeout bounds the look whether somebody answers at a socket.
const answerTimeout = 5 * time.Second

// listen takes the socket at path, with mode 0600 from the beginning. One that a killed server left is replaced; what is no
// socket stays and is an error.
func listen(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look for the admin socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is no socket: move it away, then restart", path)
	default:
		ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
		defer cancel()
		c, err := dial(ctx, path)
		if err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: %w", path, ErrAnswers)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%s may be another server's: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket that a killed server left: %w", err)
		}
	}
	var l net.Listener
	err = short(path, func(path string) error {
		c := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }) // Linux: bind makes the file with it
			return errors.Join(e, err)
		}}
		if l, err = c.Listen(context.Background(), "unix", path); err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false) // path may be a short one that is gone by then
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on the admin socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("make the admin socket private: %w", err)
	}
	return l, nil
}

// dial connects to the socket at path.
func dial(ctx context.Context, path string) (c net.Conn, err error) {
	err = short(path, func(path string) error {
		c, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	return c, err
}

// short calls fn with a path to the same file that is short enough for a socket: through an open folder, where path itself is too
// long and the system shows those as paths (Linux).
func short(path string, fn func(string) error) error {
	if len(path) <= maxSocketPath {
		return fn(path)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	through := "/proc/self/fd/" + strconv.Itoa(int(folder.Fd()))
	if _, err := os.Stat(through); err != nil {
		return fmt.Errorf("the path has %d bytes, a socket's has at most %d: choose a shorter data folder", len(path), maxSocketPath)
	}
	return fn(through + "/" + filepath.Base(path))
}
