package main

import (
	"io"
	"log/slog"

	"gatehouse/configs"
)

// newLogger returns the logger that the configuration describes, to w.
func newLogger(cfg configs.Log, w io.Writer) *slog.Logger {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	o := &slog.HandlerOptions{Level: levels[cfg.Level]} // info for none
	switch cfg.Formatter {
	case "json", "logstash":
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
