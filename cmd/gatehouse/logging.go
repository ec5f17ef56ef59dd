package main

import (
	"context"
	"io"
	"log/slog"

	"gatehouse/configs"
	"gatehouse/gateway"
)

// newLogger returns the logger that the configuration describes, to w.
func newLogger(cfg configs.Log, w io.Writer) *slog.Logger {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	o := &slog.HandlerOptions{Level: levels[cfg.Level]} // info for none
	switch cfg.Formatter {
	case "json", "logstash":
		return slog.New(withRequest{slog.NewJSONHandler(w, o)})
	}
	return slog.New(withRequest{slog.NewTextHandler(w, o)})
}

// withRequest adds to a line about a request the id that its line in the access log has.
type withRequest struct{ slog.Handler }

func (h withRequest) Handle(ctx context.Context, r slog.Record) error {
	id := gateway.RequestID(ctx)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "request" { // the line of the access log itself
			id = ""
		}
		return id != ""
	})
	if id != "" {
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
