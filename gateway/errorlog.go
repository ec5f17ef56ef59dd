package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
)

// errorLog carries what net/http's server says, a line each, to slog.
type errorLog struct {
	log *slog.Logger
}

// Write is io.Writer's; it never fails.
func (l errorLog) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	level := slog.LevelWarn
	if noise(text) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "http server", "err", text)
	return len(line), nil
}

// noise reports whether a line tells of a peer that failed by itself: scanners, clients that do not trust the certificate,
// connections that broke. On the internet there are thousands a day, and nothing to do about one.
func noise(line string) bool {
	for _, prefix := range []string{
		"http: TLS handshake error ",
		"http2: server: error reading preface ",
		"http2: server connection error ",
		"http2: server closing client connection",
		"http2: received GOAWAY ",
		"timeout waiting for SETTINGS ",
		"timeout waiting for PING ",
	} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}
