package main

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"

	"gatehouse/configs"
	"gatehouse/gateway"
)

// newLogger returns the logger that the configuration describes, to w.
func newLogger(cfg configs.Log, w io.Writer) *slog.Logger {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	o := &slog.HandlerOptions{Level: levels[cfg.Level], AddSource: cfg.ReportCaller} // info for none
	handler := slog.Handler(slog.NewTextHandler(w, o))
	switch cfg.Formatter {
	case "json", "logstash":
		handler = slog.NewJSONHandler(w, o)
	}
	return slog.New(withRequest{handler.WithAttrs(fields(cfg.Fields))})
}

// fields returns log.fields, sorted. One that has the name of what every line has gets a prefix, as distribution's logger gives it.
func fields(m map[string]string) (attrs []slog.Attr) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key := name
		switch name {
		case slog.TimeKey, slog.LevelKey, slog.MessageKey, slog.SourceKey:
			key = "fields." + name
		}
		attrs = append(attrs, slog.String(key, m[name]))
	}
	return attrs
}

// withRequest adds to a line about a request the id that its line in the access log has.
type withRequest struct{ slog.Handler }

func (h withRequest) Handle(ctx context.Context, r slog.Record) error {
	if id := gateway.RequestID(ctx); id != "" { // never in the line of the access log itself, which has it
		r = r.Clone()
		r.AddAttrs(slog.String("request", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h withRequest) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withRequest{h.Handler.WithAttrs(attrs)}
}

func (h withRequest) WithGroup(name string) slog.Handler {
	return withRequest{h.Handler.WithGroup(name)}
}
