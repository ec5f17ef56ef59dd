// Package zaplog lets libraries that log through zap write to the program's slog: certmagic and etcd's client know nothing
// else.
package zaplog

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New returns a zap logger whose entries go to l. Levels keep their meaning, zap's three above error become error. The name
// of the library's logger is the attribute "logger", and zap's "error" is "err", as everywhere else in the log.
func New(l *slog.Logger) *zap.Logger {
	return zap.New(core{handler: l.Handler()})
}

// core is a zapcore.Core over a slog.Handler. It is immutable, and as safe for concurrent use as the handler.
type core struct {
	handler slog.Handler
}

// Enabled asks the handler, so that a library's debug entries cost nothing where nobody reads them.
func (c core) Enabled(level zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), slogLevel(level))
}

// With returns a core that adds fields to every entry.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{handler: withFields(c.handler, fields)}
}

// Check adds c to those who will write the entry.
func (c core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write hands one entry to the handler. Stack traces are left out: they name the library's lines, not the cause.
func (c core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	record := slog.NewRecord(entry.Time, slogLevel(entry.Level), entry.Message, 0)
	if entry.LoggerName != "" {
		record.AddAttrs(slog.String("logger", entry.LoggerName))
	}
	record.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), record)
}

// Sync does nothing: the handler keeps no buffer of ours.
func (c core) Sync() error { return nil }

// withFields returns handler with fields on every record. A namespace becomes a group around all that follows it.
func withFields(handler slog.Handler, fields []zapcore.Field) slog.Handler {
	for i, field := range fields {
		if field.Type == zapcore.NamespaceType {
			if i > 0 {
				handler = handler.WithAttrs(attrs(fields[:i]))
			}
			return withFields(handler.WithGroup(field.Key), fields[i+1:])
		}
	}
	if len(fields) == 0 {
		return handler
	}
	return handler.WithAttrs(attrs(fields))
}

// attrs translates fields in their order. What follows a namespace is a group.
func attrs(fields []zapcore.Field) []slog.Attr {
	list := make([]slog.Attr, 0, len(fields))
	for i, field := range fields {
		switch field.Type {
		case zapcore.SkipType:
		case zapcore.NamespaceType:
			return append(list, slog.Attr{Key: field.Key, Value: slog.GroupValue(attrs(fields[i+1:])...)})
		case zapcore.ErrorType:
			key := field.Key
			if key == "error" {
				key = "err"
			}
			list = append(list, slog.Any(key, field.Interface))
		case zapcore.StringType:
			list = append(list, slog.String(field.Key, field.String))
		default:
			list = append(list, encoded(field)...)
		}
	}
	return list
}

// encoded lets zap itself turn a field into plain values. One field may become several (zap.Inline) or, with an error of
// its marshaler, one more.
func encoded(field zapcore.Field) []slog.Attr {
	values := zapcore.NewMapObjectEncoder()
	field.AddTo(values)
	list := make([]slog.Attr, 0, len(values.Fields))
	for key, value := range values.Fields {
		list = append(list, slog.Any(key, value))
	}
	return list
}

// slogLevel is the slog level that means what level means.
func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level < zapcore.InfoLevel:
		return slog.LevelDebug
	case level < zapcore.WarnLevel:
		return slog.LevelInfo
	case level < zapcore.ErrorLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}
