package gateway

import (
	"net"
	"time"
)

// handshakeListener bounds the TLS handshake of what it accepts. net/http gives the handshake the header timeout, which an
// operator may have reason to raise; a peer that has not even finished its handshake has none to wait longer.
type handshakeListener struct {
	net.Listener
	limit time.Duration
}

// Accept is net.Listener's.
func (l handshakeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &handshakeConn{Conn: c, until: time.Now().Add(l.limit)}, nil
}

// handshakeConn caps the deadlines that are set on it until the first one is taken away: net/http sets one before the
// handshake and clears it after. Deadlines are set by the connection's own goroutine until then.
type handshakeConn struct {
	net.Conn
	until time.Time // zero after the handshake
}

// SetReadDeadline is net.Conn's.
func (c *handshakeConn) SetReadDeadline(t time.Time) error {
	switch {
	case c.until.IsZero():
	case t.IsZero():
		c.until = time.Time{}
	case t.After(c.until):
		t = c.until
	}
	return c.Conn.SetReadDeadline(t)
}
