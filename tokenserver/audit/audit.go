// Package audit writes the audit log: a line for each request for a token and each login, with what was asked, what was granted and by
// which rule.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/tokenserver"
)

// Options is where a Log is written.
type Options struct {
	// File gets a JSON object in each line, as Event's comment says. It is made for its owner alone. Empty: the server's log, at
	// level info with the message "audit".
	File string
	// Metrics is where the counter of failures is registered; nil for nowhere.
	Metrics prometheus.Registerer
	// Logger is the server's log. Required.
	Logger *slog.Logger
}

// Log is the audit log. It may be used from many goroutines.
//
// A file may be renamed or removed at any time, as log rotation does; the next line is in a new one. It must not be cut short
// meanwhile by other means than truncation in place. What cannot be written there is in the server's log.
type Log struct {
	path     string
	log      *slog.Logger
	failures prometheus.Counter

	mu   sync.Mutex
	file *os.File
	info os.FileInfo
	torn bool // the last line has no end
}

// Open opens the log. A file that cannot be written is an error here, and none later.
func Open(o Options) (*Log, error) {
	l := &Log{path: o.File, log: o.Logger, failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_audit_failures_total",
		Help: "Lines of the audit log that could not be written to its file, and are in the server's log."})}
	if o.Metrics != nil {
		if err := o.Metrics.Register(l.failures); err != nil {
			return nil, fmt.Errorf("the metric of the audit log could not be registered: %w", err)
		}
	}
	if l.path == "" {
		return l, nil
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// Record writes an event, with one write(2), and returns when that is done. It is tokenserver.Options.Audit.
func (l *Log) Record(ctx context.Context, e tokenserver.Event) {
	entry := newEntry(e)
	if l.path == "" {
		l.log.LogAttrs(ctx, slog.LevelInfo, "audit", entry.attributes()...)
		return
	}
	data, err := entry.line()
	if err == nil {
		err = l.append(data)
	}
	if err != nil {
		l.failures.Inc()
		l.log.LogAttrs(ctx, slog.LevelError, "audit log could not be written; what it should say is here",
			append([]slog.Attr{slog.Any("err", err)}, entry.attributes()...)...)
	}
}

// Close closes the file. What comes after opens it again.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return fmt.Errorf("close the audit log: %w", err)
	}
	return nil
}

// append writes a line to what has the file's name now.
func (l *Log) append(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now, err := os.Stat(l.path); l.file == nil || err != nil || !os.SameFile(now, l.info) {
		if l.file != nil {
			_ = l.file.Close() // each line was written by itself
			l.file = nil
		}
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.torn {
		data = append([]byte{'\n'}, data...)
	}
	n, err := l.file.Write(data)
	if n > 0 {
		l.torn = n < len(data)
	}
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// open opens the file to append to it. Nothing but a file is opened: a pipe nobody reads from would hold up every token.
func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open the audit log: make the folder of tokenserver.audit.file first: %w", err)
	}
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", l.path)
	}
	last := []byte{'\n'}
	if err == nil && info.Size() > 0 {
		_, err = f.ReadAt(last, info.Size()-1)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open the audit log: %w", err), f.Close())
	}
	l.file, l.info, l.torn = f, info, last[0] != '\n'
	return nil
}
